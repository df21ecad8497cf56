"""What ends a run without a record: mistakes that a user can mend, and requests to stop."""

from __future__ import annotations

from pathlib import Path


class UserError(ValueError):
    """What was expected, what came, and what to do, in one line; commands print it and end with exit code 2."""


class Interrupted(Exception):
    """The run stopped because a signal asked for it; the same command goes on from there, to the same end."""

    def __init__(self, checkpoint: Path, request: int) -> None:
        super().__init__(checkpoint, request)
        self.checkpoint = checkpoint
        """Where everything is saved; there is none yet before the first step."""
        self.request = request
        """As of ``signals.request``, the strongest of all ranks."""

    def __str__(self) -> str:
        if not self.checkpoint.exists():
            return "stopped at a signal before the first step of its stage: the same command goes on from there"
        return f"stopped at a signal, saved in {self.checkpoint}: the same command goes on from there"

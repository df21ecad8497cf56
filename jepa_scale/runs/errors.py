"""Exceptions that end a run without a record: errors that a user can fix, and requests to stop."""

from __future__ import annotations

import traceback
from pathlib import Path

_FRAMEWORKS = ("site-packages", "jepa_scale/runs/")


class UserError(ValueError):
    """A user's error, told in one line: what was expected, what came, what to do; commands exit with code 2."""


def told(error: BaseException) -> str:
    """Return an error of somebody's code in one line: its type, its message, and the place in that code."""
    message = " ".join(str(error).split())[:300]
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if not any(part in frame.filename for part in _FRAMEWORKS):
            place = f" ({Path(frame.filename).name}, line {frame.lineno})"
    return f"{type(error).__name__}: {message}{place}" if message else f"{type(error).__name__}{place}"


class Interrupted(Exception):
    """The run stopped because of a signal; rerun the same command to resume, with the same result."""

    def __init__(self, checkpoint: Path, request: int) -> None:
        super().__init__(checkpoint, request)
        self.checkpoint = checkpoint
        """Path of the checkpoint, which exists only after the first step."""
        self.request = request
        """Request to stop, as ``signals.request`` returns it; the strongest of all ranks."""

    def __str__(self) -> str:
        if not self.checkpoint.exists():
            return "stopped at a signal before the first step of its stage: the same command goes on from there"
        return f"stopped at a signal, saved in {self.checkpoint}: the same command goes on from there"


class CohortEnded(Exception):
    """The run could not take its steps with those of others, and was left as resumable as by a kill: do it alone."""


class CohortTooLarge(CohortEnded):
    """The runs of a cohort did not fit into memory together: this one waits, as if it had not been tried."""

    def __init__(self, runs: int, kept: int) -> None:
        super().__init__(f"steps of {runs} runs do not fit into the memory of their device together: {kept} go on")
        self.kept = kept
        """Runs that go on."""

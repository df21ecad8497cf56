"""How a command ends: the verdict, where to look and the next command, in a few lines, in full, or as JSON."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Answer
    from jepa_scale.terminal import Console, Steps

LINES = 12
"""Most lines at the end of a command, unless it is asked for more."""


@dataclass(frozen=True)
class Ending:
    """What a command has to say at its end."""

    verdict: str
    """The answer, in a sentence or two."""
    notes: Sequence[str] = ()
    """What the answer rests on, the most important first; as many are shown as fit."""
    details: Sequence[typing.Any] = ()
    """Tables and texts for those who ask for them."""
    cautions: Sequence[str] = ()
    """What speaks against the answer; shown before the notes."""
    files: typing.Mapping[str, Path] | None = None
    """Where to look: what was written, by what it is."""
    next_command: str = ""
    """The command that a user would give next; words in capitals stand for files and names."""
    no_next: str = ""
    """Why there is no such command: exactly one of both is given."""

    def __post_init__(self) -> None:
        if bool(self.next_command) == bool(self.no_next):
            raise ValueError(
                f"expected a next command or why there is none, got {self.next_command!r}, {self.no_next!r}"
            )

    def fields(self) -> dict[str, typing.Any]:
        """Return the fields that all answers share, for an ``Answer``."""
        return {
            "verdict": self.verdict,
            "notes": list(self.notes),
            "cautions": list(self.cautions),
            "files": {name: str(path) for name, path in (self.files or {}).items()},
            "next": self.next_command,
            "no_next": self.no_next,
        }


class Output:
    """The output of a command as its options ask for it."""

    def __init__(self, parsed: argparse.Namespace) -> None:
        from jepa_scale.terminal import Console

        self.verbose = bool(getattr(parsed, "verbose", False))
        self.quiet = bool(getattr(parsed, "quiet", False))
        self.json = bool(getattr(parsed, "json", False))
        self.console = Console()

    def progress(self) -> Console:
        """Return the console for what is told while a command works; with JSON it is the standard error."""
        from jepa_scale.terminal import Console

        return Console(stderr=self.json, quiet=self.quiet)

    def steps(self) -> Steps:
        """Return the named steps of a long command."""
        from jepa_scale.terminal import Steps

        return Steps(self.quiet)

    def end(self, ending: Ending, answer: typing.Callable[[], Answer] | None = None) -> None:
        """Print the ending; with ``--json`` the ``answer`` instead."""
        if self.json and answer is not None:
            print(answer().text())
            return
        console = self.console
        console.print(ending.verdict, highlight=False, markup=False, style="bold")
        if self.quiet:
            return
        last = [f"{name}: {path}" for name, path in (ending.files or {}).items()]
        last.append(f"next: {ending.next_command}" if ending.next_command else f"no next command: {ending.no_next}")
        notes = [f"• {note}" for note in (*ending.cautions, *ending.notes)]
        shown = notes if self.verbose else self._fitting(notes, ending.verdict, last, bool(ending.details))
        for note in shown:
            console.print(note, highlight=False, markup=False)
        if self.verbose:
            for detail in ending.details:
                console.print(detail, highlight=False, markup=not isinstance(detail, str))
        elif len(shown) < len(notes) or ending.details:
            console.print(_MORE.format(_left(len(notes) - len(shown))), highlight=False, markup=False, style="dim")
        for line in last:
            # Whole, for whoever copies it.
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _fitting(self, notes: Sequence[str], verdict: str, last: Sequence[str], details: bool) -> list[str]:
        """Return the first notes that fit into the lines left by the verdict and the last lines."""
        left = LINES - self._lines(verdict) - sum(map(self._lines, last))
        if sum(map(self._lines, notes)) + details <= left:
            return list(notes)
        left, shown = left - 1, []
        for note in notes:
            left -= self._lines(note)
            if left < 0:
                break
            shown.append(note)
        return shown

    def _lines(self, text: str) -> int:
        from rich.text import Text

        return len(Text(text).wrap(self.console, self.console.width))


_MORE = "({}-v prints all)"


def _left(notes: int) -> str:
    return f"{notes} more finding{'s' * (notes != 1)}; " if notes else ""

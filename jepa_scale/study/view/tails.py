"""What a running run has estimated so far, from the end of its metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jepa_scale.runs.folder import parsed_line, rows_of

_MOST = 1 << 18
"""Bytes from the end that are read of a file that is met half written."""


@dataclass
class Tail:
    """A run's ``metrics.jsonl``, of which each byte is read once."""

    path: Path
    epochs: int = 0
    """With estimates."""
    regrets: dict[str, float] = field(default_factory=dict)
    """The last estimate by score."""
    _place: int | None = None
    _rest: bytes = b""

    def read(self) -> None:
        """Take in what was written since the last time; a line that is torn, or not whole yet, is left out."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if self._place is None or size < self._place:
            # Shorter than it was: the run was begun anew.
            self.epochs, self.regrets = 0, {}
            self._place, self._rest = max(0, size - _MOST), b""
        if size == self._place:
            return
        with self.path.open("rb") as file:
            file.seek(self._place)
            new = file.read()
        self._place += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        for row in rows_of(parsed_line(line)):
            self.epochs = row["epoch"] + 1
            kind, _, score = row["name"].partition("/")
            if kind == "regret" and isinstance(row["value"], float | int):
                self.regrets[score] = float(row["value"])

"""Latest estimates of a running run, read from the end of its ``metrics.jsonl``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jepa_scale.runs.folder import parsed_line, rows_of

_MOST = 1 << 18
"""Most bytes read from the end of a file on the first read."""


@dataclass
class Tail:
    """Incremental reader of a run's ``metrics.jsonl``; reads each byte once."""

    path: Path
    epochs: int = 0
    """Number of epochs with estimates so far."""
    regrets: dict[str, float] = field(default_factory=dict)
    """Latest regret estimate by score."""
    _place: int | None = None
    _rest: bytes = b""

    def read(self) -> None:
        """Read what was written since the last call; torn or incomplete lines are left out."""
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

"""Reading a study's folder: records of runs, estimates of every epoch, and why a run has no record."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jepa_scale.records import RunRecord
from jepa_scale.runs.code import label
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.design import DesignPoint


def read_records(
    points: Sequence[DesignPoint], study: Path, unusable: dict[str, str] | None = None
) -> dict[str, RunRecord]:
    """Return the records of finished runs by run id.

    For records that cannot be used, the reason is added to ``unusable`` by run id, and the others are read.

    Raises
    ------
    UserError
        If a record cannot be used and ``unusable`` is None.
    """
    records = {}
    for point in points:
        try:
            record = point.folder(study).read_record()
        except UserError as error:
            if unusable is None:
                raise
            unusable[point.run_id] = str(error)
            continue
        if record is not None:
            # The configuration has the same id; thousands of copies of it fill the memory.
            records[point.run_id] = replace(record, config=point.config) if _same(record, point) else record
    return records


def _same(record: RunRecord, point: DesignPoint) -> bool:
    return record.config == point.config


def writable(study: Path, out: Path | None) -> Path:
    """Return the folder to write into: ``out``, or the study's own.

    Raises
    ------
    UserError
        If it is the study's own and not writable.
    """
    if os.access(study, os.W_OK):
        return out or study
    if out is None:
        raise UserError(f"{study} cannot be written: add --out FOLDER to write into another one")
    warnings.warn(f"{study} is read as it is, without its lock: it may be changing", stacklevel=2)
    return out


_KEPT = 16
"""Number of histories kept in memory: a figure shows a few runs and reads each of them several times."""


class Histories(Mapping[str, Sequence[Mapping[str, Any]]]):
    """Estimates of every epoch by run id, read from the run's folder on demand; the most recent ones are cached."""

    def __init__(self, points: Sequence[DesignPoint], study: Path) -> None:
        self._folders = {point.run_id: point.folder(study) for point in points}
        self._kept: dict[str, Sequence[Mapping[str, Any]]] = {}

    def __getitem__(self, run: str) -> Sequence[Mapping[str, Any]]:
        if run not in self._kept:
            if len(self._kept) >= _KEPT:
                # The one that was read first.
                del self._kept[next(iter(self._kept))]
            self._kept[run] = self._folders[run].read_metrics()
        return self._kept[run]

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


def why_missing(point: DesignPoint, study: Path) -> str:
    """Return why a run has no record: the last line of its traceback, if it left one."""
    left = study / "errors" / f"{point.run_id}.txt"
    lines = left.read_text(encoding="utf-8", errors="replace").strip().splitlines() if left.is_file() else []
    if lines:
        return f"{lines[-1]} (whole error in {left})"
    return "begun, not finished" if point.folder(study).checkpoint_path.exists() else "not run yet"


def mixed_code(records: Mapping[str, RunRecord]) -> tuple[str, ...]:
    """Count the runs by the code that computed them, most frequent first; empty if, as far as known, it is the same."""
    kinds = Counter(label(record.config) for record in records.values())
    if len(kinds) < 2:
        return ()
    return tuple(
        f"{count} run{'s' * (count != 1)}: {code or 'code not recorded'}" for code, count in kinds.most_common()
    )

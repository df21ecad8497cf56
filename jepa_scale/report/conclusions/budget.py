"""Conclusion on the training budget: whether more steps, rather than more data or width, would lower the risk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.summary import DECISIVE, finished, sizes
from jepa_scale.report.wording import listed, percent, plural, whole, with_error

_ESTIMATE = "spectrum/risk"
"""Held-out estimate of the risk in the history of a run."""
_LEAST_EPOCHS = 4
_LATE = 0.75
"""Share of the epochs after which a fall is late."""
_STILL = 0.1
"""Least share of the whole fall that is late; a rate that decays to 0 leaves some hundredths of it to them."""
_MOST_SEEDS = 3
"""Runs of a width whose histories are read: a study may have thousands."""


@dataclass(frozen=True)
class LateFall:
    """Fall of the held-out risk over the last quarter of the epochs, mean over runs of one width."""

    k: int
    value: float
    standard_error: float
    """Over seeds; with one seed that of the estimates."""
    share: float
    """Share of the fall since the first epoch."""
    seeds: int

    @property
    def goes_on(self) -> bool:
        """Whether training was cut off rather than finished."""
        return self.value > DECISIVE * self.standard_error and self.share >= _STILL


def conclude(result: StudyResult) -> list[Conclusion]:
    """Say so if at the largest n the held-out risk of at least half of the widths still falls when training ends."""
    falls = late_falls(result)
    going = [fall for fall in falls if fall.goes_on]
    if not going or 2 * len(going) < len(falls):
        return []
    most = max(going, key=lambda fall: fall.share)
    where = f"n = {whole(sizes(result.table)[-1])}"
    return [
        Conclusion(
            f"Budget-bound: at {where} the held-out risk still falls in the last quarter of the epochs at "
            f"k = {listed([fall.k for fall in going])} ({len(going)} of {plural(len(falls), 'width')}); at "
            f"k = {most.k} by {with_error(most.value, most.standard_error)} ({plural(most.seeds, 'seed')}), "
            f"{percent(round(most.share, 2))} of its whole fall. Train with twice the steps there before you compare "
            "n or k.",
            headline=True,
            alarm=True,
        )
    ]


def late_falls(result: StudyResult) -> list[LateFall]:
    """Return the fall of each width at the largest n with a history of enough epochs."""
    if not len(result.table):
        return []
    largest = sizes(result.table)[-1]
    by_width: dict[int, list[str]] = {}
    for _, record in finished(result):
        if int(record.dials["n"]) == largest:
            by_width.setdefault(int(record.dials["k"]), []).append(record.run_id)
    falls = (
        _fall(k, [_risks(result.histories.get(run, ())) for run in runs[:_MOST_SEEDS]])
        for k, runs in sorted(by_width.items())
    )
    return [fall for fall in falls if fall is not None]


def _risks(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return (epochs, 2) estimates with standard errors, in the order of the epochs."""
    logged = sorted(
        (row["epoch"], row["value"], row["standard_error"] or 0.0)
        for row in rows
        if row["name"] == _ESTIMATE and isinstance(row["value"], float | int) and math.isfinite(row["value"])
    )
    return np.array([entry[1:] for entry in logged], dtype=float).reshape(-1, 2)


def _fall(k: int, histories: Sequence[np.ndarray]) -> LateFall | None:
    known = [risks for risks in histories if len(risks) >= _LEAST_EPOCHS]
    if not known:
        return None
    pairs = [(risks[0], risks[math.floor(_LATE * (len(risks) - 1))], risks[-1]) for risks in known]
    late = np.array([middle[0] - last[0] for _, middle, last in pairs])
    whole_fall = float(np.mean([first[0] - last[0] for first, _, last in pairs]))
    if len(late) > 1:
        error = float(late.std(ddof=1)) / math.sqrt(len(late))
    else:
        error = math.hypot(pairs[0][1][1], pairs[0][2][1])
    share = float(late.mean()) / whole_fall if whole_fall > 0 else 0.0
    return LateFall(k, float(late.mean()), error, share, len(late))

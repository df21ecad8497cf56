"""Forecast of a study's largest size from the runs finished so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.laws.forecast import forecast
from jepa_scale.records import Forecast, RunTable
from jepa_scale.studies.specification.laws import families_of
from jepa_scale.studies.specification.spec import StudySpec
from jepa_scale.studies.table import row_of, table_of
from jepa_scale.studies.view.status import Once, Status

_SECONDS, _SHARE, _GUESS = 10.0, 0.02, 0.5
"""Minimum seconds between two forecasts, the share of time that they may take, and the first one's assumed seconds."""


def outlook(spec: StudySpec, table: RunTable) -> str:
    """Forecast the regret at the largest n, at its best width, with the study's first law that can be fitted.

    Returns one sentence, which says why if no law can be fitted yet.
    """
    if len(spec.sizes) < 2:
        return f"no forecast: one needs ≥ 2 sizes n, the study has {len(spec.sizes)}"
    largest = max(spec.sizes)
    known = (table["status"] == "finished") & np.isfinite(table["regret"]) if len(table) else np.zeros(0, dtype=bool)
    if len(table) and not known.any():
        return "no forecast yet: no run that has ended has a regret"
    below = table["n"][known & (table["n"] < largest)] if len(table) else np.zeros(0)
    sizes = np.unique(below)
    if len(sizes) < 2:
        return f"no forecast yet: it needs finished runs of ≥ 2 sizes below n={largest}, {len(sizes)} so far"
    why = ""
    for family in families_of(spec, StudySpec.laws if spec.others else ()):
        if not family.describes("regret"):
            continue
        result = forecast(family, table, "regret", largest, level=spec.level, draws=spec.bootstrap_draws)
        if result.points:
            return _sentence(result, len(below))
        why = why or _why_none(result)
    return f"no forecast yet: from the {len(below)} runs below n={largest}, without saturated cells: {why}"


def _why_none(result: Forecast) -> str:
    if result.reason is None:
        return f"{result.law} has no width to forecast"
    if result.reason.code != "no_forecast":
        return str(result.reason)
    return f"{result.law} is {result.reason.values['status']}: {result.reason.values['why']}"


def _sentence(result: Forecast, runs: int) -> str:
    best = min(result.points, key=lambda point: point.predicted)
    runs_there = f"{best.seeds} run{'s' * (best.seeds != 1)}"
    came = "" if best.observed is None else f"; measured there so far: {best.observed:.3g} ({runs_there})"
    return (
        f"forecast for n={best.n} from {runs} runs below it ({result.law}): regret {best.predicted:.3g} at its best "
        f"width k={best.k}, {result.level:.0%} interval {best.low:.3g} to {best.high:.3g}{came}"
    ).replace("%", " %")


class Outlooks:
    """Outlooks of a study's arms, computed in a background thread, rarely enough that nothing waits for them.

    The first is computed ``at_once``, or after a pause that keeps its expected cost within the share of time.
    """

    def __init__(self, spec: StudySpec, study: Path, at_once: bool) -> None:
        self.spec, self.study = spec, study
        self.said: Mapping[str, str] = {}
        """Outlook by arm; always replaced as a whole, so that other threads may read it."""
        self.cost = _GUESS
        """Processor seconds that the last outlooks took."""
        self._row = Once(study, row_of)
        self._seen = -1
        self._due = time.monotonic() + (0.0 if at_once else self._pause)
        self._work: threading.Thread | None = None

    @property
    def _pause(self) -> float:
        return max(_SECONDS, self.cost / _SHARE)

    def follow(self, status: Status) -> None:
        """Start new outlooks if runs have finished since the last ones and a pause has passed; returns immediately."""
        done = status.counts["done"]
        busy = self._work is not None and self._work.is_alive()
        if done == self._seen or busy or time.monotonic() < self._due:
            return
        self._seen = done
        # A daemon: whoever ends the view does not wait for a fit.
        self._work = threading.Thread(target=self.make, args=(status,), name="outlook", daemon=True)
        self._work.start()

    def finish(self, status: Status) -> None:
        """Wait for the outlooks that include all finished runs."""
        if self._work is not None:
            self._work.join()
        if status.counts["done"] != self._seen:
            self.make(status)

    def make(self, status: Status) -> None:
        """Compute the outlooks now, in this thread."""
        began = time.thread_time()
        arms: dict[str, list[dict[str, Any]]] = {run.point.arm: [] for run in status.runs}
        for run in status.runs:
            if run.state == "done" and run.point.purpose == "cell" and run.point.dials == self.spec.reference:
                row = self._row(run.point)
                if row is not None:
                    arms[run.point.arm].append(row | {"arm": run.point.arm})
        self.said = {arm: self._try(rows) for arm, rows in arms.items()}
        self.cost = time.thread_time() - began
        self._due = time.monotonic() + self._pause

    def _try(self, rows: list[dict[str, Any]]) -> str:
        try:
            return outlook(self.spec, table_of(rows))
        except Exception as error:
            # The study goes on whatever a fit does; the report will meet the same error, and say all of it.
            return f"no forecast: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"

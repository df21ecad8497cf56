"""Cost of a run: hours by n and k, fitted to the wall times of finished runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.records import RunTable
from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class Cost:
    """Cost model hours = exp(a) n^b k^c."""

    a: float
    b: float
    c: float

    def hours(self, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
        """Return the hours of one run at each (n, k)."""
        return np.exp(self.a + self.b * np.log(n) + self.c * np.log(k))


def cost_from_table(table: RunTable) -> Cost | None:
    """Fit ln hours to ln n and ln k by least squares, slopes ≥ 0; None if no wall time was recorded.

    A budget of fixed steps costs the same at every n: then b is about 0, and data, not hours, are what an n costs.
    """
    if "wall_seconds" not in table.columns:
        return None
    seconds = np.asarray(table["wall_seconds"], dtype=float)
    usable = (table["status"] == "finished") & np.isfinite(seconds) & (seconds > 0)
    if not usable.any():
        return None
    logs = [np.log(np.asarray(table[name][usable], dtype=float)) for name in ("n", "k")]
    answer = np.log(seconds[usable] / 3600)
    slopes = {}
    for index, column in enumerate(logs):
        spread = column - column.mean()
        slopes[index] = max(float(spread @ answer / (spread @ spread)), 0.0) if np.ptp(column) > 0 else 0.0
    a = float((answer - slopes[0] * logs[0] - slopes[1] * logs[1]).mean())
    return Cost(a, slopes[0], slopes[1])

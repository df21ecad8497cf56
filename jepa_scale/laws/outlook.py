"""A forecaster's view of a study, in the units of its regret: what advice is read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.cells import Cells, cells_from_table
from jepa_scale.laws.distributions import student_below, student_quantile
from jepa_scale.laws.forecasters.base import Fitted, Forecaster, Seen
from jepa_scale.records import RunTable
from jepa_scale.shapes import Float64

DRAWS = 1000
_ASSUMED = 3
"""Degrees of freedom of a noise that was not measured."""
CHECKED_K = float(np.log10(2.0))
"""Decades beyond the widths run at which forecasts were checked: with the narrowest or widest width of 16 studies left
out, 90 % intervals held 0.87 of its cells (benchmarks/README.md)."""


@dataclass(frozen=True)
class Outlook:
    """The regret of a study as a forecaster sees it."""

    cells: Cells
    seen: Seen
    fitted: Fitted

    @classmethod
    def of(cls, forecaster: Forecaster, table: RunTable) -> Outlook:
        """Fit a forecaster to the finished runs of a table.

        Raises
        ------
        ValueError
            If there is no cell, or a regret lies outside [0, 1].
        """
        cells = cells_from_table(table, "regret", np.inf)
        if len(cells) == 0:
            raise ValueError("no finished run has a regret: run the study first")
        values = np.concatenate(cells.values)
        if (values < 0).any() or (values > 1).any():
            raise ValueError(
                f"a regret is a lost probability, expected values in [0, 1], got {values.min():g} to {values.max():g}: "
                "give the probability of success lost against the best plan"
            )
        seen = Seen.of(cells)
        return cls(cells, seen, forecaster.fit(seen))

    @property
    def shares(self) -> Mapping[str, float]:
        """Weight of each member of the forecaster; empty where it has none."""
        return self.fitted.shares

    @property
    def checked(self) -> tuple[float, float]:
        """Largest decades beyond the runs in n and in k at which forecasts were checked."""
        return self.fitted.checked, CHECKED_K if len(np.unique(self.cells.k)) > 1 else 0.0

    def decades(self, k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances beyond the range of the runs in n and in k, log10."""
        cells = self.cells
        over_n = np.maximum(np.log10(n / cells.n.max()), 0.0)
        over_k = np.maximum(np.maximum(np.log10(k / cells.k.max()), np.log10(cells.k.min() / k)), 0.0)
        # A smaller n than any run is no forecast that a back-test from below has checked.
        return np.maximum(over_n, np.log10(cells.n.min() / n)), over_k

    def draws(self, k: np.ndarray, n: np.ndarray, seed: int) -> Float64[np.ndarray, "draws points"]:
        """Return joint draws of the mean regret over many seeds at points, cut to [0, 1]."""
        generator = np.random.default_rng([seed, 11])
        drawn = self.fitted.draws(np.asarray(n, float), np.asarray(k, float), DRAWS, generator)
        return np.clip(drawn * self.seen.ceiling, 0.0, 1.0)

    def run_draws(self, k: np.ndarray, n: np.ndarray, seed: int) -> Float64[np.ndarray, "draws points"]:
        """Return draws of the regret of one more run at each point."""
        mean = self.draws(k, n, seed)
        scatter = np.random.default_rng([seed, 12]).standard_normal(mean.shape)
        return np.clip(mean + self.noise(mean) * scatter, 0.0, 1.0)

    def predicted(self, k: np.ndarray, n: np.ndarray, seed: int = 0) -> Float64[np.ndarray, " points"]:
        """Return the mean of the draws."""
        return np.asarray(self.draws(k, n, seed).mean(axis=0))

    def noise(self, regret: np.ndarray) -> Float64[np.ndarray, "..."]:
        """Return the sd of one run about a mean regret."""
        return self.seen.ceiling * self.seen.deviation(regret / self.seen.ceiling, 1.0)

    def reaches(self, k: np.ndarray, n: np.ndarray, target: float, seed: int) -> Float64[np.ndarray, " points"]:
        """Return P(one more run ≤ target) at each point: of its own runs where there are some."""
        probability = (self.run_draws(k, n, seed) <= target).mean(axis=0)
        for place in range(len(self.cells)):
            here = (k == self.cells.k[place]) & (n == self.cells.n[place])
            if here.any():
                probability[here] = self.measured(int(place), target, 0.5)[0]
        return np.asarray(probability)

    def measured_place(self, n: float, k: float) -> int | None:
        """Return the index of a cell; None where there is none."""
        place = np.flatnonzero((self.cells.n == n) & (self.cells.k == k))
        return int(place[0]) if len(place) else None

    def measured(self, place: int, target: float, level: float) -> tuple[float, float, float]:
        """Return P(one more run ≤ target) and its interval from the runs of a cell, by t with pooled noise.

        Where no cell has two runs the noise is that of other studies, and counts as three degrees of freedom.
        """
        cells = self.cells
        mean, count = float(cells.mean[place]), int(cells.seeds[place])
        sd = float(self.noise(np.array(mean))) * np.sqrt(1 + 1 / count)
        degrees = int((cells.seeds - 1).sum()) or _ASSUMED
        probability = student_below((target - mean) / sd, degrees)
        half = student_quantile((1 + level) / 2, degrees) * sd
        return probability, max(mean - half, 0.0), min(mean + half, 1.0)

"""What a forecaster sees of a study, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from jepa_scale.laws.cells import Cells, finite_mean
from jepa_scale.laws.lateness import late_shares
from jepa_scale.laws.noise import pooled_noise
from jepa_scale.shapes import Float64, Int64

_LEAST_NOISE = 0.003
"""Smallest sd of one run, as a share of the regret of random plans: cells without scatter are not known exactly."""
_UNREPLICATED = (0.03, 0.1)
"""s0 and c of a study whose cells have one seed each."""


@dataclass(frozen=True)
class Seen:
    """Cells of a study, their regret in units of that of random plans: y = 1 is a planner that knows nothing."""

    n: Float64[np.ndarray, " cells"]
    k: Float64[np.ndarray, " cells"]
    mean: Float64[np.ndarray, " cells"]
    """y, mean over seeds."""
    seeds: Int64[np.ndarray, " cells"]
    noise: tuple[float, float]
    """s0 and c: one run has the sd √(s0² + (c y)²)."""
    ceiling: float
    """Regret of random plans; 1 where it is not known."""
    late: Float64[np.ndarray, " cells"] | None = None
    """Share of what was learnt that came in the second half of the epochs; NaN or None where it is not known."""

    @classmethod
    def of(cls, cells: Cells) -> Seen:
        """Return the cells of a study's regret.

        Raises
        ------
        ValueError
            If there is no cell, or random plans lose nothing.
        """
        if not len(cells):
            raise ValueError(f"expected cells with a {cells.target}, got none: run the study first")
        ceiling = finite_mean(cells.ceiling)
        ceiling = ceiling if np.isfinite(ceiling) else 1.0
        if not ceiling > 0:
            raise ValueError(f"expected a regret of random plans above 0, got {ceiling}: nothing can be lost there")
        seen = cls.of_runs(cells.n, cells.k, cells.mean, cells.sd, cells.seeds, ceiling)
        return replace(seen, late=late_shares(cells))

    @classmethod
    def of_runs(
        cls, n: np.ndarray, k: np.ndarray, mean: np.ndarray, sd: np.ndarray, seeds: np.ndarray, ceiling: float
    ) -> Seen:
        """Return cells with the mean and sd of their runs; ``ceiling`` is the regret of random plans."""
        noise, replicated = _UNREPLICATED, seeds > 1
        if replicated.any():
            variance = (sd[replicated] / ceiling) ** 2
            degrees = (seeds[replicated] - 1).astype(float)
            noise = pooled_noise(variance, degrees, mean[replicated] / ceiling, _LEAST_NOISE)
        return cls(n, k, mean / ceiling, seeds, noise, ceiling)

    def where(self, chosen: np.ndarray) -> Seen:
        """Return some of the cells."""
        late = None if self.late is None else self.late[chosen]
        parts = (self.n[chosen], self.k[chosen], self.mean[chosen], self.seeds[chosen])
        return Seen(*parts, self.noise, self.ceiling, late)

    def deviation(self, level: np.ndarray | float, runs: np.ndarray | float) -> np.ndarray:
        """Return the sd of the mean of ``runs`` runs at a level of y."""
        return np.sqrt((self.noise[0] ** 2 + (self.noise[1] * np.asarray(level)) ** 2) / runs)

    def curve(self, k: float) -> Seen:
        """Return the cells of one width by ascending n; those of the nearest width where k was not run."""
        widths = np.unique(self.k)
        nearest = widths[np.abs(np.log(widths / k)).argmin()]
        chosen = np.flatnonzero(self.k == nearest)
        return self.where(chosen[np.argsort(self.n[chosen])])


class Fitted(ABC):
    """A forecaster that has seen the cells of a study."""

    @property
    def shares(self) -> Mapping[str, float]:
        """Weight of each member, where the forecaster is made of several."""
        return {}

    @property
    def checked(self) -> float:
        """Decades beyond the largest n up to which such forecasts were checked; 0: never."""
        return 0.0

    @abstractmethod
    def draws(
        self, n: np.ndarray, k: np.ndarray, count: int, generator: np.random.Generator
    ) -> Float64[np.ndarray, "count points"]:
        """Return draws of y, the mean over many seeds, at points (n, k); joint over the points."""


class Draws(Protocol):
    """Anything that draws y at points."""

    def draws(self, n: np.ndarray, k: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        """Return draws of y, (count, points)."""


def mixture_draws(
    parts: Iterable[Draws],
    weights: Float64[np.ndarray, " parts"],
    n: np.ndarray,
    k: np.ndarray,
    count: int,
    generator: np.random.Generator,
) -> Float64[np.ndarray, "count points"]:
    """Return draws of a mixture: its parts share them by weight."""
    n, k = np.asarray(n, float), np.asarray(k, float)
    counts = generator.multinomial(count, weights)
    return np.concatenate(
        [part.draws(n, k, int(share), generator) for part, share in zip(parts, counts, strict=True) if share]
    )


def normal_draws(covariance: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return draws of a normal law of mean 0, also where rounding has made its covariance slightly indefinite."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return np.asarray((generator.standard_normal((count, len(values))) * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


@dataclass(frozen=True)
class Averaged(Fitted):
    """Fits of one forecaster by several choices, weighted by their likelihood."""

    parts: tuple[Draws, ...]
    weights: Float64[np.ndarray, " parts"]

    @classmethod
    def by(cls, parts: Sequence[Draws], log_likelihood: Sequence[float]) -> Averaged:
        """Weigh parts by their log likelihood or evidence."""
        weights = np.exp(np.array(log_likelihood) - max(log_likelihood))
        return cls(tuple(parts), weights / weights.sum())

    def draws(
        self, n: np.ndarray, k: np.ndarray, count: int, generator: np.random.Generator
    ) -> Float64[np.ndarray, "count points"]:
        """Return draws of y, shared among the parts by weight."""
        return mixture_draws(self.parts, self.weights, n, k, count, generator)


def thinned(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of increasing values, evenly chosen, both ends included."""
    if len(values) <= most:
        return values
    return np.asarray(values[np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))])


class Forecaster(ABC):
    """Frozen settings that are fitted to cells.

    Contract, which ``tests/laws/forecasters/test_contract.py`` holds every leaf of ``conf/forecaster`` to: draws are
    finite and at least 0, the same for the same generator, for one cell, one size, one width and cells of regret 0;
    their spread does not fall with the distance from what was seen.
    """

    @abstractmethod
    def fit(self, seen: Seen) -> Fitted:
        """Return the forecaster fitted to the cells."""

    def forgetting(self, study: str) -> Forecaster:
        """Return the forecaster as if it had never learned from a study, to be asked about that study."""
        del study  # nothing was learned from any
        return self


@dataclass(frozen=True)
class Normal(Fitted):
    """Draws from a mean and an sd at each point."""

    seen: Seen
    forecaster: PointForecaster

    def draws(
        self, n: np.ndarray, k: np.ndarray, count: int, generator: np.random.Generator
    ) -> Float64[np.ndarray, "count points"]:
        """Return draws, cut at 0."""
        said = [self._at(float(size), float(width)) for size, width in zip(n, k, strict=True)]
        mean, sd = np.array(said).T
        # One error for all sizes of a width: a line that is too high is too high everywhere.
        _, width = np.unique(k, return_inverse=True)
        error = generator.standard_normal((count, int(width.max(initial=0)) + 1))[:, width]
        return np.maximum(mean + sd * error, 0.0)

    def _at(self, n: float, k: float) -> tuple[float, float]:
        curve = self.seen.curve(k)
        if n > curve.n[-1] or len(curve.n) == 1:
            return self.forecaster.at(curve, self.seen, n)
        # Between the runs: a straight line in ln n from cell to cell, surest at the cells.
        right = min(max(int(np.searchsorted(curve.n, n)), 1), len(curve.n) - 1)
        share = np.log(n / curve.n[right - 1]) / np.log(curve.n[right] / curve.n[right - 1])
        low, high = curve.mean[right - 1], curve.mean[right]
        mean = float(np.clip(low + share * (high - low), 0.0, max(low, high, 1.0)))
        seed = float(self.seen.deviation(mean, curve.seeds[right]))
        return mean, float(np.hypot(seed, abs(high - low) * min(abs(share), abs(1 - share)) / 2))


class PointForecaster(Forecaster):
    """A simple forecaster: from the curve of one width, a mean and an sd at a size."""

    @abstractmethod
    def at(self, curve: Seen, seen: Seen, n: float) -> tuple[float, float]:
        """Return mean and sd of y at a size."""

    def fit(self, seen: Seen) -> Normal:
        """Return the forecaster with the cells."""
        return Normal(seen, self)

"""What more episodes would gain: E(n) = E∞ + B n^−β beyond the ladder, by Bayes' rule on a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.enough.ladder import Ladder

DRAWS = 4000
_FLOORS = np.linspace(0.0, 0.995, 200)
"""Values of u = E∞ / E(N)."""
_SLOPES = np.exp(np.linspace(np.log(0.1), np.log(4.0), 80))
"""Values of β."""
_USUAL_SLOPE, _SLOPE_SPREAD = 0.8, 0.6
"""Median of β, and the deviation of its logarithm, before the ladder is seen."""
_MISFIT, _ROUGHNESS = 0.3, 0.03
"""Deviation of a rung from the law beside what the jackknife sees: share of ln(E(n) / E(N)), and for each doubling.

Both were chosen on the ladders of ``benchmarks/enough.py``, whose table says how the forecasts fare."""


@dataclass(frozen=True)
class Interval:
    """A median with the 5 % and 95 % quantiles."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: NDArray[np.float64]) -> Interval:
        """Summarise draws."""
        low, value, high = np.quantile(draws, [0.05, 0.5, 0.95], method="nearest")  # some may be infinite
        return cls(float(value), float(low), float(high))


@dataclass(frozen=True)
class Draws:
    """Draws of the law E(n) = E(N) (u + (1 − u) (n / N)^−β) after a ladder up to N was seen."""

    last: float
    """N."""
    level: NDArray[np.float64]
    """(S,) E(N)."""
    floor: NDArray[np.float64]
    """(S,) u."""
    slope: NDArray[np.float64]
    """(S,) β."""

    def errors(self, n: float) -> NDArray[np.float64]:
        """(S,) E(n)."""
        return self.level * (self.floor + (1 - self.floor) * (n / self.last) ** -self.slope)

    def gain(self, factor: float) -> NDArray[np.float64]:
        """(S,) 1 − E(factor N) / E(N): the share of the error that ``factor`` times the data would remove."""
        return (1 - self.floor) * (1 - factor**-self.slope)

    def reach(self, share: float) -> NDArray[np.float64]:
        """(S,) n at which ``share`` of 1 − E∞ is reached, the most that the learner will ever explain.

        Infinite where E∞ is 1 or more.
        """
        limit = self.level * self.floor
        gap = 1 - share * (1 - limit) - limit
        fall = self.level * (1 - self.floor)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(gap > 0, self.last * (gap / fall) ** (-1 / self.slope), np.inf)


def forecast(ladder: Ladder, seed: int = 0) -> Draws:
    """Draw laws that agree with a ladder.

    The law is E(n) = E(N) (u + (1 − u) (n / N)^−β) with u uniform on [0, 1) and ln β normal around ln 0.8. Ratios
    E(n) / E(N) are measured with the jackknife's error over held-out parts, which share what is common to all rungs,
    and the law is trusted the less the farther a rung lies below the last. The posterior is summed on a grid.
    """
    means, weights = ladder.means, ladder.weights
    parts = len(weights)
    # Leave one part out: paired over rungs.
    left = (means[:, None] - ladder.errors * weights) / (1 - weights)
    ratios = np.log(left[:-1] / left[-1])
    centred = ratios - ratios.mean(1, keepdims=True)
    variance = (parts - 1) / parts * np.square(centred).sum(1)
    measured = np.log(means[:-1] / means[-1])
    octaves = np.log2(ladder.n[-1] / ladder.n[:-1])
    variance = variance + np.square(_MISFIT * measured) + np.square(_ROUGHNESS * octaves)
    law = _FLOORS[:, None, None] + (1 - _FLOORS[:, None, None]) * 2 ** (octaves * _SLOPES[:, None])
    logs = -0.5 * (np.square(np.log(law) - measured) / variance).sum(-1)
    logs -= 0.5 * np.square(np.log(_SLOPES / _USUAL_SLOPE) / _SLOPE_SPREAD)
    chances = np.exp(logs - logs.max())
    generator = np.random.default_rng(seed)
    picked = generator.choice(chances.size, DRAWS, p=(chances / chances.sum()).ravel())
    floor, slope = np.unravel_index(picked, chances.shape)
    deviation = np.sqrt((parts - 1) / parts * np.square(np.log(left[-1]) - np.log(left[-1]).mean()).sum())
    level = means[-1] * np.exp(deviation * generator.standard_normal(DRAWS))
    return Draws(float(ladder.n[-1]), level, _FLOORS[floor], _SLOPES[slope])

"""A level for each width that wanders in ln n, less and less: a forecast where regret stays where it is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.forecasters.base import Averaged, Forecaster, Seen
from jepa_scale.laws.forecasters.process import Process

_PRIOR = (0.5, 2.5)
"""Mean and sd of a level before anything was seen, in log odds."""
_SHARED = 0.35
"""Share of the changes that all widths have in common."""
_LENGTH = 0.3
"""Units of ln k over which the rest stays alike."""


@dataclass(frozen=True)
class Walk(Process):
    """One choice of how far levels wander, and its fit."""

    step: float
    """sd of the change of the log odds over the first unit of ln n."""
    settles: float
    """Units of ln n after which a change is 1/e as likely as at first, in variance."""

    def mean(self, u: np.ndarray) -> np.ndarray:
        """Return the mean of a level before anything was seen."""
        return np.full(np.shape(u), _PRIOR[0])

    def covariance(self, u: np.ndarray, v: np.ndarray, u2: np.ndarray, v2: np.ndarray) -> np.ndarray:
        """Return the covariance of levels: of a prior and of a walk whose steps become smaller."""
        alike = np.exp(-((v[:, None] - v2[None]) ** 2) / (2 * _LENGTH**2))
        early = np.maximum(np.minimum(u[:, None], u2[None]), 0.0)
        walk = self.step**2 * self.settles * (1 - np.exp(-early / self.settles))
        return _PRIOR[1] ** 2 * (0.3 + 0.7 * alike) + walk * (_SHARED + (1 - _SHARED) * alike)


@dataclass(frozen=True)
class Level(Forecaster):
    """Log odds of y = level of the width + seed noise; the level is a random walk in ln n whose steps become smaller.

    Where regret stays where it is, the mean of what was seen at a width says more than its last cell, and how much more
    follows from the noise: this is the best linear smoother of such a walk, whose variance up to u = ln n − ln n₀ is
    step² τ (1 − e^(−u/τ)). What is averaged by its likelihood: the size of the steps, how soon they settle (τ), and
    what cells hold beside seed noise.
    """

    steps: tuple[float, ...] = (0.01, 0.04, 0.15, 0.5, 1.0)
    settles: tuple[float, ...] = (1.0, 4.0, 1000.0)
    unexplained: tuple[float, ...] = (0.01, 0.05, 0.15)

    def __post_init__(self) -> None:
        if not self.steps or not self.settles or not self.unexplained:
            raise ValueError(f"expected steps, settles and unexplained, got {self}")
        if min(*self.steps, *self.settles, *self.unexplained) <= 0:
            raise ValueError(f"expected numbers above 0, got {self}")

    def fit(self, seen: Seen) -> Averaged:
        """Weigh every choice by what it says of the cells."""
        walks = tuple(
            Walk(seen, unexplained, step, settles)
            for step, settles, unexplained in itertools.product(self.steps, self.settles, self.unexplained)
        )
        return Averaged.by(walks, [walk.log_likelihood for walk in walks])

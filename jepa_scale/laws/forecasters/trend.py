"""A smooth trend in ln n on the scale of log odds: a Gaussian process whose slope drifts."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.forecasters.base import Averaged, Forecaster, Seen
from jepa_scale.laws.forecasters.process import Process


@dataclass(frozen=True)
class Kernel(Process):
    """One choice of how the trend bends, and its fit."""

    start: float
    """Mean log odds at the smallest n."""
    slope: float
    """Mean change of the log odds for each unit of ln n."""
    slope_sd: float
    offset_sd: float
    bend: float
    """sd of the change of the slope over one unit of ln n."""
    shared: float
    """Share of the variance that all widths have in common."""
    length: float
    """Units of ln k over which the rest stays alike."""
    settles: float = math.inf
    """τ: units of ln n after which changes are 1/e of what they were; inf: they go on."""

    def slowed(self, u: np.ndarray) -> np.ndarray:
        """Return τ (1 − e^(−u/τ)), the place on the scale on which the trend goes on."""
        return u if math.isinf(self.settles) else self.settles * (1 - np.exp(-u / self.settles))

    def mean(self, u: np.ndarray) -> np.ndarray:
        """Return the mean trend."""
        return self.start + self.slope * u

    def covariance(self, u: np.ndarray, v: np.ndarray, u2: np.ndarray, v2: np.ndarray) -> np.ndarray:
        """Return the covariance of log odds: of an offset, a slope, and an integrated random walk."""
        alike = np.exp(-((v[:, None] - v2[None]) ** 2) / (2 * self.length**2))
        early, apart = np.minimum(u[:, None], u2[None]), np.abs(u[:, None] - u2[None])
        walk = np.maximum(early, 0.0) ** 3 / 3 + np.maximum(early, 0.0) ** 2 * apart / 2
        trend = self.offset_sd**2 + self.slope_sd**2 * u[:, None] * u2[None] + self.bend**2 * walk
        return (self.shared + (1 - self.shared) * alike) * trend


@dataclass(frozen=True)
class Trend(Forecaster):
    """ln(y′/(1 − y′)) = start + slope · u + f(u, ln k), u = ln n − ln n₀, y′ the regret moved away from 0 and 1.

    f is a Gaussian process: an offset, a slope, and an integrated random walk in u (a slope that drifts), each partly
    common to all widths. Regret saturates at random plans and falls ever faster below the margin (B5), which no power
    of n does; on this scale both are nearly straight. What is averaged by its likelihood: which of the ``regimes`` the
    study is in, such as one that learns and one that stays where it is, how alike widths are, and what cells hold
    beside seed noise.
    With ``settles`` the trend dies away: it goes on in τ (1 − e^(−u/τ)) in place of u.
    """

    start: float = 2.3
    offset_sd: float = 1.1
    regimes: tuple[tuple[float, float, float], ...] = (
        (-0.5, 0.4, 0.15),
        (-0.5, 0.4, 0.3),
        (-0.5, 0.4, 0.6),
        (0.0, 0.07, 0.02),
    )
    """Mean and sd of the slope, and sd of its change over one unit of ln n."""
    shared: tuple[float, ...] = (0.4, 0.8)
    lengths: tuple[float, ...] = (1.0,)
    unexplained: tuple[float, ...] = (0.03, 0.1, 0.25)
    settles: tuple[float, ...] = (math.inf,)

    def __post_init__(self) -> None:
        # Files have lists only.
        object.__setattr__(self, "regimes", tuple(tuple(regime) for regime in self.regimes))
        choices = (self.regimes, self.shared, self.lengths, self.unexplained, self.settles)
        if min(self.settles, default=1) <= 0:
            raise ValueError(f"expected settles above 0, got {self.settles}")
        if not all(choices) or any(len(regime) != 3 or min(regime[1:]) <= 0 for regime in self.regimes):
            raise ValueError(f"expected regimes [slope, sd above 0, bend above 0] and no empty list, got {self}")

    def fit(self, seen: Seen) -> Averaged:
        """Weigh every choice by what it says of the cells."""
        choices = itertools.product(self.regimes, self.shared, self.lengths, self.unexplained, self.settles)
        kernels = tuple(
            Kernel(seen, unexplained, self.start, slope, slope_sd, self.offset_sd, bend, shared, length, tau)
            for (slope, slope_sd, bend), shared, length, unexplained, tau in choices
        )
        return Averaged.by(kernels, [kernel.log_likelihood for kernel in kernels])

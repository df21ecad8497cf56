"""A Gaussian process on the log odds of regret at (ln n, ln k), given the cells of a study."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from jepa_scale.laws.forecasters.base import Seen, normal_draws
from jepa_scale.laws.forecasters.odds import deviation_of_odds, from_odds, log_odds

_JITTER = 1e-9


@dataclass(frozen=True)
class Process(ABC):
    """One choice of mean and covariance, and its fit; u = ln n − ln of the smallest n, v = ln k."""

    seen: Seen
    unexplained: float
    """sd of what a cell's log odds hold beside the process and seed noise."""

    @abstractmethod
    def mean(self, u: np.ndarray) -> np.ndarray:
        """Return the mean of the log odds before anything was seen."""

    @abstractmethod
    def covariance(self, u: np.ndarray, v: np.ndarray, u2: np.ndarray, v2: np.ndarray) -> np.ndarray:
        """Return the covariance of the log odds at (u, v) and (u2, v2)."""

    def slowed(self, u: np.ndarray) -> np.ndarray:
        """Return the scale on which the process goes on; u itself, unless it slows down."""
        return u

    def _at(self, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.slowed(np.log(n / self.seen.n.min())), np.log(k)

    @cached_property
    def _fitted(self) -> tuple[tuple[np.ndarray, bool], np.ndarray]:
        u, v = self._at(self.seen.n, self.seen.k)
        noise = deviation_of_odds(self.seen) ** 2 + self.unexplained**2 + _JITTER
        covariance = self.covariance(u, v, u, v) + np.diag(noise)
        return cho_factor(covariance, lower=True), log_odds(self.seen.mean) - self.mean(u)

    @property
    def log_likelihood(self) -> float:
        """ln p of the cells, up to a constant."""
        factor, residual = self._fitted
        determinant = 2 * np.log(np.diag(factor[0])).sum()
        return float(-0.5 * (residual @ cho_solve(factor, residual) + determinant))

    def draws(self, n: np.ndarray, k: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        """Return draws of y, joint over the points."""
        (factor, residual), (u, v) = self._fitted, self._at(self.seen.n, self.seen.k)
        at, width = self._at(n, k)
        cross = self.covariance(at, width, u, v)
        mean = self.mean(at) + cross @ cho_solve(factor, residual)
        left = self.covariance(at, width, at, width) - cross @ cho_solve(factor, cross.T)
        return np.maximum(from_odds(mean + normal_draws(left, count, generator)), 0.0)

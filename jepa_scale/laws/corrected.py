"""A law as the mean of a Gaussian process, which interpolates what the law misses between cells that were run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jepa_scale.laws.cells import Cells
from jepa_scale.laws.noise import mean_variance
from jepa_scale.laws.predictive import Predictive
from jepa_scale.shapes import Float64

_DRAWS = 1000
_LENGTHS = (0.15, 0.3, 0.6, 1.2)
"""Correlation lengths of the miss of a law that are tried, in decades of k or n."""


@dataclass(frozen=True)
class Corrected(Predictive):
    """R(x) = law(x) + e(x), e a Gaussian process with covariance τ² exp(−|Δ log₁₀ (k, n)|/ℓ), given the cells.

    No law is exact. Near a cell that was run, the run is the better forecast; far from all of them e returns to 0 with
    sd τ, and the law is alone. τ and ℓ maximise the marginal likelihood of the cells' residuals given their seed noise,
    on a grid. Each bootstrap draw of the law has residuals of its own, so draws agree where there are runs and part
    beyond. A law that grows without end is cut at the level of random plans, where the cells that it was not fitted to
    lie.
    """

    cells: Cells

    @cached_property
    def _places(self) -> Float64[np.ndarray, "cells 2"]:
        return np.log10(np.column_stack([self.cells.k, self.cells.n]))

    @cached_property
    def _residual(self) -> Float64[np.ndarray, " cells"]:
        return self.cells.mean - _cut(super().predicted(self.cells.columns), self.cells.columns)

    @cached_property
    def _seed_variance(self) -> Float64[np.ndarray, " cells"]:
        return mean_variance(self.cells, np.maximum(self.cells.mean, 0.0), self.fit.noise)

    @cached_property
    def scale(self) -> tuple[float, float]:
        """τ, in units of R, and ℓ, in decades."""
        size = max(float(np.sqrt(np.mean(self._residual**2))), 1e-12)
        best = (np.inf, 0.0, _LENGTHS[0])
        for length in _LENGTHS:
            shape = np.exp(-_distance(self._places, self._places) / length)
            for tau in size * np.array([0.1, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0]):
                covariance = tau**2 * shape + np.diag(self._seed_variance)
                triangle = np.linalg.cholesky(covariance + 1e-12 * np.trace(covariance) * np.eye(len(shape)))
                whitened = np.linalg.solve(triangle, self._residual)
                value = float(2 * np.log(np.diag(triangle)).sum() + whitened @ whitened)
                best = min(best, (value, float(tau), length))
        return best[1], best[2]

    def _gain(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of the cells' residuals at some places, and the remaining variance of the process."""
        tau, length = self.scale
        covariance = tau**2 * np.exp(-_distance(self._places, self._places) / length) + np.diag(self._seed_variance)
        covariance += 1e-12 * np.trace(covariance) * np.eye(len(covariance))
        cross = tau**2 * np.exp(-_distance(places, self._places) / length)
        weights = np.linalg.solve(covariance, cross.T).T
        left = tau**2 * np.exp(-_distance(places, places) / length) - weights @ cross.T
        return weights, left

    def predicted(self, columns: Mapping[str, np.ndarray]) -> Float64[np.ndarray, " points"]:
        """Return R of the fit, corrected by the residuals of nearby cells."""
        weights, _ = self._gain(np.log10(np.column_stack([columns["k"], columns["n"]])))
        return _cut(super().predicted(columns), columns) + weights @ self._residual

    def mean_draws(self, columns: Mapping[str, np.ndarray]) -> Float64[np.ndarray, "draws points"]:
        """Return R of each bootstrap refit, corrected by its own residuals, plus a draw of what remains uncertain."""
        weights, left = self._gain(np.log10(np.column_stack([columns["k"], columns["n"]])))
        # What stays open has draws of its own: as many as that takes, not only one for each refit.
        times = max(1, round(_DRAWS / len(self.fit.bootstrap_draws)))
        drawn = np.tile(_cut(super().mean_draws(columns), columns), (times, 1))
        known = _cut(super().mean_draws(self.cells.columns), self.cells.columns)
        residual = self.cells.mean - np.tile(known, (times, 1))
        values, vectors = np.linalg.eigh((left + left.T) / 2)
        normal = np.random.default_rng([len(drawn), len(left)]).standard_normal(drawn.shape)
        return drawn + residual @ weights.T + (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _cut(values: np.ndarray, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    ceiling = columns.get("regret_random")
    return values if ceiling is None else np.minimum(values, np.where(np.isfinite(ceiling), ceiling, np.inf))


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=-1))

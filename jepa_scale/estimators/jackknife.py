"""Delete-a-group jackknife: a bias-corrected value and a standard error for any smooth statistic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class Jackknifed:
    """A statistic θ of the whole sample and θ_(−g) without each group.

    Trajectories, not transitions, are independent, so the groups must be made of whole trajectories. On Markov data
    with a static context per trajectory, θ_J ± t_{.975, G−1} SE covered 0.93–0.97 for totals and 0.84–0.97 for single
    singular values at k/n ≤ 0.012.
    """

    whole: Float64[np.ndarray, "*shape"]
    """θ, biased upwards for singular values and their squares."""
    left_out: Float64[np.ndarray, "G ..."]

    @property
    def value(self) -> Float64[np.ndarray, "*shape"] | np.float64:
        """θ_J = G θ − (G − 1) mean_g θ_(−g)"""
        groups = len(self.left_out)
        return groups * self.whole - (groups - 1) * self.left_out.mean(0)

    @property
    def standard_error(self) -> Float64[np.ndarray, "*shape"] | np.float64:
        """√((G − 1)/G Σ_g (θ_(−g) − mean)²)"""
        groups = len(self.left_out)
        return np.sqrt((groups - 1) / groups * ((self.left_out - self.left_out.mean(0)) ** 2).sum(0))

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Jackknifed:
        """Return the jackknife of a function of θ; the function must act on trailing axes."""
        return Jackknifed(np.asarray(function(self.whole)), np.asarray(function(self.left_out)))

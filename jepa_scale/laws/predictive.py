"""Predictive distribution of a fitted law at points that were not run: fit uncertainty and the noise of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.general import GeneralLaw
from jepa_scale.laws.law import Law
from jepa_scale.records import LawFit
from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class Predictive:
    """A law with its fit and bootstrap."""

    law: Law | GeneralLaw
    fit: LawFit
    relative: bool
    """Whether residuals, and hence noise and intervals, are of ln R."""

    @property
    def usable(self) -> bool:
        """Whether the fit exists and has intervals."""
        return self.fit.status == "converged" and len(self.fit.bootstrap_draws) > 0

    def predicted(self, columns: Mapping[str, np.ndarray]) -> Float64[np.ndarray, " points"]:
        """Return R of the fit."""
        return self.law.predict(np.array([parameter.value for parameter in self.fit.parameters]), columns)

    def mean_draws(self, columns: Mapping[str, np.ndarray]) -> Float64[np.ndarray, "draws points"]:
        """Return R of each bootstrap refit: the uncertainty of the mean."""
        return self.law.predict(self.fit.bootstrap_draws, columns)

    def draws(
        self, columns: Mapping[str, np.ndarray], runs: np.ndarray | float, seed: int
    ) -> Float64[np.ndarray, "draws points"]:
        """Return mean draws plus the noise of the mean of ``runs`` more runs at each point."""
        mean = self.mean_draws(columns)
        normal = np.random.default_rng([seed, 20_260]).standard_normal(mean.shape)
        offset, slope = self.fit.noise
        if self.relative:
            return mean * np.exp(normal * slope / np.sqrt(runs))
        return mean + normal * np.sqrt((offset**2 + (slope * mean) ** 2) / runs)

    def straight(self, values: np.ndarray) -> np.ndarray:
        """Transform values to the scale of the residuals."""
        return np.log(np.maximum(values, 1e-300)) if self.relative else values

    def back(self, values: np.ndarray) -> np.ndarray:
        """Undo ``straight``."""
        return np.exp(values) if self.relative else values


@dataclass(frozen=True)
class Band:
    """Prediction and interval at some points, on the scale of R."""

    predicted: Float64[np.ndarray, " points"]
    low: Float64[np.ndarray, " points"]
    high: Float64[np.ndarray, " points"]


def band(
    model: Predictive, columns: Mapping[str, np.ndarray], runs: np.ndarray | float, level: float, seed: int
) -> Band:
    """Return the prediction with the interval of the middle ``level`` of its draws."""
    predicted, draws = model.predicted(columns), model.draws(columns, runs, seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    # A skewed bootstrap can lie on one side of the fit altogether; an interval holds its own forecast.
    return Band(predicted, np.minimum(low, predicted), np.maximum(high, predicted))


def stretched(
    model: Predictive, draws: Float64[np.ndarray, "draws points"], plain: Band, calibrated: Band
) -> Float64[np.ndarray, "draws points"]:
    """Map draws as a calibration maps their band, each side by the ratio of its half-widths."""
    values, old, new, low, high, wide_low, wide_high = (
        model.straight(part)
        for part in (
            draws, plain.predicted, calibrated.predicted, plain.low, plain.high, calibrated.low, calibrated.high,
        )
    )  # fmt: skip
    below = (new - wide_low) / np.maximum(old - low, 1e-300)
    above = (wide_high - new) / np.maximum(high - old, 1e-300)
    away = values - old
    return model.back(new + np.where(away < 0, below, above) * away)


def error_ratio(model: Predictive, interval: Band, observed: np.ndarray) -> Float64[np.ndarray, " points"]:
    """Return |error| / half-width on the side where each observation fell, on the scale of the residuals."""
    centre, low, high, seen = (
        model.straight(values) for values in (interval.predicted, interval.low, interval.high, observed)
    )
    above = seen > centre
    half = np.where(above, high - centre, centre - low)
    # A skewed bootstrap can leave this side without width; the mean half-width is positive, as the noise is.
    half = np.where(half > 0, half, np.maximum((high - low) / 2, 1e-300))
    return np.abs(seen - centre) / half

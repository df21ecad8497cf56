"""Averages of forecasts, quantile by quantile, and the weights whose average had the least CRPS.

A mixture of forecasters that disagree says that one of them is right, and is as wide as they are apart; the average of
their quantiles lies between them and is as wide as they are, and where their errors differ its own is smaller
(Lichtendahl, Grushka-Cockayne & Winkler 2013). What all are too sure of is left to the factors of the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from jepa_scale.shapes import Float64

LEVELS = (np.arange(8) + 0.5) / 8
"""Levels of the quantiles that stand for a forecast."""
_RANKS = 2 * np.arange(1, len(LEVELS) + 1) - len(LEVELS) - 1


@dataclass(frozen=True)
class Forecasts:
    """What members forecast of some cells, and what came."""

    quantiles: Float64[np.ndarray, "members forecasts levels"]
    """At ``LEVELS``."""
    observed: Float64[np.ndarray, " forecasts"]

    @classmethod
    def of(cls, drawn: Float64[np.ndarray, "members draws forecasts"], observed: np.ndarray) -> Forecasts:
        """Return the quantiles of draws."""
        return cls(np.moveaxis(np.quantile(drawn, LEVELS, axis=1), 0, 2), np.asarray(observed, float))

    def __len__(self) -> int:
        return len(self.observed)

    @property
    def half_spread(self) -> Float64[np.ndarray, "members forecasts"]:
        """½ E|X − X′| of each member."""
        return np.asarray(self.quantiles @ _RANKS / len(LEVELS) ** 2)

    @property
    def scores(self) -> Float64[np.ndarray, "members forecasts"]:
        """CRPS of each member."""
        missed = np.abs(self.quantiles - self.observed[:, None]).mean(axis=2)
        return np.asarray(missed - self.half_spread)

    def of_members(self, places: Sequence[int]) -> Forecasts:
        """Return the forecasts of some members."""
        return Forecasts(self.quantiles[list(places)], self.observed)


def least_weights(parts: Sequence[Forecasts], weights: Sequence[float]) -> Float64[np.ndarray, " members"]:
    """Return weights w ≥ 0 of sum 1 whose average of quantiles has the least CRPS, a sum over parts.

    Σ_p ω_p mean_i [mean_u |Σ_m w_m q_mi(u) − y_i| − ½ Σ_m w_m E|X_mi − X′_mi|]: of quantiles that are averaged, the
    spread is the average of the spreads, so this is convex in w. ``weights`` are the ω_p; an even split is the start,
    and what is returned where parts say nothing.

    Examples
    --------
    >>> right, wrong = np.full((1, 1, 8), 0.2), np.full((1, 1, 8), 0.9)
    >>> known = Forecasts(np.concatenate([right, wrong]), np.array([0.2]))
    >>> least_weights([known], [1.0]).round(2).tolist()
    [1.0, 0.0]
    """
    missed = np.concatenate([one.quantiles - one.observed[:, None] for one in parts], axis=1)
    each = np.concatenate([np.full(len(one), weight / len(one)) for one, weight in zip(parts, weights, strict=True)])
    spread = np.concatenate([one.half_spread for one in parts], axis=1) @ each
    flat, share = missed.reshape(len(missed), -1), np.repeat(each, len(LEVELS)) / len(LEVELS)

    def objective(logits: np.ndarray) -> tuple[float, np.ndarray]:
        chosen = _softmax(logits)
        error = chosen @ flat
        slope = flat @ (np.sign(error) * share) - spread
        return float(np.abs(error) @ share - chosen @ spread), chosen * (slope - chosen @ slope)

    found = minimize(objective, np.zeros(len(flat)), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    return _softmax(found.x)


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum())


def averaged(
    drawn: Float64[np.ndarray, "members draws points"], weights: Float64[np.ndarray, " members"]
) -> Float64[np.ndarray, "draws points"]:
    """Return the average of the members' quantiles, by rising level."""
    return np.asarray(np.tensordot(weights, np.sort(drawn, axis=1), axes=1))


def joint_average(
    drawn: Float64[np.ndarray, "members draws points"],
    weights: Float64[np.ndarray, " members"],
    generator: np.random.Generator,
) -> Float64[np.ndarray, "draws points"]:
    """Return draws of the average, joint over the points.

    At each point they are the average of the quantiles; which of them come together is as in the mixture of the members
    (ensemble copula coupling, Schefzik, Thorarinsdottir & Gneiting 2013).
    """
    count = drawn.shape[1]
    shares = generator.multinomial(count, weights)
    mixture = np.concatenate([one[:share] for one, share in zip(drawn, shares, strict=True)])
    ranks = np.argsort(np.argsort(mixture, axis=0, kind="stable"), axis=0, kind="stable")
    return np.asarray(np.take_along_axis(averaged(drawn, weights), ranks, axis=0))

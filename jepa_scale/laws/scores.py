"""Proper scores of predictive draws: what a forecast was worth once the run was there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float64


def crps(
    draws: Float64[np.ndarray, "draws points"], observed: Float64[np.ndarray, " points"]
) -> Float64[np.ndarray, " points"]:
    """Continuous ranked probability score E|X − y| − ½ E|X − X′|, in units of y; less is better.

    Source: Gneiting & Raftery 2007, eq. 21; the second term from order statistics.

    Examples
    --------
    >>> float(crps(np.array([[0.0], [1.0]]), np.array([0.0]))[0])
    0.25
    """
    ordered, count = np.sort(draws, axis=0), len(draws)
    weight = (2 * np.arange(1, count + 1) - count - 1)[:, None]
    return np.abs(draws - observed).mean(axis=0) - (weight * ordered).sum(axis=0) / count**2


@dataclass(frozen=True)
class Scores:
    """Scores of the forecasts of some cells, one entry each."""

    crps: Float64[np.ndarray, " cells"]
    covered: Float64[np.ndarray, " cells"]
    """1 where the interval holds what came."""
    width: Float64[np.ndarray, " cells"]
    """Width of the interval."""
    interval: Float64[np.ndarray, " cells"]
    """Interval score: width + 2/α times what lies outside (Gneiting & Raftery 2007, eq. 43)."""
    log: Float64[np.ndarray, " cells"]
    """−ln density of what came, of a normal kernel estimate whose bandwidth is at least ``least``."""


def score(
    draws: Float64[np.ndarray, "draws points"],
    observed: Float64[np.ndarray, " points"],
    level: float = 0.9,
    least: float = 0.003,
) -> Scores:
    """Score draws by what came.

    Raises
    ------
    ValueError
        If there are no draws, or the level is not inside (0, 1).
    """
    if not len(draws) or not 0 < level < 1:
        raise ValueError(f"expected draws and a level inside (0, 1), got {len(draws)} draws and {level=}")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    beyond = np.maximum(low - observed, 0) + np.maximum(observed - high, 0)
    # Silverman's rule.
    bandwidth = np.maximum(1.06 * draws.std(axis=0) * len(draws) ** -0.2, least)
    exponent = -0.5 * ((draws - observed) / bandwidth) ** 2
    top = exponent.max(axis=0)
    density = top + np.log(np.exp(exponent - top).mean(axis=0)) - np.log(bandwidth * np.sqrt(2 * np.pi))
    return Scores(
        crps(draws, observed),
        (beyond == 0).astype(float),
        high - low,
        high - low + 2 / (1 - level) * beyond,
        -density,
    )

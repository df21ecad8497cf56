"""Noise model: how much the result of one seed scatters about the mean of its cell."""

from __future__ import annotations

import numpy as np

from jepa_scale.laws.cells import Cells
from jepa_scale.shapes import Float64

NOISE_FLOOR = {"risk": 1e-4}
"""Smallest s0 as a share of the range of the cell means, for targets not in ``_FLOOR``."""
_FLOOR = 1e-2

_PRIOR_DEGREES = 8.0
"""Degrees of freedom of a cell's own variance about the curve: a scatter between cells of about half the variance."""


def noise_floor(cells: Cells) -> float:
    """Return the smallest s0 that a fit uses.

    Regret is exactly 0 for every seed once the estimation error is below the margin (B5), and no power law is. With the
    observed seed sd of 0 such a cell would have infinite weight and the fit would describe nothing else. The
    floor says that differences below 1/100 of the observed range of regret are not worth fitting (with 1/1000, six
    zeros among 27 cells still set every parameter of the theory-shaped law); it is 1/10000 for the risk, which is never
    exactly 0 and whose small values are meant to count.
    """
    span = float(np.ptp(cells.mean)) or float(np.abs(cells.mean).max()) or 1.0
    return NOISE_FLOOR.get(cells.target, _FLOOR) * span


def pooled_noise(
    variance: Float64[np.ndarray, " cells"],
    degrees: Float64[np.ndarray, " cells"],
    level: Float64[np.ndarray, " cells"],
    floor: float,
) -> tuple[float, float]:
    """Return (s0, c) of s² = s0² + (c·R)² from the variances of replicate seeds.

    Two or three seeds are too few for a cell's own weight, so all cells share one curve. It maximises the likelihood in
    which v_i / s²(R_i) has the F distribution with (d_i, 8) degrees of freedom: exact if the cells' own variances
    scatter about the curve as scaled inverse χ²₈, and robust otherwise, as one wild cell enters through a logarithm.
    Found on a grid that is narrowed four times (final spacing below 1 %), with s0 ≥ ``floor`` and 10⁻⁴ ≤ c ≤ 2.
    """
    top = max(10 * floor, 3 * float(np.sqrt(variance.max())))
    offsets, slopes = np.geomspace(floor, top, 25), np.geomspace(1e-4, 2.0, 25)
    for _ in range(5):
        curve = offsets[:, None, None] ** 2 + (slopes[None, :, None] * level) ** 2
        loss = 0.5 * degrees * np.log(curve)
        loss += 0.5 * (degrees + _PRIOR_DEGREES) * np.log1p(degrees * variance / (_PRIOR_DEGREES * curve))
        row, column = np.unravel_index(loss.sum(axis=-1).argmin(), curve.shape[:2])
        s0, c = float(offsets[row]), float(slopes[column])
        offsets = np.geomspace(offsets[max(row - 1, 0)], offsets[min(row + 1, len(offsets) - 1)], 9)
        slopes = np.geomspace(slopes[max(column - 1, 0)], slopes[min(column + 1, len(slopes) - 1)], 9)
    return s0, c


def seed_noise(cells: Cells) -> tuple[float, float] | None:
    """Return (s0, c) from replicate seeds with R = cell mean; None if no cell has two seeds.

    With R = fitted values a law that misses by a factor would bend the curve: measured on a table that theory_fixed
    cannot follow, c came out 60 times too large.
    """
    replicated = cells.seeds > 1
    if not replicated.any():
        return None
    degrees = (cells.seeds[replicated] - 1).astype(float)
    return pooled_noise(cells.sd[replicated] ** 2, degrees, cells.mean[replicated], noise_floor(cells))


def residual_noise(cells: Cells, fitted: Float64[np.ndarray, " cells"], free: int) -> tuple[float, float]:
    """Return (s0, c) from the residuals of a fit with ``free`` parameters: it holds the lack of fit too."""
    inflation = len(cells) / max(len(cells) - free, 1)
    variance = (cells.mean - fitted) ** 2 * inflation
    return pooled_noise(variance, np.ones(len(cells)), fitted, noise_floor(cells))


def mean_variance(
    cells: Cells, level: Float64[np.ndarray, " cells"], noise: tuple[float, float]
) -> Float64[np.ndarray, " cells"]:
    """Return the variance of each cell's mean over its seeds, (s0² + (c·R)²) / seeds."""
    return (noise[0] ** 2 + (noise[1] * level) ** 2) / cells.seeds

"""Prediction error over a horizon, relative to how much there is to predict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True)
class RelativeErrors:
    """Relative squared errors at each step of a horizon."""

    value: Float64[np.ndarray, " T"]
    """NaN where the targets do not vary: there is nothing to predict."""
    standard_error: Float64[np.ndarray, " T"]
    """Over groups of windows; NaN for one group."""
    windows: int
    groups: int


def relative_errors(
    errors: Float64[np.ndarray, "W T"], spread: Float64[np.ndarray, "W T"], groups: Int64[np.ndarray, " W"]
) -> RelativeErrors:
    """E‖ẑ_t − f(x_t)‖² / E‖f(x_t) − E f(x_t)‖² at every step t, a ratio of means over windows.

    0 is a perfect prediction, 1 what the best constant reaches. The standard error is that of the linearised ratio R:
    with residuals r = (a − R b) / b̄ of a window, √(G/(G − 1) Σ_g (Σ_{w ∈ g} r_w)²) / W over groups g, as only groups
    are independent (Cochran, Sampling Techniques, 1977, section 6.3).

    Parameters
    ----------
    errors
        (W, T) a = ‖ẑ_t − f(x_t)‖² of each window.
    spread
        (W, T) b = ‖f(x_t) − mean over windows of f(x_t)‖².
    groups
        (W,) which windows are of one trajectory or episode.

    Raises
    ------
    ValueError
        If there is no window or the shapes differ.
    """
    if errors.shape != spread.shape or len(groups) != len(errors) or not len(errors):
        raise ValueError(
            f"expected errors and spread of as many windows, at least one, got {errors.shape=}, {spread.shape=}, "
            f"{groups.shape=}"
        )
    mean = spread.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(mean > 0, errors.mean(0) / mean, np.nan)
        residuals = (errors - value * spread) / mean
    _, place = np.unique(groups, return_inverse=True)
    count = int(place.max()) + 1
    sums = np.zeros((count, errors.shape[1]))
    np.add.at(sums, place, residuals)
    scale = count / (count - 1) if count > 1 else np.nan
    error = np.sqrt(scale * (sums**2).sum(0)) / len(errors)
    return RelativeErrors(value, np.where(mean > 0, error, np.nan), len(errors), count)

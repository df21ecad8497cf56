"""Information criteria (AICc, BIC) of a law from the minimum of its loss."""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from jepa_scale.laws.losses import Absolute, Binomial, HuberLog, Loss
from jepa_scale.laws.rows import Rows
from jepa_scale.shapes import Float64


def scaled_deviance(loss: Loss, objective: float, rows: Rows) -> float:
    """Return −2 ln L of the rows, with the density ∝ exp(−ℓ/s) and the scale s of maximum likelihood.

    A binomial loss is a likelihood already; it has no scale. Constants that depend on the rows alone are left out.
    """
    if isinstance(loss, Binomial):
        return 2 * objective
    count = float((rows.weight > 0).sum())
    # A perfect fit has an unbounded likelihood; the smallest positive scale keeps the number finite.
    objective = max(objective, 1e-300)
    if isinstance(loss, Absolute):
        return float(2 * count * (1 + np.log(objective / count * (1 / loss.over + 1 / loss.under))))
    if isinstance(loss, HuberLog) and np.isfinite(loss.delta):
        delta = loss.delta

        def deviance(log_scale: float) -> float:
            s = np.exp(log_scale)
            middle = np.sqrt(2 * np.pi * s) * special.erf(delta / np.sqrt(2 * s))
            sides = 2 * s / delta * np.exp(-0.5 * delta**2 / s)
            return float(2 * objective / s + 2 * count * np.log(middle + sides))

        start = np.log(objective / count)
        return float(optimize.minimize_scalar(deviance, bounds=(start - 8, start + 8), method="bounded").fun)
    return float(count * (1 + np.log(4 * np.pi * objective / count)))


def akaike(deviance: float, rows: int, free: int) -> float:
    """Return AICc from −2 ln L, ``free`` parameters of the law and one scale; infinite if there are too few rows."""
    q = free + 1
    return float("inf") if rows <= q + 1 else deviance + 2 * q + 2 * q * (q + 1) / (rows - q - 1)


def corrected_akaike(squares: float, variance: Float64[np.ndarray, " cells"], free: int) -> float:
    """Return AICc = N ln(χ²/N) + Σ ln v_i + 2 q + 2 q (q+1)/(N − q − 1), q counting the scale.

    The Gaussian −2 ln L with Var(mean_i) = τ² v_i, τ² fitted and N(1 + ln 2π) dropped. A common scale is fitted because
    no law is exact: with τ = 1 the lack of fit would count as evidence as if it were independent noise, and weights
    would be 0 or 1 always. Infinite where N ≤ q + 1.
    """
    cells = len(variance)
    scale = max(squares / cells, 1e-300)
    return akaike(float(cells * np.log(scale) + np.log(variance).sum()), cells, free)


def bayes(aicc: float, rows: int, free: int) -> float:
    """Return BIC from AICc: its penalty replaced by ln N for each parameter and the scale."""
    q = free + 1
    if rows <= q + 1:
        return float("inf")
    return aicc - 2 * q - 2 * q * (q + 1) / (rows - q - 1) + q * float(np.log(rows))

"""Upper confidence bound for the mean of independent bounded values."""

from __future__ import annotations

import numpy as np

from jepa_scale.shapes import Float64

TRUNCATION = 0.75
"""c: no bet risks more than this share of the capital (Waudby-Smith & Ramdas use 1/2 or 3/4)."""

_ROUNDING = 1e-9
_BISECTIONS = 50


def betting_upper(values: Float64[np.ndarray, " n"], low: float, high: float, delta: float) -> float:
    """Upper confidence bound for the mean of i.i.d. values in [low, high], by betting against every mean m.

    On values rescaled to [0, 1], the capital K_t(m) = Π_{i≤t} (1 − λ_i(m) (X_i − m)) is a nonnegative martingale
    if m is the mean, so P(sup_t K_t ≥ 1/δ) ≤ δ (Ville). The bets are
    λ_i(m) = min(√(2 ln(1/δ) / (n V_{i−1})), c/(1 − m)), with V_{i−1} = (1/4 + Σ_{j<i} (X_j − mean_j)²) / i, which look
    at earlier values only. As every factor grows with m, the means not refuted, sup_t K_t(m) < 1/δ, are an interval
    that starts at 0; its end is the bound. It is found by bisection to 2^−50 of the range and returned from above.

    The order of the values must not depend on them: the order of drawing, or a shuffle made without looking.

    Source: Waudby-Smith & Ramdas 2024 (JRSS-B 86:1–27, arXiv:2010.09686), Theorem 3 (hedged capital) with predictable
    plug-in bets for a fixed n; of its two processes only the one that refutes large means, with all of δ. Validity
    needs X ≤ high only; ``low`` sets the scale of the first bets.

    Raises
    ------
    ValueError
        If there is no value, one is NaN or outside [low, high], low > high, or δ is outside (0, 1).
    """
    unit = _to_unit(values, low, high, delta)
    bets = np.sqrt(2 * np.log(1 / delta) / (len(unit) * _shrunk_variance(unit)))
    return float(low + (high - low) * _last_refuted(unit, bets, delta))


def _to_unit(values: np.ndarray, low: float, high: float, delta: float) -> np.ndarray:
    if not 0 < delta < 1:
        raise ValueError(f"expected a failure probability in (0, 1), got {delta=}")
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"expected finite low ≤ high, got {low=}, {high=}")
    if len(values) == 0:
        raise ValueError("expected at least one value, got none: draw data first")
    if np.isnan(values).any():
        raise ValueError(
            f"expected numbers, got NaN at index {int(np.isnan(values).argmax())}: nothing can be certified"
        )
    slack = _ROUNDING * (high - low)
    outside = (values < low - slack) | (values > high + slack)
    if outside.any():
        index = int(outside.argmax())
        raise ValueError(
            f"expected values in [{low:g}, {high:g}], got {values[index]:g} at index {index} and {int(outside.sum())} "
            "such values in all: state a range known to hold before the data were seen; do not clip"
        )
    # Equal ends are a constant known beforehand, and every bound is that constant.
    return np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)


def _shrunk_variance(unit: np.ndarray) -> np.ndarray:
    """V_{i−1} for i = 1 … n: known before value i, never zero."""
    place = np.arange(1, len(unit) + 1)
    mean = (0.5 + np.cumsum(unit)) / (place + 1)
    after = (0.25 + np.cumsum((unit - mean) ** 2)) / (place + 1)
    return np.append(0.25, after[:-1])


def _log_capital(unit: np.ndarray, bets: np.ndarray, means: np.ndarray) -> np.ndarray:
    """log K_t(m), (means, n); nondecreasing in m, also where a bet is cut at c/(1 − m)."""
    means = means[:, None]
    with np.errstate(divide="ignore"):
        cut = np.minimum(bets, TRUNCATION / (1 - means))
    return np.cumsum(np.log1p(-cut * (unit - means)), axis=1)


def _last_refuted(unit: np.ndarray, bets: np.ndarray, delta: float) -> float:
    """Least m in [0, 1] that some K_t(m) refutes, from above; 1 if none does."""
    threshold = np.log(1 / delta)
    kept, refuted = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (kept + refuted) / 2
        if _log_capital(unit, bets, np.array([middle])).max() >= threshold:
            refuted = middle
        else:
            kept = middle
    return refuted

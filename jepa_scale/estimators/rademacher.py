"""Monte Carlo lower estimates of the Rademacher complexity around a trained model.

A class is seen through some of its members, and a supremum over fewer functions is smaller; so both estimates are low,
never high, but for Monte Carlo error. Convention as in ``theory.rademacher``: no absolute value, scalar functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float

_CHUNK = 256


@dataclass(frozen=True)
class RademacherLower:
    """A lower estimate of Rad(H|S) and its Monte Carlo error."""

    value: float
    """Mean over sign draws of the supremum over the members seen; units of the functions."""
    standard_error: float
    """Of ``value``, over sign draws; says nothing of the members not seen."""
    draws: int
    """Independent sign vectors."""
    n: int
    """Points of the sample."""


def perturbation_lower(values: Float[np.ndarray, "H n"], draws: int, generator: np.random.Generator) -> RademacherLower:
    """E_σ max_h (1/n) Σ_i σ_i h(x_i) over given members, for example a trained model under perturbed weights.

    Each draw's maximum is over the same members, so the estimate is unbiased for the finite class given, and that is no
    larger than the class they were taken from. Members must be chosen without looking at the signs.

    Raises
    ------
    ValueError
        If the class or sample is empty, a value is not finite, or there are fewer than two draws.
    """
    if min(values.shape) < 1 or not np.isfinite(values).all():
        raise ValueError(f"expected finite values of at least one function at one point, got shape {values.shape}")
    n = values.shape[1]
    # In float64, centred: Rad does not change under a shift of all members, its Monte Carlo error does.
    centred = values.astype(np.float64) - values.astype(np.float64).mean(0)
    return _average([(signs @ centred.T).max(1) / n for signs in _signs(n, draws, generator)], n)


def last_layer_lower(
    features: Float[np.ndarray, "n k"], norm_bound: float, draws: int, generator: np.random.Generator
) -> RademacherLower:
    """Refit of the last linear layer to random signs, ‖w‖₂ ≤ B, features fixed: mean of (B/n) ‖Σ_i σ_i φ_i‖₂.

    The supremum over w is in closed form for each σ. The class with trained features fixed is part of the class in
    which they may move. Append a column of ones where the layer has a bias.

    Raises
    ------
    ValueError
        If the sample is empty, a feature is not finite, B is negative, or there are fewer than two draws.
    """
    if len(features) < 1 or not np.isfinite(features).all() or not norm_bound >= 0:
        raise ValueError(
            f"expected finite features of at least one point and B ≥ 0, got {features.shape=}, {norm_bound=}"
        )
    n = len(features)
    exact = features.astype(np.float64)
    return _average(
        [norm_bound * np.linalg.norm(signs @ exact, axis=1) / n for signs in _signs(n, draws, generator)], n
    )


def _signs(n: int, draws: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Sign matrices (rows, n), a few rows at a time so that many draws of a large sample fit."""
    if draws < 2:
        raise ValueError(f"expected at least 2 sign draws for a standard error, got {draws=}")
    for start in range(0, draws, _CHUNK):
        rows = min(_CHUNK, draws - start)
        yield 2.0 * generator.integers(2, size=(rows, n)) - 1.0


def _average(suprema: list[np.ndarray], n: int) -> RademacherLower:
    every = np.concatenate(suprema)
    return RademacherLower(float(every.mean()), float(every.std(ddof=1) / np.sqrt(len(every))), len(every), n)

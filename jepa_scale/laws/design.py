"""Sequential design: choose the cell whose observation reduces the variance of an answer most per cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class Choice:
    """Candidate cells in the order in which to run them."""

    order: tuple[int, ...]
    """Indices of candidates; a candidate that comes again is run with another seed."""
    remaining: Float64[np.ndarray, " steps"]
    """Variance of the answer after each run, as a share of the variance now."""


def variance_gain(
    target: Float64[np.ndarray, "directions targets"],
    candidates: Float64[np.ndarray, "directions candidates"],
    noise: Float64[np.ndarray, " candidates"],
) -> Float64[np.ndarray, " candidates"]:
    """Return Σ_t (g_tᵀ g_x)²/(s_x² + g_xᵀ g_x): by how much one observation at x reduces the targets' variances.

    V-optimality for a linear model. The columns g are in directions of unit prior variance: deviations of S draws of
    the quantity divided by √S, or L ᵀ j with covariance L Lᵀ of the parameters and sensitivities j.
    """
    cross = target.T @ candidates
    own = (candidates**2).sum(axis=0)
    return np.asarray((cross**2).sum(axis=0) / (noise**2 + own))


def greedy(
    target: Float64[np.ndarray, "directions targets"],
    candidates: Float64[np.ndarray, "directions candidates"],
    noise: Float64[np.ndarray, " candidates"],
    cost: Float64[np.ndarray, " candidates"],
    steps: int,
    *,
    per_cost: float = 1.0,
    cap: int | Sequence[int] = 3,
) -> Choice:
    """Choose ``steps`` observations one after another, each by gain/cost^``per_cost`` given those before it.

    A best design piles its runs on as few points as there are parameters (Elfving), which leaves nothing to test the
    law with; ``cap`` is how often a cell may still be chosen.
    """
    target, candidates = target.copy(), candidates.copy()
    left = np.broadcast_to(np.asarray(cap), cost.shape).copy()
    before = float((target**2).sum())
    order, remaining = [], []
    for _ in range(steps):
        score = np.where(left > 0, variance_gain(target, candidates, noise) / cost**per_cost, -np.inf)
        best = int(score.argmax())
        if not np.isfinite(score[best]) or before <= 0:
            break
        order.append(best)
        left[best] -= 1
        candidates, target = observe(best, candidates, target, noise)
        remaining.append(float((target**2).sum()) / before)
    return Choice(tuple(order), np.array(remaining))


def observe(
    index: int,
    candidates: Float64[np.ndarray, "directions candidates"],
    target: Float64[np.ndarray, "directions targets"],
    noise: Float64[np.ndarray, " candidates"],
) -> tuple[np.ndarray, np.ndarray]:
    """Condition candidates and targets on an observation of a candidate: a square-root Kalman update of columns."""
    seen = candidates[:, index]
    own, variance = float(seen @ seen), float(noise[index] ** 2)
    if own <= 0:
        return candidates, target
    # I − c v vᵀ with this c is a square root of I − v vᵀ/(s² + vᵀv).
    share = (1 - np.sqrt(variance / (variance + own))) / own
    return candidates - share * np.outer(seen, seen @ candidates), target - share * np.outer(seen, seen @ target)


def deviations(draws: Float64[np.ndarray, "draws points"]) -> Float64[np.ndarray, "draws points"]:
    """Return (draws − mean)/√S, so that inner products of columns are covariances.

    Each point is first cut to the middle 95 % of its draws: a bootstrap refit that lost its way is wrong everywhere
    at once, and one such draw would make all points look correlated.
    """
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    cut = np.clip(draws, low, high)
    return np.asarray((cut - cut.mean(axis=0)) / np.sqrt(len(cut)))

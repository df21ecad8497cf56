"""Grouped second moments of embeddings: the one accumulator that every spectral estimate is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float, Float64, Int64


class NotFiniteError(ValueError):
    """Embeddings hold NaN or infinity: the model is lost."""


GROUPS = 16
"""Trajectory groups of the jackknife: enough for a t interval, few enough to decompose every epoch."""


@dataclass(frozen=True)
class GroupedMoments:
    """Sums over transitions, per action and per trajectory group, of z = [1, h] and y = [1, f].

    h = g(f(x), a) and f = f(x⁺). The leading 1 carries means and counts, so that shifted and augmented moments need no
    second pass. Sums, not means: merging two shards is addition.
    """

    zz: Float64[np.ndarray, "A G K K"]
    yy: Float64[np.ndarray, "A G K K"]
    zy: Float64[np.ndarray, "A G K K"]
    matched_square: Float64[np.ndarray, "A G"]
    """Σ_j (h_jᵀf_j)², what the U-statistic leaves out."""

    @property
    def count(self) -> Float64[np.ndarray, "A G"]:
        """Transitions in each cell."""
        return self.zz[..., 0, 0]

    def merge(self, other: GroupedMoments) -> GroupedMoments:
        """Return the moments of both shards together."""
        return GroupedMoments(
            self.zz + other.zz, self.yy + other.yy, self.zy + other.zy, self.matched_square + other.matched_square
        )


def grouped_moments(
    predicted: Float[np.ndarray, "n k"],
    observed: Float[np.ndarray, "n k"],
    actions: Int64[np.ndarray, " n"],
    trajectories: Int64[np.ndarray, " n"],
    action_count: int,
    groups: int = GROUPS,
) -> GroupedMoments:
    """Accumulate moments in float64; a transition's group is its trajectory modulo ``groups``.

    Whole trajectories share a group, so that leaving a group out leaves dependence within trajectories intact.

    Raises
    ------
    NotFiniteError
        If an embedding is not finite.
    ValueError
        If an action is outside 0 … A−1.
    """
    if not (np.isfinite(predicted).all() and np.isfinite(observed).all()):
        raise NotFiniteError("expected finite embeddings, got NaN or infinity: the model has diverged")
    if len(actions) and not 0 <= actions.min() <= actions.max() < action_count:
        raise ValueError(f"expected actions in 0 … {action_count - 1}, got {actions.min()} … {actions.max()}")
    width = predicted.shape[1] + 1
    ones = np.ones((len(predicted), 1))
    z = np.hstack([ones, predicted.astype(np.float64)])
    y = np.hstack([ones, observed.astype(np.float64)])
    cells = actions * groups + trajectories % groups
    order = np.argsort(cells, kind="stable")
    z, y = z[order], y[order]
    matched = ((z[:, 1:] * y[:, 1:]).sum(1)) ** 2
    ends = np.cumsum(np.bincount(cells, minlength=action_count * groups))
    zz, yy, zy = (np.zeros((action_count * groups, width, width)) for _ in range(3))
    squares = np.zeros(action_count * groups)
    start = 0
    for cell, end in enumerate(ends):
        left, right = z[start:end], y[start:end]
        zz[cell], yy[cell], zy[cell] = left.T @ left, right.T @ right, left.T @ right
        squares[cell] = matched[start:end].sum()
        start = end
    shape = (action_count, groups, width, width)
    return GroupedMoments(
        zz.reshape(shape), yy.reshape(shape), zy.reshape(shape), squares.reshape(action_count, groups)
    )

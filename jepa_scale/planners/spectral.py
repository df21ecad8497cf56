"""The exact best plan by the product of one-step operators, met in the middle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jepa_scale.planners.base import DiscretePlanner
from jepa_scale.shapes import Float64, Int64
from jepa_scale.theory.planning import MAX_CELLS
from jepa_scale.theory.rollout import OperatorRollOut


@dataclass(frozen=True)
class Chosen:
    """The best plan for every start and goal, and what the model gives it."""

    index: Int64[np.ndarray, "starts goals"]
    """Place of the plan in ``theory.planning.all_plans``."""
    score: Float64[np.ndarray, "starts goals"]
    """P̂(x_g | x_0, plan)"""


@dataclass(frozen=True)
class Spectral(DiscretePlanner):
    """Rank plans by the model's operators, P̂(x_g|x_0, plan) = h_{a_0}ᵀ K(a_0, a_1) … K(a_{T−2}, a_{T−1}) f(x_g) q(x_g).

    Here h_a = g(f(x_0), a), K(a, b) = E_{x ~ q_a}[f(x) g(f(x), b)ᵀ] and q is q_{a_{T−1}} (B3; ``theory.rollout`` has
    the slow form). For T = 1 it is the density score. Unlike a latent roll-out it needs no g beyond f(X), and the gauge
    of the latent cancels.

    The search is exact: with m = ⌈T/2⌉, h_{a_0}ᵀ K … K is computed for all |A|^m prefixes and K(a_{m−1}, ·) … f(x_g) q
    for all |A|^{T−m} suffixes after each last action of a prefix; one matrix product for each of these actions scores
    all plans. For one start and goal that takes O(|A|^{m+1} k² + |A|^T k) operations where plans that are scored one
    by one take O(|A|^T T k²).

    Raises
    ------
    ValueError
        If the goal law is unknown, the horizon below 1, or the score is not ``operator``.
    """

    score: Literal["operator"] = "operator"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.score != "operator":
            raise ValueError(
                f"expected score=operator, which is what this planner ranks by, got {self.score!r}: other scores are "
                "planner=exhaustive's"
            )

    def choose(
        self, rolled: OperatorRollOut, starts: Int64[np.ndarray, " starts"], goals: Int64[np.ndarray, " goals"]
    ) -> Chosen:
        """The best plan from each of the starts to each of the goals, observations by number; of equals the first.

        Raises
        ------
        ValueError
            If |A|^T scores for all starts and goals would not fit.
        """
        _check_cells(len(rolled.law), self.horizon, len(starts), len(goals))
        first = -(-self.horizon // 2)
        left = _prefixes(rolled, first, starts)
        right = _suffixes(rolled, self.horizon - first, goals)
        (actions, before, _, width), after = left.shape, right.shape[1]
        scores = left.reshape(actions, -1, width) @ right.reshape(actions, -1, width).swapaxes(1, 2)
        scores = scores.reshape(actions, before, len(starts), after, len(goals))
        # In the order of plans: what comes before the middle action, that action, what comes after it.
        plans = scores.transpose(2, 4, 1, 0, 3).reshape(len(starts), len(goals), -1)
        index = plans.argmax(-1)
        return Chosen(index, np.take_along_axis(plans, index[..., None], -1)[..., 0])


def _prefixes(rolled: OperatorRollOut, steps: int, starts: np.ndarray) -> np.ndarray:
    """h_{a_0}ᵀ K … K of all prefixes: (last action, |A|^{m−1} actions before it, starts, k)."""
    left = rolled.model.predictor[:, None, starts]
    for _ in range(steps - 1):
        # (a, before, …) under K(a, b), for every b; then (before, a) is what comes before b.
        longer = left[:, None] @ rolled.links[:, :, None]
        left = longer.transpose(1, 2, 0, 3, 4).reshape(len(rolled.law), -1, *left.shape[2:])
    return left


def _suffixes(rolled: OperatorRollOut, steps: int, goals: np.ndarray) -> np.ndarray:
    """K(a, b_1) … f(x_g) q(x_g) of all suffixes b: (a, |A|^s suffixes, goals, k)."""
    right = (rolled.law[:, goals, None] * rolled.model.encoder[goals])[:, None]
    for _ in range(steps):
        longer = right[None] @ rolled.links.swapaxes(2, 3)[:, :, None]
        right = longer.reshape(len(rolled.law), -1, *right.shape[2:])
    return right


def _check_cells(actions: int, horizon: int, starts: int, goals: int) -> None:
    # In logarithms: a long horizon overflows any float.
    digits = horizon * math.log10(actions) + math.log10(max(starts * goals, 1))
    if digits > math.log10(MAX_CELLS):
        raise ValueError(
            f"the spectral planner compares {actions}^{horizon} plans × {starts} starts × {goals} goals, 10^"
            f"{digits:.1f} cells, more than {MAX_CELLS:.0e}: give it fewer starts and goals at a time, or choose a "
            "shorter horizon"
        )

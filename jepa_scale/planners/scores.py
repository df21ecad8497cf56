"""The best plan under a score."""

from __future__ import annotations

from torch import Tensor

from jepa_scale.theory.scores import SCORES


def best_plans(score: str, reached: Tensor, goals: Tensor, goal_law: Tensor, product: Tensor | None = None) -> Tensor:
    """Index of the best plan for each start and goal, (N, M); ties go to the first plan.

    ``product`` (plans, N, M) are the inner products of ends and goals, where several scores share them.
    """
    # One pass along contiguous memory: a reduction over the leading axis takes several times as long.
    return SCORES[score](reached, goals, goal_law, product).movedim(0, -1).contiguous().argmax(-1)

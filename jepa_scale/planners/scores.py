"""The best plan under a score."""

from __future__ import annotations

from torch import Tensor

from jepa_scale.theory.scores import SCORES


def best_plans(score: str, reached: Tensor, goals: Tensor, goal_law: Tensor) -> Tensor:
    """Index of the best plan for each start and goal, (N, M); ties go to the first plan."""
    # One pass along contiguous memory: a reduction over the leading axis takes several times as long.
    return SCORES[score](reached, goals, goal_law).movedim(0, -1).contiguous().argmax(-1)

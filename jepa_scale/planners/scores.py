"""How a latent planner ranks plans: one function per score, larger is better."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def distance(reached: Tensor, goals: Tensor, goal_law: Tensor) -> Tensor:
    """−‖ẑ_T − f(x_g)‖² (the paper's planning loss, eq. 8)."""
    del goal_law  # the distance does not look at it
    return 2 * inner(reached, goals, goals) - (reached**2).sum(-1)[..., None] - (goals**2).sum(-1)


def inner(reached: Tensor, goals: Tensor, goal_law: Tensor) -> Tensor:
    """ẑ_Tᵀ f(x_g)."""
    del goal_law  # the inner product does not look at it
    return reached @ goals.T


def density(reached: Tensor, goals: Tensor, goal_law: Tensor) -> Tensor:
    """q_a(x_g) ẑ_Tᵀ f(x_g), the model's estimate of P(x_g|x_0, a) (B1); ``goal_law`` is q of the last action."""
    return goal_law[:, None, :] * inner(reached, goals, goal_law)


SCORES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "distance": distance,
    "inner": inner,
    "density": density,
}
"""Arguments: reached ẑ_T (plans, N, k), goals f(x_g) (M, k), q of the plan's last action (plans, M) → (plans, N, M)."""


def best_plans(score: str, reached: Tensor, goals: Tensor, goal_law: Tensor) -> Tensor:
    """Index of the best plan for each start and goal, (N, M); ties go to the first plan."""
    # One pass along contiguous memory: a reduction over the leading axis takes several times as long.
    return SCORES[score](reached, goals, goal_law).movedim(0, -1).contiguous().argmax(-1)

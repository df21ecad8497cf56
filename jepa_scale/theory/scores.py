"""How a planner ranks plans: one function per score, larger is better; for numpy arrays and torch tensors alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def distance(reached: Any, goals: Any, goal_law: Any, product: Any = None) -> Any:
    """−‖ẑ_T − f(x_g)‖² (the paper's planning loss, eq. 8)."""
    return 2 * inner(reached, goals, goal_law, product) - (reached**2).sum(-1)[..., None] - (goals**2).sum(-1)


def inner(reached: Any, goals: Any, goal_law: Any, product: Any = None) -> Any:
    """ẑ_Tᵀ f(x_g)."""
    del goal_law  # the inner product does not look at it
    return reached @ goals.T if product is None else product


def density(reached: Any, goals: Any, goal_law: Any, product: Any = None) -> Any:
    """q_a(x_g) ẑ_Tᵀ f(x_g), the model's estimate of P(x_g|x_0, a) (B1); ``goal_law`` is q of the last action."""
    return goal_law[:, None, :] * inner(reached, goals, goal_law, product)


SCORES: dict[str, Callable[..., Any]] = {
    "distance": distance,
    "inner": inner,
    "density": density,
}
"""Arguments: reached ẑ_T (plans, N, k), goals f(x_g) (M, k), q of the plan's last action (plans, M) → (plans, N, M);
and ẑ_Tᵀ f(x_g), (plans, N, M), where it is known already."""

"""Costs of plans by a world model."""

from __future__ import annotations

from torch import Tensor

from jepa_scale.planners.base import Cost, Planner
from jepa_scale.records import ActionSpace
from jepa_scale.training.world_model import WorldModel


def latent_cost(
    planner: Planner, space: ActionSpace, reached: Tensor, goals: Tensor, plans: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Cost of plans that lead to these coordinates, (B, candidates, steps, …), from goals (B, …): → (B, candidates)

    ``weights`` of coordinates are 0 or 1: what is left out counts neither in distances nor in products.
    """
    if weights is not None:
        reached, goals = reached * weights, goals * weights
    return planner.cost.of_latents(reached, goals[:, None], plans.to(reached.device), space)


def predicted_cost(
    model: WorldModel,
    planner: Planner,
    space: ActionSpace,
    starts: Tensor,
    goals: Tensor,
    weights: Tensor | None = None,
) -> Cost:
    """The planner's cost of plans as the model rolls them out from latents ``starts`` (B, k).

    ``goals`` (B, …) are coordinates as ``model.goal`` gives them.
    """

    def cost(plans: Tensor) -> Tensor:
        spread = starts[:, None].expand(-1, plans.shape[1], -1)
        reached = model.roll_out(spread, plans.to(starts.device))
        reached = reached if planner.cost.every_step else reached[..., -1:, :]
        return latent_cost(planner, space, model.readout(reached), goals, plans, weights)

    return cost

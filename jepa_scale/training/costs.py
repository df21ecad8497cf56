"""Costs of plans by a world model."""

from __future__ import annotations

from torch import Tensor

from jepa_scale.planners.base import Cost, Planner
from jepa_scale.training.world_model import WorldModel


def predicted_cost(
    model: WorldModel, planner: Planner, starts: Tensor, goals: Tensor, weights: Tensor | None = None
) -> Cost:
    """Squared distances of rolled-out plans from their goals, of the last step or summed over all.

    ``starts`` are latents (B, k), ``goals`` (B, …) coordinates as ``model.goal`` gives them, ``weights`` of those.
    """

    def cost(plans: Tensor) -> Tensor:
        spread = starts[:, None].expand(-1, plans.shape[1], -1)
        reached = model.roll_out(spread, plans.to(starts.device))
        reached = reached if planner.path else reached[..., -1:, :]
        difference = (model.readout(reached) - goals[:, None, None]).square()
        return (difference if weights is None else difference * weights).sum((-2, -1))

    return cost

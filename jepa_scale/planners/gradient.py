"""Gradient descent on plans, through the dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from jepa_scale.planners.base import Cost, Planner, first_plan
from jepa_scale.planners.costs import finite
from jepa_scale.records import ActionSpace


@dataclass(frozen=True)
class GradientState:
    """Adam's state for every restart, and the best plan that was evaluated."""

    plans: Tensor
    """(B, restarts, H, size)"""
    first: Tensor
    """Mean of the gradients, same shape."""
    second: Tensor
    """Mean of their squares, same shape."""
    best: Tensor
    """(B, H, size)"""
    best_cost: Tensor
    """(B,)"""
    iteration: int = 0


@dataclass(frozen=True)
class Gradient(Planner):
    """Adam (Kingma and Ba, 2015) on several plans at a time, each step projected onto the action limits.

    The first restart begins at the middle of the limits, or at the plan to start from; the others at normal numbers
    around it. The rate falls linearly to 0 over the iterations, and executed is the best plan that was evaluated. Steps
    take their gradients themselves, so that callers may sit inside ``torch.no_grad``; not inside
    ``torch.inference_mode``, whose tensors no gradient passes.

    Raises
    ------
    ValueError
        If a size is below 1 or a rate is not positive.
    """

    needs_gradient: ClassVar[bool] = True

    restarts: int = 4
    iterations: int = 50
    rate: float = 0.1
    """Of the first step, as a share of the range between the action limits."""
    deviation: float = 0.5
    """Of the first plans, as the same share."""
    momentum: float = 0.9
    """β₁"""
    second_momentum: float = 0.99
    """β₂"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.restarts, self.iterations) < 1:
            raise ValueError(f"expected restarts and iterations ≥ 1, got {self.restarts=}, {self.iterations=}")
        if not (self.rate > 0 and self.deviation > 0 and 0 <= self.momentum < 1 and 0 <= self.second_momentum < 1):
            raise ValueError(
                "expected rate and deviation > 0 and momenta in [0, 1), got "
                f"{self.rate=}, {self.deviation=}, {self.momentum=}, {self.second_momentum=}"
            )

    @property
    def rows(self) -> int:
        """Plans of one task whose costs a step asks for at a time."""
        return self.restarts

    def init(
        self, tasks: int, space: ActionSpace, device: torch.device | str = "cpu", warm: Tensor | None = None
    ) -> GradientState:
        """Return all restarts at the plan ``warm`` or the middle of the limits; the first step moves them apart."""
        middle = first_plan(tasks, self.horizon, space, device, warm)
        plans = middle[:, None].expand(-1, self.restarts, -1, -1)
        still = torch.zeros_like(plans)
        return GradientState(plans, still, still, middle, middle.new_full((tasks,), torch.inf))

    def step(self, state: GradientState, cost: Cost, normals: Tensor, space: ActionSpace) -> GradientState:
        """One step of Adam; the first one begins by moving all restarts but one by ``normals`` (B, restarts, H, size).

        Raises
        ------
        NotFiniteError
            If a cost or gradient is not a number: the share of such plans is named.
        ValueError
            If the cost has no gradient.
        """
        extent, plans = space.high - space.low, state.plans
        if state.iteration == 0:
            apart = self.deviation * extent * normals
            plans = torch.cat([plans[:, :1], plans[:, 1:] + apart[:, 1:]], dim=1).clamp(space.low, space.high)
        costs, slope = _with_gradient(cost, plans)
        least, chosen = costs.min(1)
        better = least < state.best_cost
        found = plans[torch.arange(len(plans), device=plans.device), chosen]
        done = state.iteration + 1
        first = self.momentum * state.first + (1 - self.momentum) * slope
        second = self.second_momentum * state.second + (1 - self.second_momentum) * slope.square()
        size = (second / (1 - self.second_momentum**done)).sqrt()
        # Relative to the gradient's own size: a floor on it alone would depend on the costs' unit.
        smallest = torch.finfo(size.dtype).tiny ** 0.5
        move = first / (1 - self.momentum**done) / size.clamp(min=smallest)
        rate = self.rate * extent * (1 - state.iteration / self.iterations)
        return GradientState(
            (plans - rate * move).clamp(space.low, space.high),
            first,
            second,
            torch.where(better[:, None, None], found, state.best),
            torch.where(better, least, state.best_cost),
            done,
        )

    def best(self, state: GradientState) -> Tensor:
        """The plan to execute, (B, H, size): the best one of all restarts and iterations."""
        return state.best

    def draw(self, tasks: int, space: ActionSpace, generator: torch.Generator) -> Tensor:
        """Return the normal numbers of the restarts, (iterations, B, restarts, H, size), the same at every iteration.

        Only the first looks at them, so they are drawn and stored once.
        """
        normals = torch.randn((1, tasks, self.restarts, self.horizon, space.size), generator=generator)
        return normals.expand(self.iterations, -1, -1, -1, -1)


def _with_gradient(cost: Cost, plans: Tensor) -> tuple[Tensor, Tensor]:
    """Costs (B, restarts) and their gradient in the plans (B, restarts, H, size)."""
    with torch.enable_grad():
        asked = plans.detach().clone().requires_grad_(True)
        costs = cost(asked)
        # Tasks and restarts do not see each other, so one backward pass gives the gradient of each. A cost can have
        # gradients in a model's parameters and none in the plans.
        total = finite(costs).sum()
        slope = torch.autograd.grad(total, asked, allow_unused=True)[0] if costs.requires_grad else None
    if slope is None:
        raise ValueError(
            "expected a cost that is differentiable in the plans, got one without a gradient: plan with planner=cem, "
            "or call the planner outside torch.inference_mode"
        )
    finite(slope.flatten(2).sum(-1), "gradients")
    return costs.detach(), slope

"""Model-predictive path integral control: all candidates count, by their cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.planners.base import Cost, Planner, check_law, first_plan
from jepa_scale.planners.costs import finite
from jepa_scale.records import ActionSpace


@dataclass(frozen=True)
class MPPIState:
    """The mean plan of each task."""

    mean: Tensor
    """(B, H, size)"""
    iteration: int = 0


@dataclass(frozen=True)
class MPPI(Planner):
    """Information-theoretic MPPI (Williams et al., 2017, arXiv:1707.02342), iterated.

    The mean becomes Σ_i w_i a_i with w_i ∝ exp(−(c_i − min c) / λ), λ = ``temperature`` times the standard deviation
    of the costs over the task's candidates, so that the setting means the same whatever the costs' unit is. The base
    law is centred on the current mean (the paper's α = 1), so no control cost enters by itself; ``cost.effort`` is one.
    The first candidate is the mean itself, so that a good plan to start from is not lost.
    The deviation is not refitted: it shrinks by ``decay`` with every iteration, down to ``floor``.

    Raises
    ------
    ValueError
        If a size is below 1, the temperature is not positive, or the decay is outside (0, 1].
    """

    candidates: int = 64
    iterations: int = 3
    temperature: float = 0.2
    """λ in standard deviations of the candidates' costs."""
    deviation: float = 0.5
    """Of the first iteration, as a share of the range between the action limits."""
    decay: float = 0.6
    """Of the deviation, each iteration."""
    floor: float = 0.02
    """Smallest deviation, as the same share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_law(self)
        if not (0 < self.temperature < float("inf") and 0 < self.decay <= 1):
            raise ValueError(f"expected temperature > 0 and 0 < decay ≤ 1, got {self.temperature=}, {self.decay=}")

    @property
    def rows(self) -> int:
        """Plans of one task whose costs a step asks for at a time."""
        return self.candidates

    def init(
        self, tasks: int, space: ActionSpace, device: torch.device | str = "cpu", warm: Tensor | None = None
    ) -> MPPIState:
        """Return the first mean: the plan ``warm`` or the middle of the limits."""
        return MPPIState(first_plan(tasks, self.horizon, space, device, warm))

    def step(self, state: MPPIState, cost: Cost, normals: Tensor, space: ActionSpace) -> MPPIState:
        """Weigh the plans mean + deviation · ``normals`` (B, candidates, H, size) by their costs.

        Raises
        ------
        NotFiniteError
            If a cost is not a number: the share of such candidates is named.
        """
        deviation = max(self.floor, self.deviation * self.decay**state.iteration) * (space.high - space.low)
        plans = (state.mean[:, None] + deviation * normals).clamp(space.low, space.high)
        plans = torch.cat([state.mean[:, None], plans[:, 1:]], dim=1)
        costs = finite(cost(plans))
        # Equal costs have no spread: then all plans weigh the same.
        spread = costs.std(1, correction=0, keepdim=True).clamp(min=torch.finfo(costs.dtype).tiny)
        weights = torch.softmax(-(costs - costs.amin(1, keepdim=True)) / (self.temperature * spread), dim=1)
        return MPPIState((weights.to(plans.dtype)[..., None, None] * plans).sum(1), state.iteration + 1)

    def best(self, state: MPPIState) -> Tensor:
        """The plan to execute, (B, H, size): the weighted mean."""
        return state.mean

    def draw(self, tasks: int, space: ActionSpace, generator: torch.Generator) -> Tensor:
        """Return the normal numbers of one plan for each task, (iterations, B, candidates, H, size)."""
        shape = (self.iterations, tasks, self.candidates, self.horizon, space.size)
        return torch.randn(shape, generator=generator)

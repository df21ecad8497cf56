"""The cross-entropy method over continuous action sequences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.planners.base import Cost, Planner, check_law, first_plan, pick
from jepa_scale.planners.costs import finite
from jepa_scale.records import ActionSpace


@dataclass(frozen=True)
class CEMState:
    """A normal law of plans for each task."""

    mean: Tensor
    """(B, H, size)"""
    deviation: Tensor
    """(B, H, size)"""


@dataclass(frozen=True)
class CEM(Planner):
    """Draw plans from a normal law, refit the law to the best of them, repeat (Rubinstein, 1999).

    Executed is the mean of the last law, of which the first action is taken before planning anew.

    Raises
    ------
    ValueError
        If a size is below 1 or there are more elites than candidates.
    """

    candidates: int = 64
    iterations: int = 3
    elites: int = 8
    deviation: float = 0.5
    """Of the first law, as a share of the range between the action limits."""
    floor: float = 0.02
    """Smallest deviation, as the same share: a law that has shrunk to a point explores nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_law(self)

    @property
    def rows(self) -> int:
        """Plans of one task whose costs a step asks for at a time."""
        return self.candidates

    def init(
        self, tasks: int, space: ActionSpace, device: torch.device | str = "cpu", warm: Tensor | None = None
    ) -> CEMState:
        """Return the first law, around the plan ``warm`` or the middle of the limits."""
        middle = first_plan(tasks, self.horizon, space, device, warm)
        return CEMState(middle, torch.full_like(middle, self.deviation * (space.high - space.low)))

    def step(self, state: CEMState, cost: Cost, normals: Tensor, space: ActionSpace) -> CEMState:
        """Refit the law to the best of the plans mean + deviation · ``normals`` (B, candidates, H, size).

        Raises
        ------
        NotFiniteError
            If a cost is not a number: the share of such candidates is named.
        """
        plans = (state.mean[:, None] + state.deviation[:, None] * normals).clamp(space.low, space.high)
        elite = pick(plans, finite(cost(plans)).topk(self.elites, dim=1, largest=False).indices)
        smallest = self.floor * (space.high - space.low)
        return CEMState(elite.mean(1), elite.std(1, correction=0).clamp(min=smallest))

    def best(self, state: CEMState) -> Tensor:
        """The plan to execute, (B, H, size): the mean of the law, in which the noise of single plans is averaged."""
        return state.mean

    def draw(self, tasks: int, space: ActionSpace, generator: torch.Generator) -> Tensor:
        """Return the normal numbers of one plan for each task, (iterations, B, candidates, H, size)."""
        shape = (self.iterations, tasks, self.candidates, self.horizon, space.size)
        return torch.randn(shape, generator=generator)

"""The cross-entropy method over continuous action sequences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.planners.base import Cost
from jepa_scale.records import ActionSpace


@dataclass(frozen=True)
class CEMState:
    """A normal law of plans for each task."""

    mean: Tensor
    """(B, H, size)"""
    deviation: Tensor
    """(B, H, size)"""


@dataclass(frozen=True)
class CEM:
    """Draw plans from a normal law, refit the law to the best of them, repeat (Rubinstein, 1999).

    Executed is the mean of the last law, of which the first action is taken before planning anew.

    Raises
    ------
    ValueError
        If a size is below 1 or there are more elites than candidates.
    """

    horizon: int = 3
    """Steps of a plan."""
    candidates: int = 64
    iterations: int = 3
    elites: int = 8
    deviation: float = 0.5
    """Of the first law, as a share of the range between the action limits."""
    floor: float = 0.02
    """Smallest deviation, as the same share: a law that has shrunk to a point explores nothing."""
    ignore_noise: bool = False
    """Whether distances in observation space leave the world's noise coordinates out."""
    path: bool = False
    """Whether plans are ranked by the sum of their distances from the goal over all steps, not by the last step's: a
    long horizon needs it, as the last step alone does not say that one should leave now."""
    score: str = "distance"
    """What plans are ranked by: squared distances from the goal."""

    def __post_init__(self) -> None:
        if min(self.horizon, self.iterations, self.elites) < 1 or self.candidates < self.elites:
            raise ValueError(
                "expected horizon, iterations and elites ≥ 1 and at least as many candidates as elites, got "
                f"{self.horizon=}, {self.iterations=}, {self.elites=}, {self.candidates=}"
            )
        if self.score != "distance":
            raise ValueError(f"expected score=distance, the only one of sampled tasks, got {self.score!r}")
        if not 0 < self.floor <= self.deviation:
            raise ValueError(f"expected 0 < floor ≤ deviation, got {self.floor=}, {self.deviation=}")

    def init(
        self, tasks: int, space: ActionSpace, device: torch.device | str = "cpu", warm: Tensor | None = None
    ) -> CEMState:
        """Return the first law, around the plan ``warm`` or the middle of the limits."""
        shape = (tasks, self.horizon, space.size)
        middle = torch.full(shape, (space.low + space.high) / 2, device=device) if warm is None else warm
        spread = torch.full(shape, self.deviation * (space.high - space.low), device=device)
        return CEMState(middle, spread)

    def step(self, state: CEMState, cost: Cost, normals: Tensor, space: ActionSpace) -> CEMState:
        """Refit the law to the best of the plans mean + deviation · ``normals`` (B, candidates, H, size).

        Raises
        ------
        NotFiniteError
            If a cost is not a number: the share of such candidates is named.
        """
        plans = (state.mean[:, None] + state.deviation[:, None] * normals).clamp(space.low, space.high)
        costs = cost(plans)
        if not bool(costs.isfinite().all()):
            share = float((~costs.isfinite()).float().mean())
            raise NotFiniteError(f"expected costs that are numbers, got NaN or ∞ for {share:.1%} of the candidates")
        kept = costs.topk(self.elites, dim=1, largest=False).indices
        elite = plans.gather(1, kept[..., None, None].expand(-1, -1, *plans.shape[2:]))
        smallest = self.floor * (space.high - space.low)
        return CEMState(elite.mean(1), elite.std(1, correction=0).clamp(min=smallest))

    def best(self, state: CEMState) -> Tensor:
        """The plan to execute, (B, H, size): the mean of the law, in which the noise of single plans is averaged."""
        return state.mean

    def draw(self, tasks: int, space: ActionSpace, generator: torch.Generator) -> Tensor:
        """Return the normal numbers of one plan for each task, (iterations, B, candidates, H, size)."""
        shape = (self.iterations, tasks, self.candidates, self.horizon, space.size)
        return torch.randn(shape, generator=generator)

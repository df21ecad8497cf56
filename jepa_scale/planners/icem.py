"""The cross-entropy method with coloured noise and elites that are kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.planners.base import Cost, Planner, check_law, first_plan, pick
from jepa_scale.planners.costs import finite
from jepa_scale.records import ActionSpace


@dataclass(frozen=True)
class ICEMState:
    """A normal law of plans for each task, its elites, and the best plan so far."""

    mean: Tensor
    """(B, H, size)"""
    deviation: Tensor
    """(B, H, size)"""
    elites: Tensor
    """(B, kept, H, size), of the iteration before; none before the first."""
    elite_costs: Tensor
    """(B, kept)"""
    best: Tensor
    """(B, H, size)"""
    best_cost: Tensor
    """(B,)"""
    iteration: int = 0


@dataclass(frozen=True)
class ICEM(Planner):
    """iCEM (Pinneri et al., 2020, arXiv:2008.06389): CEM that needs fewer candidates.

    Its noise is coloured over the steps of a plan, its candidates become fewer with every iteration, a share of the
    elites takes part in the next refit with the costs that they have, the last iteration tries the mean itself, and
    executed is the best plan that was tried. Planning anew starts from the shifted plan (``warm_start``); of its elites
    none are carried over.

    Raises
    ------
    ValueError
        If a size is below 1, there are more elites than candidates, or a share is outside [0, 1].
    """

    candidates: int = 64
    """Of the first iteration."""
    iterations: int = 3
    elites: int = 8
    deviation: float = 0.5
    """Of the first law, as a share of the range between the action limits."""
    floor: float = 0.02
    """Smallest deviation, as the same share."""
    exponent: float = 2.0
    """β: power of the noise at frequency f along the plan is f^−β; 0 is white."""
    kept: float = 0.3
    """ξ, share of the elites that are candidates of the next iteration."""
    decay: float = 1.25
    """γ: iteration i has candidates γ^−i candidates, and twice the elites at least."""
    momentum: float = 0.1
    """α, share of the old law in the new one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_law(self)
        if not (0 <= self.kept <= 1 and 0 <= self.momentum < 1 and self.decay >= 1 and self.exponent >= 0):
            raise ValueError(
                "expected kept in [0, 1], momentum in [0, 1), decay ≥ 1 and exponent ≥ 0, got "
                f"{self.kept=}, {self.momentum=}, {self.decay=}, {self.exponent=}"
            )

    @property
    def rows(self) -> int:
        """Plans of one task whose costs a step asks for at a time, at most."""
        return self.candidates

    def count(self, iteration: int) -> int:
        """Candidates that are drawn in an iteration, counted from 0."""
        least = min(2 * self.elites, self.candidates)
        return max(int(self.candidates * self.decay**-iteration), least)

    def init(
        self, tasks: int, space: ActionSpace, device: torch.device | str = "cpu", warm: Tensor | None = None
    ) -> ICEMState:
        """Return the first law, around the plan ``warm`` or the middle of the limits."""
        middle = first_plan(tasks, self.horizon, space, device, warm)
        spread = torch.full_like(middle, self.deviation * (space.high - space.low))
        unknown = middle.new_full((tasks,), torch.inf)
        return ICEMState(middle, spread, middle[:, None][:, :0], unknown[:, None][:, :0], middle, unknown)

    def step(self, state: ICEMState, cost: Cost, normals: Tensor, space: ActionSpace) -> ICEMState:
        """Refit the law to the best of new plans and kept elites; ``normals`` (B, candidates, H, size) are white.

        Raises
        ------
        NotFiniteError
            If a cost is not a number: the share of such candidates is named.
        """
        noise = coloured(normals[:, : self.count(state.iteration)], self.exponent)
        plans = (state.mean[:, None] + state.deviation[:, None] * noise).clamp(space.low, space.high)
        if state.iteration == self.iterations - 1:
            plans = torch.cat([state.mean[:, None], plans[:, 1:]], dim=1)
        costs = torch.cat([finite(cost(plans)), state.elite_costs], dim=1)
        plans = torch.cat([plans, state.elites], dim=1)
        least, order = costs.topk(self.elites, dim=1, largest=False)
        elite = pick(plans, order)
        smallest, kept = self.floor * (space.high - space.low), int(self.kept * self.elites)
        better = least[:, 0] < state.best_cost
        return ICEMState(
            mean=self.momentum * state.mean + (1 - self.momentum) * elite.mean(1),
            deviation=(
                self.momentum * state.deviation + (1 - self.momentum) * elite.std(1, correction=0)
            ).clamp(min=smallest),
            elites=elite[:, :kept],
            elite_costs=least[:, :kept],
            best=torch.where(better[:, None, None], elite[:, 0], state.best),
            best_cost=torch.where(better, least[:, 0], state.best_cost),
            iteration=state.iteration + 1,
        )  # fmt: skip

    def best(self, state: ICEMState) -> Tensor:
        """The plan to execute, (B, H, size): the best one that was tried."""
        return state.best

    def draw(self, tasks: int, space: ActionSpace, generator: torch.Generator) -> Tensor:
        """Return white normal numbers, (iterations, B, candidates, H, size); later iterations use the first of them."""
        shape = (self.iterations, tasks, self.candidates, self.horizon, space.size)
        return torch.randn(shape, generator=generator)


def coloured(normals: Tensor, exponent: float) -> Tensor:
    """White noise along the steps (…, H, size), filtered to a power of f^−β and a variance of 1 at every step.

    The filter is circular; the constant part has the power of the lowest frequency, 1/H, as it would be infinite.
    """
    steps = normals.shape[-2]
    if exponent == 0 or steps == 1:
        return normals
    frequency = torch.fft.rfftfreq(steps, device=normals.device).clamp(min=1 / steps)
    scale = frequency ** (-exponent / 2)
    # Frequencies strictly between 0 and 1/2 stand for two of the full spectrum each.
    twice = torch.full_like(scale, 2.0)
    twice[0] = 1.0
    if steps % 2 == 0:
        twice[-1] = 1.0
    scale = (scale / ((twice * scale**2).sum() / steps).sqrt()).to(normals.dtype)
    return torch.fft.irfft(torch.fft.rfft(normals, dim=-2) * scale[:, None], n=steps, dim=-2)

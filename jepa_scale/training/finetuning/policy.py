"""Amortised planners: networks that answer with a plan, trained through the model or on plans that were searched."""

from __future__ import annotations

import torch
from torch import Tensor

from jepa_scale import processes
from jepa_scale.data.windows import Windows
from jepa_scale.models.policy import Policy
from jepa_scale.objectives.base import Head, gather
from jepa_scale.planners.base import DiscretePlanner, Planner, plan
from jepa_scale.planners.none import NoPlanner
from jepa_scale.planners.planning import predicted_cost
from jepa_scale.records import ActionSpace, Batch
from jepa_scale.training.finetuning.base import FineTuning, Goals, Schedule, goals_of, step_generator
from jepa_scale.training.world_model import WorldModel


class _Amortised(FineTuning):
    """What both ways share: π, its planner and its goals."""

    def __init__(
        self,
        schedule: Schedule,
        planner: Planner | DiscretePlanner | NoPlanner,
        k: int,
        space: ActionSpace,
        head: Head,
        reach: int,
        far: float,
    ) -> None:
        super().__init__(schedule, reach)
        if space.discrete:
            raise ValueError(
                "expected a world with continuous actions, got discrete ones: fine-tune with finetune=rollout"
            )
        if not isinstance(planner, Planner):
            raise ValueError("expected a planner whose plans are learnt, for example planner=cem, got planner=none")
        if not 0 <= far <= 1:
            raise ValueError(f"expected far in [0, 1], a share, got {far=}")
        self.planner, self.space, self.far = planner, space, far
        network = head(2 * k, planner.horizon * space.size)
        self.policy = Policy(network, planner.horizon, space.size, space.low, space.high)


class AmortisedPlanner(_Amortised):
    """π(z_0, z_g) minimises the planning cost of its plan, rolled out through the model (paper, eq. 8, amortised).

    Each cost is divided by the squared distance of its start from its goal: costs of far goals are hundreds of times
    those of near ones, which then would not be learnt, and near goals are what arriving takes.

    Goals are what was observed 1 … ``reach`` steps later, or, of a share ``far``, elsewhere: a planner that replans at
    every step meets goals at all distances. The world model is frozen unless parts of it are trained; then ``keep``
    times the pretraining objective is added, as the planning cost alone is least for a model that predicts the goal
    whatever is done.

    Raises
    ------
    ValueError
        If actions are discrete, a weight is negative or ``far`` is no share.
    """

    def __init__(
        self,
        schedule: Schedule,
        planner: Planner | DiscretePlanner | NoPlanner,
        k: int,
        action_space: ActionSpace,
        head: Head,
        reach: int = 16,
        far: float = 0.5,
        keep: float = 1.0,
    ) -> None:
        super().__init__(schedule, planner, k, action_space, head, reach, far)
        if keep < 0:
            raise ValueError(f"expected keep ≥ 0, got {keep=}")
        self.keep = keep

    def forward(self, model: WorldModel, batch: Batch, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of a batch."""
        assert self.policy is not None
        goals = goals_of(batch, latents, self.far, generator, shared=True)
        starts = latents[:, 0]
        plans = self.policy(starts, goals.latents)
        ends = model.goal(goals.observations, goals.latents)
        cost = predicted_cost(model, self.planner, self.space, starts, ends)
        loss = gather(cost(plans[:, None])[:, 0] / _apart(model.goal(batch.observations[:, 0], starts), ends)).mean()
        if self.schedule.trained:
            loss = loss + self.keep * model.pretraining_loss(batch, latents)
        return loss


class Distillation(_Amortised):
    """π(z_0, z_g) regresses plans that the run's planner found in the frozen model, for ``pairs`` starts and goals.

    Mean squared error of actions moved to [−1, 1]; goals as of ``AmortisedPlanner``.

    Raises
    ------
    ValueError
        If actions are discrete, a part of the world model is to be trained, or there is no pair.
    """

    def __init__(
        self,
        schedule: Schedule,
        planner: Planner | DiscretePlanner | NoPlanner,
        k: int,
        action_space: ActionSpace,
        head: Head,
        reach: int = 16,
        far: float = 0.5,
        pairs: int = 4096,
    ) -> None:
        super().__init__(schedule, planner, k, action_space, head, reach, far)
        if pairs < 1:
            raise ValueError(f"expected pairs ≥ 1, got {pairs=}")
        if schedule.trained:
            raise ValueError(
                f"expected trained: [], as plans are searched once, in the model as it is, got {list(schedule.trained)}"
            )
        self.pairs = pairs
        self.shown: tuple[Tensor, Tensor, Tensor] | None = None
        """Starts (M, k), goals (M, k) and plans (M, H, size)."""

    @torch.no_grad()
    def prepare(self, model: WorldModel, windows: Windows, seed: int) -> None:
        """Search the plans that are learnt from."""
        generator = step_generator(seed, -1)
        parts = []
        for chosen in torch.randint(len(windows), (self.pairs,), generator=generator).split(_BLOCK):
            batch = windows.take(chosen.to(windows.starts.device)).to(model.device)
            latents = model.observe(batch)
            goals = goals_of(batch, latents, self.far, generator)
            parts.append((latents[:, 0], goals.latents, self._searched(model, latents[:, 0], goals, generator)))
        starts, ends, plans = (torch.cat(column) for column in zip(*parts, strict=True))
        self.shown = starts, ends, plans

    def _searched(self, model: WorldModel, starts: Tensor, goals: Goals, generator: torch.Generator) -> Tensor:
        cost = predicted_cost(model, self.planner, self.space, starts, model.goal(goals.observations, goals.latents))
        drawn = self.planner.draw(len(starts), self.space, generator).to(starts.device)
        return plan(self.planner, cost, drawn, self.space)

    def forward(self, model: WorldModel, batch: Batch, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of as many pairs as the batch has windows."""
        assert self.policy is not None
        assert self.shown is not None, "prepare comes first"
        del model, batch
        starts, goals, plans = self.shown
        drawn = torch.randint(len(starts), (len(latents) * processes.world_size(),), generator=generator)
        chosen = processes.strided(drawn).to(starts.device)
        answered = self.policy(starts[chosen], goals[chosen])
        return gather((self.space.unit(answered) - self.space.unit(plans[chosen])).square().flatten(1).mean(1)).mean()


def _apart(starts: Tensor, goals: Tensor) -> Tensor:
    """Squared distance of each start from its goal, (B, …) → (B,), at least a hundredth of their mean."""
    apart = (starts - goals).detach().square().flatten(1).sum(1)
    return apart.clamp(min=0.01 * float(gather(apart).mean()))


_BLOCK = 256
"""Pairs that are searched at a time."""

"""Success of planning with the model in a simulator, beside what the truth and what knowing nothing would reach."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor

from jepa_scale.callbacks.base import Context
from jepa_scale.planners.base import Cost, Planner
from jepa_scale.planners.receding import Outcome, at_random, control, doing_nothing
from jepa_scale.records import Estimate, Evaluation
from jepa_scale.streams import stream_seed
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.simulator import Simulator, Tasks

_SEED = stream_seed(0, "evaluation")
"""Of tasks and of the planner's numbers: the same for every model of a world, so that differences are paired."""


@lru_cache(maxsize=4)
def tasks_of(world: Simulator, evaluation: Evaluation) -> Tasks:
    """The tasks that every model of this world is tried on.

    Raises
    ------
    ValueError
        If the world has no tasks of such a difficulty.
    """
    return world.tasks(evaluation.required_steps or world.default_required_steps, evaluation.episodes, _SEED)


@lru_cache(maxsize=4)
def references(world: Simulator, planner: Planner, evaluation: Evaluation) -> Mapping[str, Outcome]:
    """What no model changes: the planner on the true state and dynamics, uniformly random actions, doing nothing."""
    tasks = tasks_of(world, evaluation)

    def true_cost(states: Tensor, observed: Tensor, active: Tensor) -> Cost:
        goals, terms = tasks.goals[active, None, None], planner.cost

        def cost(plans: Tensor) -> Tensor:
            far = world.distance(_simulate(world, states, plans, terms.every_step), goals)
            return terms.of_distances(far, plans, world.action_space)

        return cost

    return MappingProxyType(
        {
            "oracle": control(world, tasks, planner, true_cost, _SEED),
            "random": at_random(world, tasks, _SEED),
            "do_nothing": doing_nothing(world, tasks, _SEED),
        }
    )


def _simulate(world: Simulator, states: Tensor, plans: Tensor, every_step: bool) -> Tensor:
    """States along each plan, or its last one alone, without step noise.

    (b, S), (b, candidates, H, size) → (b, candidates, H or 1, S)
    """
    reached = [states[:, None].expand(-1, plans.shape[1], -1)]
    still = plans.new_zeros(*plans.shape[:2], world.step_numbers)
    for action in plans.unbind(2):
        reached.append(world.step(reached[-1], action, still))
    return torch.stack(reached[1:] if every_step else reached[-1:], dim=2)


class _Seen:
    """What a model makes of observations when it plans."""

    def __init__(self, context: Context, module: WorldModel) -> None:
        assert isinstance(context.world, Simulator)
        assert isinstance(context.planner, Planner)
        self.world, self.planner, self.module = context.world, context.planner, module
        self.tasks = tasks_of(self.world, context.evaluation)
        generator = torch.Generator().manual_seed(_SEED)
        normals = torch.randn(len(self.tasks), self.world.view_numbers, generator=generator)
        self._noise = generator
        self.goals = self.coordinates(self.world.goal_view(self.tasks.goals, normals))
        mask = self.world.noise_mask
        ignored = self.planner.ignore_noise and module.objective.encodes_again
        kept = torch.as_tensor(~mask, device=self.goals.device).float() if mask is not None else None
        self.weights = kept if ignored else None

    def coordinates(self, observations: Tensor) -> Tensor:
        """(b, *shape) → (b, …) where distances to goals are measured; images flattened."""
        observations = observations.to(self.module.device)
        return self.module.objective.goal(observations, self.module.encode(observations))

    def cost(self, reached: Tensor, active: Tensor, plans: Tensor) -> Tensor:
        """Cost of plans that lead to these coordinates, (b, candidates, steps, …) → (b, candidates)."""
        goals = self.goals[active, None]
        if self.weights is not None:
            # 0 or 1, so that what is left out counts neither in distances nor in products.
            reached, goals = reached * self.weights, goals * self.weights
        return self.planner.cost.of_latents(reached, goals, plans.to(reached.device), self.world.action_space)

    def predicted(self, states: Tensor, observed: Tensor, active: Tensor) -> Cost:
        """Costs of plans by the model."""
        latents = self.module.encode(observed.to(self.module.device))

        def cost(plans: Tensor) -> Tensor:
            start = latents[:, None].expand(-1, plans.shape[1], -1)
            reached = self.module.roll_out(start, plans.to(latents.device))
            reached = reached if self.planner.cost.every_step else reached[..., -1:, :]
            return self.cost(self.module.objective.readout(reached), active, plans).cpu()

        return cost

    def simulated(self, states: Tensor, observed: Tensor, active: Tensor) -> Cost:
        """The same costs of what the plans truly lead to.

        All candidates of a task are observed with the same fresh noise: an encoder trained on noise does not know
        observations without any.
        """

        def cost(plans: Tensor) -> Tensor:
            reached = _simulate(self.world, states, plans, self.planner.cost.every_step)
            normals = torch.randn(len(self.tasks), self.world.view_numbers, generator=self._noise)[active]
            spread = normals[:, None, None].expand(*reached.shape[:3], -1)
            seen = self.coordinates(self.world.observe(reached.flatten(0, 2), spread.flatten(0, 2)))
            return self.cost(seen.unflatten(0, reached.shape[:3]), active, plans).cpu()

        return cost


@torch.no_grad()  # not inference_mode: a planner may take gradients of its costs
def success_estimates(context: Context, module: WorldModel, epoch: int, step: int) -> list[Estimate]:
    """Success rates by policy and difficulty, and the regret with its two parts.

    regret/distance = oracle − model: what is lost against the same planner with the true state and dynamics. It is the
    sum of regret/geometry = oracle − same cost, lost already by a planner that knows the dynamics and ranks their
    outcomes by the model's distances, and of regret/dynamics = same cost − model, lost by predicting. Tasks are paired;
    the standard errors are those of tasks, for this one model.
    """
    world, planner, evaluation = context.world, context.planner, context.evaluation
    assert isinstance(world, Simulator)
    assert isinstance(planner, Planner)
    seen = _Seen(context, module)
    tasks, everything = seen.tasks, torch.arange(len(seen.tasks))
    outcomes = dict(references(world, planner, evaluation)) | {
        "model": control(world, tasks, planner, seen.predicted, _SEED)
    }
    reached = {name: outcome.reached.double() for name, outcome in outcomes.items()}
    numbers = dict.fromkeys(reached, everything)
    each = evaluation.episodes if evaluation.same_cost_episodes is None else evaluation.same_cost_episodes
    if each:
        numbers["same_cost"] = tasks.first(each)
        reached["same_cost"] = _same_cost(world, planner, seen, numbers["same_cost"])
    rows = []
    for name, values in reached.items():
        rows.append(_mean(f"success/{name}", values, epoch, step))
        levels = tasks.required_steps[numbers[name]]
        for level in tasks.levels:
            rows.append(_mean(f"success/{name}/required_{level}", values[levels == level], epoch, step))
    rows.append(_mean("success/ended_inside", outcomes["model"].inside_at_end.double(), epoch, step))
    started = world.distance(tasks.starts, tasks.goals) <= world.tolerance
    rows.append(_mean("success/started_inside", started.double(), epoch, step))
    for name, (better, worse) in _DIFFERENCES.items():
        if better in reached and worse in reached:
            shared = numbers["same_cost"] if "same_cost" in (better, worse) else everything
            ours, theirs = (
                values if len(values) == len(shared) else values[shared] for values in (reached[better], reached[worse])
            )
            rows.append(_mean(f"regret/{name}", ours - theirs, epoch, step))
    return rows


_DIFFERENCES = {
    "distance": ("oracle", "model"),
    "geometry": ("oracle", "same_cost"),
    "dynamics": ("same_cost", "model"),
    "random": ("oracle", "random"),
    "do_nothing": ("oracle", "do_nothing"),
}


def _same_cost(world: Simulator, planner: Planner, seen: _Seen, chosen: Tensor) -> Tensor:
    """Success with true dynamics and the model's distances on the chosen tasks, with the numbers that all of them draw.

    So a model that predicts perfectly does exactly as well, however few are chosen.
    """
    return control(world, seen.tasks, planner, seen.simulated, _SEED, chosen).reached.double()


def _mean(name: str, values: Tensor, epoch: int, step: int) -> Estimate:
    """Mean over tasks with its standard error; of one task there is none."""
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
    return Estimate(name, float(values.mean()), error, len(values), epoch, step)

"""Success of planning with the model in a simulator, compared with the true dynamics and with no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from jepa_scale import processes
from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.tasks import SEED, TaskTrial, trial_of
from jepa_scale.planners.base import Cost, Planner
from jepa_scale.planners.planning import cost_of, predicted_cost
from jepa_scale.planners.receding import (
    Answer,
    EpisodeOutcome,
    MakeCost,
    answering,
    at_random,
    control_jobs,
    doing_nothing,
)
from jepa_scale.records import Estimate, Evaluation
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.simulator import Simulator

POLICIES = ("model", "policy", "refined", "oracle", "same_cost", "random", "do_nothing")
"""Policies in order: the planner with the model; an amortised planner, if one was trained; one iteration of the planner
from the amortised plan; the planner with the true state and dynamics; the planner with true dynamics and the model's
distances; uniformly random actions; the action 0."""

NOTHING_LEFT = "no_task_left"
"""Flag of a success rate without tasks, because all of them start at their goal."""


@dataclass(frozen=True)
class Tried:
    """Outcomes of the tasks under every policy."""

    trial: TaskTrial
    outcomes: Mapping[str, EpisodeOutcome]
    numbers: Mapping[str, Tensor]
    """Numbers of the tasks that each policy was tried on, in the order of its outcome."""


Jobs = Mapping[str, Sequence[Callable[[], EpisodeOutcome]]]
"""Functions that compute the outcomes of each policy, in parts."""

_KNOWN: dict[tuple[Simulator, Planner, Evaluation], dict[str, EpisodeOutcome]] = {}
"""Cached outcomes of the latest reference policies, which do not depend on a model."""
_MOST_KNOWN = 4


def reference_jobs(world: Simulator, planner: Planner, evaluation: Evaluation) -> Jobs:
    """Jobs of the reference policies: the planner on the true state and dynamics, random actions, doing nothing."""
    trial, stop = trial_of(world, evaluation), evaluation.stop_at_goal
    tasks = trial.drawn

    def true_cost(states: Tensor, observed: Tensor, active: Tensor) -> Cost:
        goals, terms = tasks.goals[active, None, None], planner.cost

        def cost(plans: Tensor) -> Tensor:
            far = world.distance(_simulate(world, states, plans, terms.every_step), goals)
            return terms.of_distances(far, plans, world.action_space)

        return cost

    return {
        "oracle": control_jobs(world, tasks, planner, lambda: true_cost, SEED, trial.kept, evaluation.pairs, stop),
        "random": [partial(at_random, world, tasks, SEED, trial.kept, stop)],
        "do_nothing": [partial(doing_nothing, world, tasks, SEED, trial.kept, stop)],
    }


def _done(jobs: Jobs) -> dict[str, EpisodeOutcome]:
    """Run jobs, shared among the processes of a run, and return the outcomes by policy."""
    outcomes = iter(processes.spread([job for part in jobs.values() for job in part]))
    return {name: EpisodeOutcome.joined([next(outcomes) for _ in part]) for name, part in jobs.items()}


def _simulate(world: Simulator, states: Tensor, plans: Tensor, every_step: bool) -> Tensor:
    """Simulate states along each plan, or only its last one, without step noise.

    (b, S), (b, candidates, H, size) → (b, candidates, H or 1, S)
    """
    reached = [states[:, None].expand(-1, plans.shape[1], -1)]
    still = plans.new_zeros(*plans.shape[:2], world.step_numbers)
    for action in plans.unbind(2):
        reached.append(world.step(reached[-1], action, still))
    return torch.stack(reached[1:] if every_step else reached[-1:], dim=2)


class _Seen:
    """A model's view of observations in planning: coordinates, costs and predictions."""

    def __init__(self, context: Context, module: WorldModel) -> None:
        assert isinstance(context.world, Simulator)
        assert isinstance(context.planner, Planner)
        self.world, self.planner, self.module = context.world, context.planner, module
        self.tasks = trial_of(self.world, context.evaluation).drawn
        generator = torch.Generator().manual_seed(SEED)
        normals = torch.randn(len(self.tasks), self.world.view_numbers, generator=generator)
        self._noise = generator.get_state()
        seen = self.world.goal_view(self.tasks.goals, normals).to(module.device)
        self.goal_latents = module.encode(seen)
        self.goals = module.goal(seen, self.goal_latents)
        mask = self.world.noise_mask
        ignored = self.planner.ignore_noise and module.objective.encodes_again
        kept = torch.as_tensor(~mask, device=self.goals.device).float() if mask is not None else None
        self.weights = kept if ignored else None

    def coordinates(self, observations: Tensor) -> Tensor:
        """Map observations (b, *shape) to coordinates (b, …) that measure distances to goals; images are flattened."""
        observations = observations.to(self.module.device)
        return self.module.goal(observations, self.module.encode(observations))

    def cost(self, reached: Tensor, active: Tensor, plans: Tensor) -> Tensor:
        """Cost of plans that reach these coordinates, (b, candidates, steps, …) → (b, candidates)."""
        plans = plans.to(reached.device)
        return cost_of(self.planner, self.world.action_space, reached, self.goals[active], plans, self.weights)

    def predicted(self, states: Tensor, observed: Tensor, active: Tensor) -> Cost:
        """Cost function that predicts plans with the model."""
        latents = self.module.encode(observed.to(self.module.device))
        space = self.world.action_space
        cost = predicted_cost(self.module, self.planner, space, latents, self.goals[active], self.weights)
        return lambda plans: cost(plans).cpu()

    def answered(self, observed: Tensor, active: Tensor) -> Tensor:
        """Plans of the amortised planner."""
        assert self.module.policy is not None
        latents = self.module.encode(observed.to(self.module.device))
        return self.module.policy(latents, self.goal_latents[active]).cpu()

    def simulated(self) -> MakeCost:
        """Cost function that simulates plans with the true dynamics.

        All candidates of a task are observed with the same fresh noise: an encoder trained on noise does not know
        observations without any. Each call begins the noise anew, for tasks that are planned in blocks.
        """
        generator = torch.Generator()
        generator.set_state(self._noise)

        def make(states: Tensor, observed: Tensor, active: Tensor) -> Cost:
            def cost(plans: Tensor) -> Tensor:
                reached = _simulate(self.world, states, plans, self.planner.cost.every_step)
                normals = torch.randn(len(self.tasks), self.world.view_numbers, generator=generator)[active]
                spread = normals[:, None, None].expand(*reached.shape[:3], -1)
                seen = self.coordinates(self.world.observe(reached.flatten(0, 2), spread.flatten(0, 2)))
                return self.cost(seen.unflatten(0, reached.shape[:3]), active, plans).cpu()

            return cost

        return make


# Not inference mode: a planner may follow gradients of its costs.
@torch.no_grad()
def tried(context: Context, module: WorldModel) -> Tried:
    """Run every policy on the tasks.

    The policy ``same_cost`` is tried on the first tasks of each difficulty, with the random numbers drawn for all: a
    model that predicts perfectly does exactly as well there, however few they are.
    """
    world, planner, evaluation = context.world, context.planner, context.evaluation
    assert isinstance(world, Simulator)
    assert isinstance(planner, Planner)
    seen, trial = _Seen(context, module), trial_of(world, evaluation)
    stop, key = evaluation.stop_at_goal, (world, planner, evaluation)

    def controlled(
        begin: Callable[[], MakeCost], chosen: Tensor, by: Planner, answer: Answer | None = None
    ) -> Sequence[Callable[[], EpisodeOutcome]]:
        return control_jobs(world, seen.tasks, by, begin, SEED, chosen, evaluation.pairs, stop, answer)

    known = _KNOWN.get(key, {})
    jobs = {"model": controlled(lambda: seen.predicted, trial.kept, planner)}
    jobs |= {name: job for name, job in reference_jobs(*key).items() if name not in known}
    if module.policy is not None:
        once = replace(planner, iterations=1)  # type: ignore[call-arg]
        jobs["policy"] = [partial(answering, world, seen.tasks, seen.answered, SEED, trial.kept, stop)]
        if module.policy.horizon == planner.horizon:
            jobs["refined"] = controlled(lambda: seen.predicted, trial.kept, once, seen.answered)
    some = trial.first(evaluation.same_cost_episodes)
    if len(some):
        jobs["same_cost"] = controlled(seen.simulated, some, planner)
    all_outcomes = _done(jobs) | known
    outcomes = {name: all_outcomes[name] for name in POLICIES if name in all_outcomes}
    if not known:
        while len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.pop(next(iter(_KNOWN)))
        _KNOWN[key] = {name: outcomes[name] for name in ("oracle", "random", "do_nothing")}
    numbers = {name: some if name == "same_cost" else trial.kept for name in outcomes}
    return Tried(trial, outcomes, numbers)


def success_estimates(context: Context, module: WorldModel, epoch: int, step: int) -> list[Estimate]:
    """Run every policy on the tasks and return the estimates (``estimates_of``)."""
    return estimates_of(tried(context, module), context.evaluation, epoch, step)


def estimates_of(results: Tried, evaluation: Evaluation, epoch: int, step: int) -> list[Estimate]:
    """Success rates by policy and difficulty, and the regret with its two parts.

    success_any_time counts tasks whose goal is reached at any step of the budget, success_final those that end there,
    success the headline of the two. regret/distance = oracle − model: what is lost against the same planner with the
    true state and dynamics. It is the sum of regret/geometry = oracle − same cost, lost already by a planner that knows
    the dynamics and ranks their outcomes by the model's distances, and of regret/dynamics = same cost − model, lost by
    predicting. Tasks are paired; the standard errors are those of tasks, for this one model. A rate of no tasks is
    missing.
    """
    ends = {name: outcome.final for name, outcome in results.outcomes.items()}
    kinds = {"success_any_time": {name: outcome.ever for name, outcome in results.outcomes.items()}}
    if not evaluation.stop_at_goal:
        kinds["success_final"] = {name: values for name, values in ends.items() if values is not None}
    kinds["success"] = kinds[f"success_{evaluation.success}"]
    rows = [
        row
        for kind, values in kinds.items()
        for name in POLICIES
        if name in values
        for row in _rates(results, f"{kind}/{name}", name, values[name].double(), epoch, step)
    ]
    rows.append(Estimate("tasks/removed", float(results.trial.removed()), 0.0, len(results.trial.drawn), epoch, step))
    for level in results.trial.drawn.levels:
        drawn = int((results.trial.drawn.required_steps == level).sum())
        removed = float(results.trial.removed(level))
        rows.append(Estimate(f"tasks/removed/required_{level}", removed, 0.0, drawn, epoch, step))
    for name, pair in _DIFFERENCES.items():
        if all(policy in kinds["success"] for policy in pair):
            better, worse = _shared(results, kinds["success"], *pair)
            rows.append(_mean(f"regret/{name}", better - worse, epoch, step))
    return rows


_DIFFERENCES = {
    "distance": ("oracle", "model"),
    "geometry": ("oracle", "same_cost"),
    "dynamics": ("same_cost", "model"),
    "policy": ("oracle", "policy"),
    "random": ("oracle", "random"),
    "do_nothing": ("oracle", "do_nothing"),
}


def _rates(results: Tried, label: str, name: str, values: Tensor, epoch: int, step: int) -> Iterator[Estimate]:
    yield _mean(label, values, epoch, step)
    levels = results.trial.drawn.required_steps[results.numbers[name]]
    for level in results.trial.drawn.levels:
        yield _mean(f"{label}/required_{level}", values[levels == level], epoch, step)


def _shared(results: Tried, values: Mapping[str, Tensor], one: str, other: str) -> tuple[Tensor, Tensor]:
    """Success of two policies, on the tasks that both were tried on."""
    chosen = min((results.numbers[one], results.numbers[other]), key=len)
    first, second = (values[name][torch.isin(results.numbers[name], chosen)].double() for name in (one, other))
    return first, second


def _mean(name: str, values: Tensor, epoch: int, step: int) -> Estimate:
    """Mean over tasks with its standard error, which needs two tasks; missing without tasks."""
    if not len(values):
        return Estimate(name, None, None, 0, epoch, step, NOTHING_LEFT)
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
    return Estimate(name, float(values.mean()), error, len(values), epoch, step)

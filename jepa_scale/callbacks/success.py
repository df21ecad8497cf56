"""Success of planning with the model in a simulator, compared with the true dynamics and with no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from jepa_scale.callbacks import references
from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.tasks import SEED, SUCCESS_1, Reference, TaskTrial, reference_of, same_cost_of, trial_of
from jepa_scale.planners.base import Cost, Search
from jepa_scale.planners.planning import cost_of, predicted_cost
from jepa_scale.planners.receding import Answer, EpisodeOutcome, MakeCost, answering, control_jobs
from jepa_scale.records import Estimate, Evaluation, TaskOutcomes
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.arena import Arena

POLICIES = ("model", "policy", "refined", "oracle", "same_cost", "expert", "random", "do_nothing")
"""Policies in order: the planner with the model; an amortised planner, if one was trained; one iteration of the planner
from the amortised plan; the planner with the true state and dynamics; the planner with true dynamics and the model's
distances; a policy that the user gives; uniformly random actions; the action 0."""

NOTHING_LEFT = "no_task_left"
"""Flag of a success rate without tasks, because all of them start at their goal."""


@dataclass(frozen=True)
class Tried:
    """Outcomes of the tasks under every policy."""

    trial: TaskTrial
    outcomes: Mapping[str, EpisodeOutcome]
    numbers: Mapping[str, Tensor]
    """Numbers of the tasks that each policy was tried on, in the order of its outcome."""
    reference: Reference = "oracle"
    """Whose success regret is measured against."""
    score: str = "distance"
    """Name of the model's regret."""

    def as_records(self) -> dict[str, TaskOutcomes]:
        """Return the outcome of every task by policy."""
        return {
            name: TaskOutcomes(
                self.numbers[name].tolist(),
                outcome.ever.tolist(),
                None if outcome.final is None else outcome.final.tolist(),
                [step or None for step in outcome.first.tolist()],
            )
            for name, outcome in self.outcomes.items()
        }


class _Seen:
    """A model's view of observations in planning: coordinates, costs and predictions."""

    def __init__(self, context: Context, module: WorldModel) -> None:
        assert isinstance(context.world.task_world, Arena)
        assert isinstance(context.planner, Search)
        self.world, self.planner, self.module = context.world.task_world, context.planner, module
        self.tasks = trial_of(self.world, context.evaluation).drawn
        generator = torch.Generator().manual_seed(SEED)
        normals = torch.randn(len(self.tasks), self.world.view_numbers, generator=generator)
        self._noise = generator.get_state()
        seen = self.world.goal_views(self.tasks, normals).to(module.device)
        self.goal_latents = module.encode(seen)
        self.goals = module.goal(seen, self.goal_latents)
        mask = self.world.noise_mask
        ignored = getattr(self.planner, "ignore_noise", False) and module.objective.encodes_again
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

    def predicted(self, states: Any, observed: Tensor, active: Tensor) -> Cost:
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

        def make(states: Any, observed: Tensor, active: Tensor) -> Cost:
            def cost(plans: Tensor) -> Tensor:
                normals = torch.randn(len(self.tasks), self.world.view_numbers, generator=generator)[active]
                views = self.world.true_views(states, plans, self.planner.terms.every_step, normals)
                seen = self.coordinates(views.flatten(0, 2))
                return self.cost(seen.unflatten(0, views.shape[:3]), active, plans).cpu()

            return cost

        return make


# Not inference mode: a planner may follow gradients of its costs.
@torch.no_grad()
def tried(context: Context, module: WorldModel) -> Tried:
    """Run every policy on the tasks.

    The policy ``same_cost`` is tried on the first tasks of each difficulty, with the random numbers drawn for all: a
    model that predicts perfectly does exactly as well there, however few they are.
    """
    world, planner, evaluation = context.world.task_world, context.planner, context.evaluation
    assert isinstance(world, Arena)
    assert isinstance(planner, Search)
    seen, trial = _Seen(context, module), trial_of(world, evaluation)
    stop, key, pairs = evaluation.stop_at_goal, (world, planner, evaluation), references.pairs_of(world, evaluation)

    def controlled(
        begin: Callable[[], MakeCost], chosen: Tensor, by: Search, answer: Answer | None = None
    ) -> Sequence[Callable[[], EpisodeOutcome]]:
        return control_jobs(world, seen.tasks, by, begin, SEED, chosen, pairs, stop, answer)

    known = references.known(*key)
    jobs: dict[str, Sequence[Callable[[], EpisodeOutcome]]] = {}
    jobs["model"] = controlled(lambda: seen.predicted, trial.kept, planner)
    if not known:
        jobs |= references.reference_jobs(*key)
    if module.policy is not None:
        once = replace(planner, iterations=1)  # type: ignore[call-arg]
        blocks = trial.kept.split(world.most_at_once) if world.most_at_once else (trial.kept,)
        jobs["policy"] = [partial(answering, world, seen.tasks, seen.answered, SEED, some, stop) for some in blocks]
        if module.policy.horizon == planner.horizon:
            jobs["refined"] = controlled(lambda: seen.predicted, trial.kept, once, seen.answered)
    some = trial.first(same_cost_of(world, evaluation))
    if len(some):
        jobs["same_cost"] = controlled(seen.simulated, some, planner)
    all_outcomes = references.done(jobs) | known
    if not known:
        references.remember(*key, all_outcomes)
    outcomes = {name: all_outcomes[name] for name in POLICIES if name in all_outcomes}
    numbers = {name: some if name == "same_cost" else trial.kept for name in outcomes}
    return Tried(trial, outcomes, numbers, reference_of(world), planner.score)


def success_estimates(context: Context, module: WorldModel, epoch: int, step: int) -> list[Estimate]:
    """Run every policy on the tasks and return the estimates (``estimates_of``)."""
    return estimates_of(tried(context, module), context.evaluation, epoch, step)


def estimates_of(results: Tried, evaluation: Evaluation, epoch: int, step: int) -> list[Estimate]:
    """Success rates by policy and difficulty, and the regret with its two parts.

    success_any_time counts tasks whose goal is reached at any step of the budget, success_final those that end there,
    success the headline of the two. regret/distance = oracle − model: what is lost against the same planner with the
    true state and dynamics; where those are not known, against an expert or against success on every task, which the
    flag says. It is the sum of regret/geometry = oracle − same cost, lost already by a planner that knows
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
    solved, reference = kinds["success"], results.reference
    if reference == SUCCESS_1:
        solved = solved | {SUCCESS_1: torch.ones(len(results.trial.kept))}
        results = replace(results, numbers={**results.numbers, SUCCESS_1: results.trial.kept})
    flag = "" if reference == "oracle" else f"against_{reference}"
    pairs = {results.score: (reference, "model"), **{name: (reference, name) for name in _AGAINST}} | _PARTS
    for name, pair in pairs.items():
        if all(policy in solved for policy in pair):
            better, worse = _shared(results, solved, *pair)
            row = _mean(f"regret/{name}", better - worse, epoch, step)
            rows.append(replace(row, flag=row.flag or (flag if pair[0] == reference else "")))
    return rows


_AGAINST = ("policy", "random", "do_nothing")
"""Policies whose own regret is a row."""
_PARTS = {"geometry": ("oracle", "same_cost"), "dynamics": ("same_cost", "model")}


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

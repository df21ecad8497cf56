"""Reference policies, which need no model: the oracle, an expert, random actions and doing nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jepa_scale import processes
from jepa_scale.callbacks.tasks import SEED, trial_of
from jepa_scale.planners.base import Cost, Search
from jepa_scale.planners.receding import EpisodeOutcome, acting, at_random, control_jobs, doing_nothing
from jepa_scale.records import Evaluation
from jepa_scale.worlds import kept
from jepa_scale.worlds.arena import Arena

Jobs = Mapping[str, Sequence[Callable[[], EpisodeOutcome]]]
"""Functions that compute the outcomes of each policy, in parts."""

REFERENCES = ("oracle", "expert", "random", "do_nothing")
_KNOWN: dict[tuple[Arena, Search, Evaluation], dict[str, EpisodeOutcome]] = {}
"""Outcomes of the latest references of this process."""
_MOST_KNOWN = 4


def reference_jobs(world: Arena, planner: Search, evaluation: Evaluation) -> Jobs:
    """Jobs of the reference policies that the world allows."""
    trial, stop = trial_of(world, evaluation), evaluation.stop_at_goal
    tasks = trial.drawn

    def true_cost(states: Any, observed: Tensor, active: Tensor) -> Cost:
        terms = planner.terms

        def cost(plans: Tensor) -> Tensor:
            far = world.true_distances(states, plans, tasks, active, terms.every_step)
            return terms.of_distances(far, plans, world.action_space)

        return cost

    blocks = trial.kept.split(world.most_at_once) if world.most_at_once else (trial.kept,)
    jobs: dict[str, Sequence[Callable[[], EpisodeOutcome]]] = {}
    if world.knows_dynamics:
        pairs = pairs_of(world, evaluation)
        jobs["oracle"] = control_jobs(world, tasks, planner, lambda: true_cost, SEED, trial.kept, pairs, stop)
    if world.has_expert:
        jobs["expert"] = [partial(acting, world, tasks, world.expert_actions, SEED, some, stop) for some in blocks]
    jobs["random"] = [partial(at_random, world, tasks, SEED, some, stop) for some in blocks]
    if world.no_action() is not None:
        jobs["do_nothing"] = [partial(doing_nothing, world, tasks, SEED, some, stop) for some in blocks]
    return jobs


def pairs_of(world: Arena, evaluation: Evaluation) -> int | None:
    """Number of tasks that are planned for at a time: as asked, and no more than the world tries side by side."""
    limits = [limit for limit in (evaluation.pairs, world.most_at_once) if limit is not None]
    return min(limits, default=None)


def done(jobs: Jobs) -> dict[str, EpisodeOutcome]:
    """Run jobs, shared among the processes of a run, and return the outcomes by policy."""
    outcomes = iter(processes.spread([job for part in jobs.values() for job in part]))
    return {name: EpisodeOutcome.joined([next(outcomes) for _ in part]) for name, part in jobs.items()}


def known(world: Arena, planner: Search, evaluation: Evaluation) -> dict[str, EpisodeOutcome]:
    """Outcomes of the references, if this process or, for worlds that keep them, an earlier one computed them.

    References of a world that keeps them are computed here if they are not there yet: other processes that want the
    same ones wait.
    """
    key = (world, planner, evaluation)
    if key not in _KNOWN and world.identity is not None:
        remember(*key, _from_disk(*key))
    return _KNOWN.get(key, {})


def remember(world: Arena, planner: Search, evaluation: Evaluation, outcomes: Mapping[str, EpisodeOutcome]) -> None:
    """Keep the outcomes of the references for the next model of this process."""
    while len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.pop(next(iter(_KNOWN)))
    _KNOWN[world, planner, evaluation] = {name: outcomes[name] for name in REFERENCES if name in outcomes}


def _from_disk(world: Arena, planner: Search, evaluation: Evaluation) -> dict[str, EpisodeOutcome]:
    tasks = {name: getattr(evaluation, name) for name in ("episodes", "required_steps", "stop_at_goal", "keep_solved")}
    settings = {"world": world.identity, "planner": [type(planner).__name__, asdict(planner)], "tasks": tasks}  # type: ignore[call-overload]
    place = kept.Place("references", {**settings, "seed": SEED, "pairs": pairs_of(world, evaluation)})
    # One process of a run decides for all of them, and holds the lock while they compute.
    with contextlib.ExitStack() as stack:
        if processes.rank() == 0:
            stack.enter_context(place.locked())
        arrays = processes.agreed(place.read)
        if arrays is not None:
            return _outcomes(arrays)
        outcomes = done(reference_jobs(world, planner, evaluation))
        processes.agreed(lambda: place.write(_arrays(outcomes)))
    return outcomes


def _arrays(outcomes: Mapping[str, EpisodeOutcome]) -> dict[str, np.ndarray]:
    parts = ("ever", "final", "first", "steps")
    return {
        f"{name}.{part}": getattr(outcome, part).numpy()
        for name, outcome in outcomes.items()
        for part in parts
        if getattr(outcome, part) is not None
    }


def _outcomes(arrays: Mapping[str, np.ndarray]) -> dict[str, EpisodeOutcome]:
    def part(name: str, part: str) -> Any:
        values = arrays.get(f"{name}.{part}")
        return None if values is None else torch.as_tensor(values)

    names = [name for name in REFERENCES if f"{name}.ever" in arrays]
    return {name: EpisodeOutcome(*(part(name, one) for one in ("ever", "final", "first", "steps"))) for name in names}

"""Receding-horizon control: plan, take the first action, observe, plan again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from jepa_scale.planners.base import Cost, Search, plan, shifted
from jepa_scale.worlds.arena import Arena, Episodes, Tasks

MakeCost = Callable[[Any, Tensor, Tensor], Cost]
"""(states as ``Episodes.states`` gives them, observations (b, *shape), numbers of the tasks (b,)) → cost of plans."""
Answer = Callable[[Tensor, Tensor], Tensor]
"""(observations (b, *shape), numbers of the tasks (b,)) → plans without a search, (b, H, size)."""


@dataclass(frozen=True)
class EpisodeOutcome:
    """What became of each task."""

    ever: Tensor
    """(B,) whether the goal was reached after any step within the budget."""
    final: Tensor | None
    """(B,) whether the state after the last step of the budget lies at the goal, which implies ``ever``; None where
    episodes end at their goal, as nobody knows whether they would have stayed."""
    first: Tensor
    """(B,) steps after which the goal was first reached; 0: never, as no step comes before the first."""
    steps: Tensor
    """(B,) steps taken."""

    @classmethod
    def joined(cls, parts: list[EpisodeOutcome]) -> EpisodeOutcome:
        """Outcomes of tasks one after the other."""
        ends = [part.final for part in parts if part.final is not None]
        return cls(
            torch.cat([part.ever for part in parts]),
            torch.cat(ends) if len(ends) == len(parts) else None,
            torch.cat([part.first for part in parts]),
            torch.cat([part.steps for part in parts]),
        )


def control(
    world: Arena,
    tasks: Tasks,
    planner: Search,
    make_cost: MakeCost,
    seed: int,
    chosen: Tensor | None = None,
    stop_at_goal: bool = False,
    answer: Answer | None = None,
) -> EpisodeOutcome:
    """Run every task with a planner, or those with the numbers ``chosen`` alone; searches start from an ``answer``.

    All tasks draw the same numbers whoever plans, and go on drawing them when they have ended or were not chosen, so
    that two models are compared on the same noise.
    """
    generator = torch.Generator().manual_seed(seed)
    last = torch.empty(0)

    def act(episodes: Episodes, active: Tensor) -> Tensor:
        nonlocal last
        normals = planner.draw(len(tasks), world.action_space, generator)
        observed = episodes.observe(active)
        cost = make_cost(episodes.states(active), observed, active)
        # Tasks only ever end, so one that is active has a last plan wherever there is any.
        warm = shifted(last[active]) if getattr(planner, "warm_start", False) and len(last) else None
        if answer is not None:
            warm = answer(observed, active)
        found = plan(planner, cost, normals[:, active], world.action_space, warm)
        last = found.new_zeros(len(tasks), *found.shape[1:]).index_copy(0, active, found)
        return found[:, 0]

    return run(world, tasks, act, generator, chosen, stop_at_goal)


def control_jobs(
    world: Arena,
    tasks: Tasks,
    planner: Search,
    begin: Callable[[], MakeCost],
    seed: int,
    chosen: Tensor,
    pairs: int | None = None,
    stop_at_goal: bool = False,
    answer: Answer | None = None,
) -> list[Callable[[], EpisodeOutcome]]:
    """``control`` of the chosen tasks as jobs, in order, for ``pairs`` of them each; None: one job for all.

    Each job draws the numbers of all tasks anew, so that outcomes do not depend on the jobs but for the rounding of
    a model's sums, nor at all on who does them. ``begin`` is called once in each: costs that draw numbers start again
    with it.
    """
    blocks = chosen.split(pairs) if pairs is not None else (chosen,)

    def job(block: Tensor) -> EpisodeOutcome:
        return control(world, tasks, planner, begin(), seed, block, stop_at_goal, answer)

    return [partial(job, block) for block in blocks]


def answering(
    world: Arena, tasks: Tasks, answer: Answer, seed: int, chosen: Tensor | None = None, stop_at_goal: bool = False
) -> EpisodeOutcome:
    """Run tasks with the first action of an answer, anew at every step."""
    generator = torch.Generator().manual_seed(seed)

    def act(episodes: Episodes, active: Tensor) -> Tensor:
        return answer(episodes.observe(active), active)[:, 0]

    return run(world, tasks, act, generator, chosen, stop_at_goal)


def acting(
    world: Arena,
    tasks: Tasks,
    act: Callable[[Episodes, Tensor], Tensor],
    seed: int,
    chosen: Tensor | None = None,
    stop_at_goal: bool = False,
) -> EpisodeOutcome:
    """Run tasks with a policy of the world's own."""
    return run(world, tasks, act, torch.Generator().manual_seed(seed), chosen, stop_at_goal)


def at_random(
    world: Arena, tasks: Tasks, seed: int, chosen: Tensor | None = None, stop_at_goal: bool = False
) -> EpisodeOutcome:
    """Run tasks with uniformly random actions."""
    generator = torch.Generator().manual_seed(seed)

    def act(episodes: Episodes, active: Tensor) -> Tensor:
        return world.random_actions(len(tasks), generator)[active]

    return run(world, tasks, act, generator, chosen, stop_at_goal)


def doing_nothing(
    world: Arena, tasks: Tasks, seed: int, chosen: Tensor | None = None, stop_at_goal: bool = False
) -> EpisodeOutcome:
    """Run tasks with the action that does nothing.

    Raises
    ------
    ValueError
        If the world has no such action.
    """
    nothing = world.no_action()
    if nothing is None:
        raise ValueError("expected a world with an action that does nothing, got one without")

    def act(episodes: Episodes, active: Tensor) -> Tensor:
        return nothing.expand(len(active), *nothing.shape)

    return run(world, tasks, act, torch.Generator().manual_seed(seed), chosen, stop_at_goal)


def run(
    world: Arena,
    tasks: Tasks,
    act: Callable[[Episodes, Tensor], Tensor],
    generator: torch.Generator,
    chosen: Tensor | None = None,
    stop_at_goal: bool = False,
) -> EpisodeOutcome:
    """Step all tasks, or the chosen ones, until each has spent its budget, was ended by the world or, if it stops
    there, is at its goal.

    An episode that the world ends stays where it is: its last state counts as that at the end.
    """
    numbers = torch.arange(len(tasks)) if chosen is None else chosen
    budgets = torch.zeros_like(tasks.budgets)
    budgets[numbers] = tasks.budgets[numbers]
    episodes = world.begin(tasks, numbers, generator)
    first = torch.zeros(len(tasks), dtype=torch.int64)
    steps = torch.zeros(len(tasks), dtype=torch.int64)
    inside = torch.zeros(len(tasks), dtype=torch.bool)
    over = torch.zeros(len(tasks), dtype=torch.bool)
    for step in range(int(budgets.max())):
        active = torch.nonzero((step < budgets) & ~over & ~(inside & stop_at_goal)).flatten()
        if len(active) == 0:
            break
        episodes.step(active, act(episodes, active))
        steps[active] += 1
        inside[active] = episodes.inside(active)
        over[active] = episodes.over(active)
        first = torch.where(inside & (first == 0), steps, first)
    final = None if stop_at_goal else inside[numbers]
    return EpisodeOutcome(first[numbers] > 0, final, first[numbers], steps[numbers])

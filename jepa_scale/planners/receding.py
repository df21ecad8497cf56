"""Receding-horizon control: plan, take the first action, observe, plan again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.planners.base import Cost, Planner, plan, shifted
from jepa_scale.worlds.simulator import Simulator, Tasks

MakeCost = Callable[[Tensor, Tensor, Tensor], Cost]
"""(states (b, S), observations (b, *shape), numbers of the tasks (b,)) → cost of plans from there."""


@dataclass(frozen=True)
class Outcome:
    """What became of each task."""

    reached: Tensor
    """(B,) whether the goal was reached at any step within the budget."""
    inside_at_end: Tensor
    """(B,) whether the last state that was visited lies at the goal; episodes end when the goal is reached."""
    steps: Tensor
    """(B,) steps taken."""


def control(
    world: Simulator, tasks: Tasks, planner: Planner, make_cost: MakeCost, seed: int, chosen: Tensor | None = None
) -> Outcome:
    """Run every task with a planner, or those with the numbers ``chosen`` alone.

    All tasks draw the same numbers whoever plans, and go on drawing them when they have ended or were not chosen, so
    that two models are compared on the same noise.
    """
    generator = torch.Generator().manual_seed(seed)
    last = torch.empty(0)

    def act(states: Tensor, active: Tensor) -> Tensor:
        nonlocal last
        normals = planner.draw(len(tasks), world.action_space, generator)
        views = torch.randn(len(tasks), world.view_numbers, generator=generator)
        observed = world.observe(states[active], views[active])
        cost = make_cost(states[active], observed, active)
        # Tasks only ever end, so one that is active has a last plan wherever there is any.
        warm = shifted(last[active]) if planner.warm_start and len(last) else None
        found = plan(planner, cost, normals[:, active], world.action_space, warm)
        last = found.new_zeros(len(tasks), *found.shape[1:]).index_copy(0, active, found)
        return found[:, 0]

    return run(world, tasks, act, generator, chosen)


def at_random(world: Simulator, tasks: Tasks, seed: int) -> Outcome:
    """Run every task with actions drawn uniformly from the action space, as the behaviour policy draws them."""
    generator = torch.Generator().manual_seed(seed)

    def act(states: Tensor, active: Tensor) -> Tensor:
        return world.behave(torch.rand(len(tasks), 1, world.action_space.size, generator=generator))[active, 0]

    return run(world, tasks, act, generator)


def doing_nothing(world: Simulator, tasks: Tasks, seed: int) -> Outcome:
    """Run every task with the action 0, or the one nearest to it."""
    space = world.action_space
    nothing = torch.zeros(space.size).clamp(space.low, space.high)

    def act(states: Tensor, active: Tensor) -> Tensor:
        return nothing.expand(len(active), -1)

    return run(world, tasks, act, torch.Generator().manual_seed(seed))


def run(
    world: Simulator,
    tasks: Tasks,
    act: Callable[[Tensor, Tensor], Tensor],
    generator: torch.Generator,
    chosen: Tensor | None = None,
) -> Outcome:
    """Step all tasks, or the chosen ones, until each has reached its goal or spent its budget."""
    numbers = torch.arange(len(tasks)) if chosen is None else chosen
    budgets = torch.zeros_like(tasks.budgets)
    budgets[numbers] = tasks.budgets[numbers]
    states = tasks.starts.clone()
    reached = torch.zeros(len(tasks), dtype=torch.bool)
    steps = torch.zeros(len(tasks), dtype=torch.int64)
    for step in range(int(budgets.max())):
        active = torch.nonzero(~reached & (step < budgets)).flatten()
        if len(active) == 0:
            break
        actions = act(states, active)
        moves = torch.randn(len(tasks), world.step_numbers, generator=generator)
        states[active] = world.step(states[active], actions, moves[active])
        steps[active] += 1
        reached[active] = world.distance(states[active], tasks.goals[active]) <= world.tolerance
    inside = world.distance(states, tasks.goals) <= world.tolerance
    return Outcome(reached[numbers], inside[numbers], steps[numbers])

"""Where the goals of tasks in an environment come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jepa_scale.worlds.arena import Tasks
from jepa_scale.worlds.environments.copies import Copy
from jepa_scale.worlds.environments.watch import patience

if TYPE_CHECKING:
    from jepa_scale.worlds.gymnasium_env import GymnasiumEnv


@dataclass(frozen=True)
class Goal:
    """One task: how its episode is reset, where it starts, and what is to be reached."""

    seed: int
    options: Mapping[str, Any] | None
    start: np.ndarray
    """(P,) position at the start."""
    position: np.ndarray
    """(P,) position of the goal."""
    view: np.ndarray
    """What the planner is shown of it, (*shape)."""
    said_solved: bool
    """Whether the environment says at the reset that it is reached."""


@dataclass(frozen=True)
class EnvironmentTasks(Tasks):
    """Tasks by the seeds and options that their episodes are reset with; states are positions."""

    seeds: tuple[int, ...]
    options: tuple[Mapping[str, Any] | None, ...]
    views: torch.Tensor
    """(B, *shape)"""
    said_solved: torch.Tensor
    """(B,)"""

    @classmethod
    def of(cls, goals: Sequence[Goal], steps: Sequence[int], budgets: Sequence[int]) -> EnvironmentTasks:
        """Put tasks together, each with its required steps and its budget."""
        return cls(
            torch.as_tensor(np.stack([goal.start for goal in goals])),
            torch.as_tensor(np.stack([goal.position for goal in goals])),
            torch.as_tensor(steps),
            torch.as_tensor(budgets),
            tuple(dict.fromkeys(steps)),
            tuple(goal.seed for goal in goals),
            tuple(goal.options for goal in goals),
            torch.as_tensor(np.stack([goal.view for goal in goals])),
            torch.as_tensor([goal.said_solved for goal in goals]),
        )


Source = Callable[["GymnasiumEnv", Copy, int, int, int], Goal]
"""(world, copy to play in, required steps, number of the task, seed) → its goal."""


def reachable(world: GymnasiumEnv, copy: Copy, steps: int, number: int, seed: int) -> Goal:
    """What the behaviour policy sees after ``steps`` steps of the model from the same start."""
    for attempt in range(_ATTEMPTS):
        generator = np.random.default_rng([seed, steps, number, attempt])
        reset = int(generator.integers(2**31))
        options = world.reset_with(number)
        copy.reset(reset, options)
        start = copy.position(world.coordinates)
        _play(world, copy, steps, generator)
        if not copy.over:
            return Goal(reset, options, start, copy.position(world.coordinates), copy.seen, False)
    raise ValueError(
        f"{world.environment}: expected episodes of {steps} steps, got {_ATTEMPTS} that ended before: ask for fewer by "
        "evaluation.required_steps, or collect by another world.behaviour"
    )


def _play(world: GymnasiumEnv, copy: Copy, steps: int, generator: np.random.Generator) -> None:
    """Act by the behaviour policy for some steps of the model, or until the episode ends."""
    act = world.actor(steps, generator)
    for _ in range(steps):
        if copy.over:
            break
        copy.step(world.units.actions(act(copy)))


def own(world: GymnasiumEnv, copy: Copy, steps: int, number: int, seed: int) -> Goal:
    """The environment's own goal, as Gymnasium-Robotics (``desired_goal``) and OGBench (``info["goal"]``) give it."""
    del steps
    generator = np.random.default_rng([seed, number])
    reset, options = int(generator.integers(2**31)), world.reset_with(number)
    copy.reset(reset, options)
    start, solved = copy.position(world.coordinates), world.rule.said_solved(copy)
    view, position = _own_goal(world, copy)
    return Goal(reset, options, start, position, view, solved)


def _own_goal(world: GymnasiumEnv, copy: Copy) -> tuple[np.ndarray, np.ndarray]:
    shown, given = copy.view, copy.info.get("goal")
    rendered = copy.info.get("goal_rendered")
    vector = None if given is None else np.asarray(given, np.float32).reshape(-1)
    here = shown.vector(copy.observed)
    if shown.with_goals:
        position = np.asarray(copy.observed["desired_goal"], np.float32)
        if vector is None and not shown.image:
            vector = here.copy()
            vector[world.places_of_achieved] = position
    if vector is None or (not shown.image and vector.shape != here.shape):
        raise ValueError(
            f"{world.environment}: expected an environment that shows its goal, by desired_goal or info['goal'], got "
            f"none: its info has {sorted(copy.info) or 'nothing'}: world.goals=reachable, or given"
        )
    if not shown.with_goals:
        position = vector if world.coordinates is None else vector[list(world.coordinates)]
    if len(shown.shape) != 3:
        return vector, position
    if rendered is None or np.shape(rendered) != shown.shape:
        raise ValueError(
            f"{world.environment}: expected info['goal_rendered'] of shape {shown.shape} to show a goal in images, "
            f"got {'none' if rendered is None else np.shape(rendered)}: world.goals=reachable"
        )
    return np.asarray(rendered, np.uint8), position


def places_of_achieved(world: GymnasiumEnv, copy: Copy) -> list[int]:
    """Which coordinates of what is seen say what was achieved: equal at the start and while an episode goes on.

    Raises
    ------
    ValueError
        If none does.
    """
    generator = np.random.default_rng(0)
    copy.reset(0, world.reset_with(0))
    seen, achieved = [], []
    for _ in range(_LOOKS):
        seen.append(copy.view.vector(copy.observed))
        achieved.append(np.asarray(copy.observed["achieved_goal"], np.float32))
        _play(world, copy, 1, generator)
    places = []
    for values in np.transpose(achieved):
        equal = [place for place, column in enumerate(np.transpose(seen)) if np.allclose(column, values, atol=1e-6)]
        if not equal:
            raise ValueError(
                f"{world.environment}: expected achieved_goal among the observed coordinates, so that a goal can be "
                "shown as an observation, got none that equals it: world.goals=reachable"
            )
        places.append(equal[0])
    return places


def given(world: GymnasiumEnv, copy: Copy, steps: int, number: int, seed: int) -> Goal:
    """The observation ``world.goal`` of the settings."""
    del steps
    generator = np.random.default_rng([seed, number])
    reset, options = int(generator.integers(2**31)), world.reset_with(number)
    copy.reset(reset, options)
    goal = np.asarray(world.goal, np.float32)
    here = copy.view.vector(copy.observed)
    if len(copy.view.shape) == 3 or goal.shape != here.shape:
        raise ValueError(f"{world.environment}: expected world.goal, an observation of {here.shape}, got {goal.shape}")
    position = goal if world.coordinates is None else goal[list(world.coordinates)]
    start = copy.position(world.coordinates)
    return Goal(reset, options, start, position, goal, world.rule.said_solved(copy))


SOURCES: Mapping[str, tuple[Source, str, str]] = {
    "reachable": (
        reachable,
        "what {behaviour} sees after T steps from the same start",
        "an observation that was reached",
    ),
    "env": (own, "the environment's own goals; how many steps they need is not known", "the goal that it shows"),
    "given": (
        given,
        "the goal in the settings; how many steps it needs is not known",
        "the observation in the settings",
    ),
}
"""By the setting ``goals``: where they come from, the law in words, and what the planner is shown."""

_ATTEMPTS = 20
_LOOKS = 4


def drawn(
    world: GymnasiumEnv, copy: Copy, source: Source, required: Sequence[int], each: int, seed: int
) -> EnvironmentTasks:
    """Draw tasks, ordered by difficulty; fewer of them are a prefix in each difficulty."""
    goals, levels = [], []
    with patience(world.environment, world.patience) as go_on:
        for steps, number in _numbered(required, each):
            go_on()
            goals.append(source(world, copy, steps, number, seed))
            levels.append(steps)
    return EnvironmentTasks.of(goals, levels, [world.budget_of(steps) for steps in levels])


def _numbered(required: Sequence[int], each: int) -> Iterator[tuple[int, int]]:
    for steps in required:
        for number in range(each):
            yield steps, number

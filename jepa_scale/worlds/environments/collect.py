"""Collecting trajectories in copies of an environment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jepa_scale.records import Trajectories
from jepa_scale.worlds import kept
from jepa_scale.worlds.behaviour import InUnits
from jepa_scale.worlds.environments.copies import Copy
from jepa_scale.worlds.environments.watch import patience

if TYPE_CHECKING:
    from jepa_scale.worlds.gymnasium_env import GymnasiumEnv

Actor = Callable[[Copy], Any]
"""A copy of the environment → the model's next action in it."""


def actor(world: GymnasiumEnv, steps: int, generator: np.random.Generator) -> Actor:
    """Begin a trajectory of the world's behaviour policy."""
    parts = world.units.apart
    act = world.behaviour.start(world.units.single, steps * parts, generator)

    def single(copy: Copy) -> Any:
        action, own = act(copy.observed), world.behaviour.own_units
        if isinstance(action, InUnits):
            action, own = action.action, True
        if action is None:
            return world.units.random(generator)
        return world.units.given(action) if own else world.units.scaled(action)

    return lambda copy: world.units.joined([single(copy) for _ in range(parts)])


class Collected:
    """Trajectories of a world by length and seed: in memory, on disk, and collected where they are missing."""

    def __init__(self, world: GymnasiumEnv) -> None:
        self.world = world
        self._memory: dict[tuple[int, int], Trajectories] = {}

    def sample(self, trajectories: int, length: int, seed: int) -> Trajectories:
        """The first ``trajectories`` ones.

        Raises
        ------
        ValueError
            If the environment fails, or the same seed does not give the same trajectory.
        """
        have = self._memory.pop((length, seed), None)
        if have is None or len(have.actions) < trajectories:
            have = self._shared(trajectories, length, seed, have)
        while len(self._memory) >= _KEPT:
            self._memory.pop(next(iter(self._memory)))
        self._memory[length, seed] = have
        return _part(have, 0, trajectories)

    def _shared(self, trajectories: int, length: int, seed: int, have: Trajectories | None) -> Trajectories:
        """From disk as far as there are, the rest collected and written back; one process at a time."""
        identity = self.world.identity
        place = None if identity is None else kept.Place("trajectories", {**identity, "length": length, "seed": seed})
        with place.locked() if place is not None else contextlib.nullcontext():
            arrays = None if place is None else place.read()
            if arrays is not None and (have is None or len(arrays["actions"]) > len(have.actions)):
                have = Trajectories(
                    arrays["observations"], arrays["actions"], None, seed, self.world.behaviour.name, arrays["usable"]
                )
            count = 0 if have is None else len(have.actions)
            if count < trajectories:
                more = self._collect(range(count, trajectories), length, seed)
                have = more if have is None else _joined(have, more)
                if place is not None:
                    place.write({name: getattr(have, name) for name in ("observations", "actions", "usable")})
        assert have is not None
        return have

    def _collect(self, numbers: Sequence[int], length: int, seed: int) -> Trajectories:
        world = self.world
        copies = world.copies(min(world.most_at_once, len(numbers)))
        parts = []
        with patience(world.environment, world.patience) as go_on:
            for place, number in enumerate(_watched(numbers, world.environment)):
                parts.append(self._play(copies[place % len(copies)], number, length, seed, go_on))
            again = [self._play(copy, numbers[0], length, seed, go_on) for copy in copies]
        others = [place for place, other in enumerate(again) if other.checksum != parts[0].checksum]
        if others:
            # The first copy is the one that played this trajectory before.
            remedy = "record episodes of it and use world=recorded" if 0 in others else "set world.at_once=1"
            whose = "the second time" if 0 in others else f"from {len(others)} of its {len(copies)} copies"
            raise ValueError(
                f"{world.environment}: expected reset(seed=…) and the same actions to give the same trajectory, got "
                f"another one {whose}: {remedy}"
            )
        return _joined(*parts)

    def _play(self, copy: Copy, number: int, length: int, seed: int, go_on: Callable[[], Any]) -> Trajectories:
        """One trajectory, through the ends of episodes: the step after an end restarts and is not usable."""
        world = self.world
        generator = np.random.default_rng([seed, number])
        copy.reset(int(generator.integers(2**31)), world.reset_with(number))
        act, space = actor(world, length, generator), world.action_space
        observed = np.empty((1, length + 1, *world.observation_shape), world.view.dtype)
        usable = np.ones((1, length), dtype=bool)
        actions = np.empty((1, length), np.int64) if space.discrete else np.empty((1, length, space.size), np.float32)
        observed[0, 0] = copy.seen
        for step in range(length):
            go_on()
            actions[0, step] = act(copy)
            if copy.over:
                usable[0, step] = False
                copy.reset(None, world.reset_with(number))
            else:
                copy.step(world.units.actions(actions[0, step]))
            observed[0, step + 1] = copy.seen
        return Trajectories(observed, actions, None, seed, world.behaviour.name, usable)


_KEPT = 6
"""Sets of trajectories that are kept in memory: training, held-out and test ones of two seeds."""


def _joined(*parts: Trajectories) -> Trajectories:
    def every(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return replace(parts[0], observations=every("observations"), actions=every("actions"), usable=every("usable"))


def _part(trajectories: Trajectories, start: int, stop: int) -> Trajectories:
    chosen = slice(start, stop)
    assert trajectories.usable is not None
    return replace(
        trajectories,
        observations=trajectories.observations[chosen],
        actions=trajectories.actions[chosen],
        usable=trajectories.usable[chosen],
    )


def _watched(numbers: Sequence[int], name: str) -> Iterator[int]:
    """Go through numbers, with a progress bar on the terminal once that has taken some seconds."""
    from rich.console import Console
    from rich.progress import Progress

    started, bar = time.monotonic(), Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(f"collecting {name}", total=len(numbers))
    try:
        for number in numbers:
            yield number
            bar.advance(task)
            if not bar.live.is_started and bar.console.is_terminal and time.monotonic() - started > _PATIENCE:
                bar.start()
    finally:
        # Stopped before it was started, it prints an empty line.
        if bar.live.is_started:
            bar.stop()


_PATIENCE = 3.0
"""Seconds of silence."""

"""Any Gymnasium environment, as far as it can be observed and acted on from its start."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from jepa_scale.records import ActionSpace, Trajectories
from jepa_scale.worlds.base import SampledWorld, check_sizes
from jepa_scale.worlds.gymnasium_make import make


@dataclass(frozen=True)
class GymnasiumEnv(SampledWorld):
    """Trajectories of an environment under uniformly random actions, collected when they are asked for.

    An environment cannot be put into a state in general, so nothing is planned in it (planner=none), and what a model
    would reach is not measured. (Those of MuJoCo can, by ``set_state``; this class makes no use of it.)

    Trajectory i is reset with a seed of its own and plays on through the ends of episodes; a step that only restarts is
    marked not usable. Continuous actions are numbers in [−1, 1] that stand for each coordinate's own range; discrete
    ones count from 0. Images (bytes with three axes) are observed as they are, anything else as one flat vector.
    Collected trajectories are kept in memory by the process, and only what is missing is collected. Frames that OpenGL
    renders can differ from one process to the next: the run's record holds their checksum, a recording fixes them.

    Raises
    ------
    ValueError
        If gymnasium is absent, the environment unknown, or its actions are of another kind, unbounded, or its
        observations cannot be flattened. When trajectories are collected: if the same seed does not give the same ones.
    """

    environment: str = "Pendulum-v1"
    """Its id; ``package:id`` where a package has to be imported for it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the environment."""
    part: str | None = None
    """Which part of a dictionary of observations; None: all of them."""
    rendered: bool = False
    """Whether to observe the frames that it renders in place of its observations; their size is its own option."""
    at_once: int = 16
    """Copies of the environment that are stepped side by side; no number depends on it. Some renderers draw differently
    in each copy, which is refused: they take 1."""

    def __post_init__(self) -> None:
        if self.at_once < 1:
            raise ValueError(f"expected at least one copy of the environment, got at_once={self.at_once}")
        _ = self._spaces

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(D,) of vectors, (H, W, C) of images."""
        return tuple(self._spaces[0].shape)

    @property
    def action_space(self) -> ActionSpace:
        """One of n, or [−1, 1]^size."""
        space = self._spaces[1]
        return ActionSpace(int(space.n)) if hasattr(space, "n") else ActionSpace(None, int(np.prod(space.shape)))

    def sample(self, trajectories: int, length: int, seed: int) -> Trajectories:
        """Draw trajectories of ``length`` transitions under the behaviour policy.

        Fewer trajectories from the same seed are a prefix of more.

        Raises
        ------
        ValueError
            If a size is below 1, the trajectories would not fit into memory, or the environment is not reproducible.
        """
        check_sizes(trajectories, length, math.prod(self.observation_shape) * np.dtype(self._dtype).itemsize)
        kept = self._kept.pop((length, seed), None)
        have = 0 if kept is None else len(kept.actions)
        if have < trajectories:
            more = self._collect(range(have, trajectories), length, seed)
            kept = more if kept is None else _joined(kept, more)
        assert kept is not None
        while len(self._kept) >= _KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[length, seed] = kept
        return _first(kept, trajectories)

    @cached_property
    def _kept(self) -> dict[tuple[int, int], Trajectories]:
        """By length and seed: the most trajectories that were asked for."""
        return {}

    @cached_property
    def _spaces(self) -> tuple[Any, Any]:
        with closing(self._made()) as made:
            return made.observation_space, made.action_space

    def _made(self) -> Any:
        """One copy of the environment, whose observations are a flat vector or an image."""
        options = {"render_mode": "rgb_array", **self.options} if self.rendered else self.options
        made = make("gymnasium", self.environment, options, "Pendulum-v1")
        return _shown(made, self.environment, self.part, self.rendered)

    def _collect(self, numbers: Sequence[int], length: int, seed: int) -> Trajectories:
        from gymnasium.vector import AutoresetMode, SyncVectorEnv

        copies = min(self.at_once, len(numbers))
        parts = []
        with closing(SyncVectorEnv([self._made] * copies, autoreset_mode=AutoresetMode.NEXT_STEP)) as copied:
            for first in _watched(range(0, len(numbers), copies), self.environment):
                # The last batch is filled up: every copy has to be stepped.
                batch = [numbers[min(first + place, len(numbers) - 1)] for place in range(copies)]
                parts.append(self._play(copied, batch, length, seed))
            again = self._play(copied, [numbers[0]] * copies, length, seed)
        found = _first(_joined(*parts), len(numbers))
        expected = _first(found, 1).checksum
        others = [place for place in range(copies) if _first(again, place + 1, place).checksum != expected]
        if others:
            # The first copy is the one that played this trajectory before.
            remedy = "record episodes of it and use world=recorded" if 0 in others else "set world.at_once=1"
            whose = "the second time" if 0 in others else f"from {len(others)} of its {copies} copies"
            raise ValueError(
                f"{self.environment}: expected reset(seed=…) and the same actions to give the same trajectory, got "
                f"another one {whose}: {remedy}"
            )
        return found

    def _play(self, copied: Any, batch: Sequence[int], length: int, seed: int) -> Trajectories:
        """Trajectories with the numbers ``batch``, side by side."""
        space = self.action_space
        generators = [np.random.default_rng([seed, number]) for number in batch]
        seeds = [int(generator.integers(2**31)) for generator in generators]
        if space.count is None:
            drawn = [generator.uniform(-1, 1, (length, space.size)) for generator in generators]
            actions = np.stack(drawn).astype(np.float32)
        else:
            actions = np.stack([generator.integers(space.count, size=length) for generator in generators])
        observed = np.empty((len(batch), length + 1, *self.observation_shape), self._dtype)
        usable = np.ones((len(batch), length), dtype=bool)
        observed[:, 0] = copied.reset(seed=seeds)[0]
        for step in range(length):
            seen, _, ended, cut, _ = copied.step(self._own(actions[:, step]))
            observed[:, step + 1] = seen
            if step + 1 < length:
                usable[:, step + 1] = ~(ended | cut)
        return Trajectories(observed, actions, None, seed, "uniform", usable)

    @property
    def _dtype(self) -> Any:
        return np.uint8 if len(self.observation_shape) == 3 else np.float32

    def _own(self, actions: np.ndarray) -> np.ndarray:
        """Actions as the environment takes them."""
        space = self._spaces[1]
        if hasattr(space, "n"):
            return actions + space.start
        shaped = actions.reshape(-1, *space.shape).astype(np.float64)
        own = space.low + (shaped + 1) / 2 * (space.high.astype(np.float64) - space.low)
        return np.clip(own.astype(space.dtype), space.low, space.high)


_KEPT = 6
"""Sets of trajectories that are kept: training, held-out and test ones of two seeds."""


def _shown(made: Any, name: str, part: str | None, rendered: bool) -> Any:
    """The environment with its observations in a form that a model reads, and its actions checked."""
    from gymnasium import spaces, wrappers

    actions = made.action_space
    bounded = isinstance(actions, spaces.Box) and bool(np.isfinite([actions.low, actions.high]).all())
    if not isinstance(actions, spaces.Discrete) and not bounded:
        raise ValueError(f"{name}: expected actions of a bounded Box or Discrete space, got {actions}")
    if rendered:
        made = wrappers.AddRenderObservation(made, render_only=True)
    if part is not None:
        parts = list(made.observation_space) if isinstance(made.observation_space, spaces.Dict) else []
        if part not in parts:
            raise ValueError(f"{name}: expected part among {parts or 'no parts: observations are one'}, got {part!r}")
        chosen = made.observation_space[part]
        made = wrappers.TransformObservation(made, lambda observed: observed[part], chosen)
    seen = made.observation_space
    if isinstance(seen, spaces.Box) and seen.dtype == np.uint8 and len(seen.shape) == 3:
        return made
    if not seen.is_np_flattenable:
        raise ValueError(f"{name}: expected observations that can be flattened to a vector, got {seen}")
    return wrappers.FlattenObservation(made)


def _joined(*parts: Trajectories) -> Trajectories:
    def every(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return replace(parts[0], observations=every("observations"), actions=every("actions"), usable=every("usable"))


def _first(trajectories: Trajectories, stop: int, start: int = 0) -> Trajectories:
    chosen = slice(start, stop)
    assert trajectories.usable is not None
    return replace(
        trajectories,
        observations=trajectories.observations[chosen],
        actions=trajectories.actions[chosen],
        usable=trajectories.usable[chosen],
    )


def _watched(batches: Sequence[int], name: str) -> Iterator[int]:
    """Go through batches, with a progress bar on the terminal once that has taken some seconds."""
    from rich.console import Console
    from rich.progress import Progress

    started, bar = time.monotonic(), Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(f"collecting {name}", total=len(batches))
    try:
        for batch in batches:
            yield batch
            bar.advance(task)
            if not bar.live.is_started and bar.console.is_terminal and time.monotonic() - started > _PATIENCE:
                bar.start()
    finally:
        bar.stop()


_PATIENCE = 3.0
"""Seconds of silence."""

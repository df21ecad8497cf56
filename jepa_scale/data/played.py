"""Planning in the environment that a recording comes from, towards observations of episodes that nobody trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jepa_scale.data.agreement import check_agreement
from jepa_scale.data.rows import RowSource, Selected, is_mapped
from jepa_scale.records import Episodes
from jepa_scale.worlds.environments import goals as sources
from jepa_scale.worlds.environments.copies import Copy
from jepa_scale.worlds.environments.goals import EnvironmentTasks, Goal
from jepa_scale.worlds.gymnasium_env import GymnasiumEnv

FEWEST_GOALS = 8
"""Fewest episodes that goals are drawn from."""
_SHARE = 10
"""One episode in so many is kept for goals."""


def without_goals(episodes: Episodes) -> tuple[Episodes, Episodes]:
    """Split off the last tenth of the episodes, at least 8, for goals: the rest, and these.

    They are the same for every seed of a run, so that all models of a study are tried on the same goals and none was
    trained on them.

    Raises
    ------
    ValueError
        If fewer than as many would be left.
    """
    count = len(episodes.lengths)
    goals = max(FEWEST_GOALS, count // _SHARE)
    if count < 2 * goals:
        raise ValueError(
            f"{episodes.source}: expected at least {2 * FEWEST_GOALS} episodes to keep {FEWEST_GOALS} of them for "
            f"goals, got {count}: world.play={{goals: env}} plans to the environment's own"
        )
    return _part(episodes, 0, count - goals), _part(episodes, count - goals, count)


def _part(episodes: Episodes, first: int, last: int) -> Episodes:
    start = int(episodes.offsets[first])
    stop = start + int(episodes.lengths[first:last].sum())
    observations: Any = episodes.observations
    lazy = isinstance(observations, RowSource) or is_mapped(observations)
    chosen: Any = Selected(observations, np.arange(start, stop)) if lazy else observations[start:stop]
    return replace(
        episodes,
        observations=chosen,
        actions=episodes.actions[start:stop],
        lengths=episodes.lengths[first:last],
        usable=episodes.usable[start:stop],
        states=None if episodes.states is None else episodes.states[start:stop],
    )


@dataclass(frozen=True, eq=False)
class PlayedRecording(GymnasiumEnv):
    """The environment of a recording; actions are in its own units, as they were recorded.

    ``goals=data`` shows observations of recorded episodes. With ``start_option``, the option of a reset that takes a
    recorded state, or an observation where no states were recorded, a task starts at a recorded row and its goal lies T
    of the model's steps later in the same episode, as in the protocols of DINO-WM and LeWM. Without it a task starts
    where the environment does, and how many steps its goal needs is not known.

    Raises
    ------
    ValueError
        As for any environment; if observations or actions of recording and environment differ.
    """

    goals: str = "data"
    own_units: bool = True
    start_option: str | None = None
    """Option of a reset that puts the environment into a recorded state."""
    recording: Episodes | None = None
    """Episodes that goals are drawn from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_option is not None and self.goals != "data":
            raise ValueError(f"expected start_option with goals=data, got {self.goals=}")
        if self.recording is not None:
            check_agreement(self, self.recording)

    @property
    def _source(self) -> tuple[sources.Source, str, str]:
        if self.goals != "data":
            return super()._source
        if self.start_option is not None:
            law = "starts and goals T steps apart in recorded episodes that are not trained on"
        else:
            law = "observations of recorded episodes that are not trained on; how many steps they need is not known"
        return _recorded, law, "a recorded observation"

    def budget_of(self, required: int) -> int:
        """As for goals that are reached, where the steps to a goal are known."""
        if self.goals == "data" and required and self.budget is None:
            return 2 * required + 5
        return super().budget_of(required)

    @property
    def budget_rule(self) -> str:  # type: ignore[override]
        """In words."""
        known = self.goals == "data" and self.start_option is not None and self.budget is None
        return "2 T + 5" if known else super().budget_rule

    def tasks(self, required_steps: Sequence[int], each: int, seed: int) -> EnvironmentTasks:
        """As for any environment, of one difficulty, 0, where starts are not recorded."""
        if self.goals == "data" and self.start_option is not None:
            return self.drawn(tuple(required_steps), each, seed)
        return super().tasks(required_steps, each, seed)


def _recorded(world: GymnasiumEnv, copy: Copy, steps: int, number: int, seed: int) -> Goal:
    """A recorded observation, ``steps`` steps after the start where that is recorded too."""
    assert isinstance(world, PlayedRecording)
    recording = world.recording
    assert recording is not None
    generator = np.random.default_rng([seed, steps, number])
    reset, options = int(generator.integers(2**31)), dict(world.reset_with(number) or {})
    long = np.flatnonzero(recording.lengths > steps)
    if not len(long):
        raise ValueError(
            f"{recording.source}: expected episodes of more than {steps} steps to draw goals from, got "
            f"{recording.lengths.max() - 1} at most: lower evaluation.required_steps"
        )
    episode = int(generator.choice(long))
    first = int(recording.offsets[episode] + generator.integers(recording.lengths[episode] - steps))
    if world.start_option is not None:
        held: Any = recording.observations if recording.states is None else recording.states
        options[world.start_option] = np.asarray(held[first : first + 1][0], dtype=np.float64)
    copy.reset(reset, options or None)
    view = np.asarray(recording.observations[first + steps : first + steps + 1][0])
    if world.start_option is not None:
        _check_start(world, copy, np.asarray(recording.observations[first : first + 1][0]), first)
    start = copy.position(world.coordinates)
    position = view if world.coordinates is None else view[list(world.coordinates)]
    return Goal(reset, options or None, start, position.astype(np.float32), view, False)


def _check_start(world: PlayedRecording, copy: Copy, recorded: np.ndarray, row: int) -> None:
    seen = copy.seen.astype(np.float64)
    size = np.abs(recorded.astype(np.float64)).mean() + 1e-9
    if np.abs(seen - recorded).mean() > _CLOSE * size:
        raise ValueError(
            f"{world.environment}: expected reset(options={{{world.start_option!r}: …}}) to show the recorded "
            f"observation of row {row}, got one that is {np.abs(seen - recorded).mean():.3g} away on average: "
            "world.play={start_option: null} starts where the environment does"
        )


_CLOSE = 0.05
"""Mean difference of observations at a start, as a share of their mean size, beyond which it is another state."""

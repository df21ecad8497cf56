"""Any Gymnasium environment: data collected in it, and tasks that are planned in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from jepa_scale.records import ActionSpace, Trajectories
from jepa_scale.worlds.arena import Arena
from jepa_scale.worlds.base import check_sizes
from jepa_scale.worlds.behaviour import Behaviour, Uniform
from jepa_scale.worlds.environments import goals as sources
from jepa_scale.worlds.environments.collect import Actor, Collected, actor
from jepa_scale.worlds.environments.copies import Copy
from jepa_scale.worlds.environments.episodes import CopiedEpisodes, Saved, looked_ahead
from jepa_scale.worlds.environments.identity import identity_of
from jepa_scale.worlds.environments.states import States, states_of
from jepa_scale.worlds.environments.success import SuccessRule
from jepa_scale.worlds.environments.units import Units
from jepa_scale.worlds.environments.views import View
from jepa_scale.worlds.environments.watch import patience, tried
from jepa_scale.worlds.gymnasium_make import make

_COPIES = 16
"""Copies side by side, unless asked."""
Goals = Literal["reachable", "env", "given"]
Success = Literal["auto", "environment", "distance"]


# Compared by identity: options cannot be hashed, and a process builds each world once.
@dataclass(frozen=True, eq=False)
class GymnasiumEnv(Arena):
    """An environment in which data are collected and, by planning again and again on what it shows, goals are reached.

    Trajectory i is reset with a seed of its own and plays on through the ends of episodes; a step that only restarts is
    marked not usable. Continuous actions are numbers in [−1, 1] that stand for each coordinate's own range; discrete
    ones count from 0. Images (bytes with three axes) are observed as they are, anything else as one flat vector; of
    observations with ``desired_goal``, ``observation`` alone. Collected trajectories are kept in memory and on disk
    (``$JEPA_SCALE_CACHE``), and only what is missing is collected. Frames that OpenGL renders can differ from one
    process to the next: the run's record holds their checksum, a recording fixes them.

    Planning needs no more than resets by a seed. Where a state can be saved and loaded (MuJoCo, pymunk, classic
    control, whatever can be copied), ``oracle`` compares with the same planner on the true dynamics; elsewhere regret
    is measured against an ``expert`` or against success on every task, and says so.

    Raises
    ------
    ValueError
        If gymnasium is absent, the environment unknown, or its actions are of another kind, unbounded, or its
        observations cannot be flattened; if a setting is out of range, or an oracle is asked for where no state can be
        loaded. When trajectories are collected: if the same seed does not give the same ones.
    """

    environment: str = "Pendulum-v1"
    """Its id; ``package:id`` where a package has to be imported for it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the environment."""
    reset_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of every reset, such as OGBench's ``{task_id: 1}``."""
    part: str | None = None
    """Which part of a dictionary of observations; None: all of them."""
    rendered: bool = False
    """Whether to observe the frames that it renders in place of its observations; their size is its own option."""
    at_once: int | None = None
    """Copies of the environment that are stepped side by side; no number depends on it. None: 16, or 1 of rendered
    frames, as many renderers draw differently in each copy."""
    frameskip: int = 1
    """Steps of the environment in one step of the model."""
    repeat_action: bool = False
    """Whether one action is repeated for all of them; otherwise the model's action holds one for each."""
    own_units: bool = False
    """Whether continuous actions are in the environment's units, as in recordings of it."""
    behaviour: Behaviour = field(default_factory=Uniform)
    """Policy that collects data."""
    goals: str = "reachable"
    """``reachable``: what the behaviour policy sees after T steps; ``env``: the environment's; ``given``: ``goal``."""
    goal: Sequence[float] | None = None
    """The observation to reach, with ``goals=given``."""
    success: Success = "auto"
    """``environment``: what its info says; ``distance``: positions within ``tolerance``; ``auto``: the first for its
    own goals, else the second."""
    success_key: str | None = None
    """Name of the success in its info; None: ``success`` or ``is_success``."""
    success_reward: float | None = None
    """Reward of a step from which it counts as success, in place of the info."""
    coordinates: Sequence[int] | None = None
    """Which observed coordinates are the position; None: what was achieved, where it says so, else all of them."""
    tolerance: float | None = None
    """Distance of positions at which a goal is reached; None: 0.3 of how far 10 steps of the behaviour policy carry,
    in each coordinate's own measure."""
    budget: int | None = None
    """Steps of the model in an episode; None: 2 T + 5, or the environment's own limit."""
    oracle: bool = False
    """Whether to compare with planning on the true dynamics: iterations × candidates × H steps for each step of a task,
    once for all models."""
    expert: Any = None
    """A policy that is called with (observation, generator) and returns an action, whose success regret refers to."""
    normalise: bool = True
    """Whether vectors and continuous actions are standardised by the training transitions."""
    store: bool = True
    """Whether collected data are kept on disk."""
    patience: float = 60.0
    """Seconds that a step or reset may take."""

    default_required_steps = (5, 10, 20)
    default_same_cost = 0

    def __post_init__(self) -> None:
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"expected at least one copy of the environment, got at_once={self.at_once}")
        if self.frameskip < 1:
            raise ValueError(f"expected frameskip ≥ 1, got frameskip={self.frameskip}")
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"expected budget ≥ 1 or null, got {self.budget=}")
        if not self.patience > 0:
            raise ValueError(f"expected patience > 0 seconds, got {self.patience=}")
        if isinstance(self.behaviour, str) or not isinstance(self.behaviour, Behaviour):
            raise ValueError(
                "expected a behaviour such as {_target_: jepa_scale.worlds.behaviour.Held}; put a policy of your own "
                f"into Scripted, got {type(self.behaviour).__name__}"
            )
        if self.expert is not None and not callable(self.expert):
            raise ValueError(f"expected an expert to be called, got {type(self.expert).__name__}")
        if (self.goal is None) == (self.goals == "given"):
            raise ValueError(f"expected world.goal with world.goals=given alone, got {self.goals=}, {self.goal=}")
        if self.success not in get_args(Success):
            raise ValueError(f"expected success from {', '.join(get_args(Success))}, got {self.success!r}")
        _ = self.units, self._source, self.rule
        if self.oracle and self.saved_states is None:
            raise ValueError(
                f"{self.environment}: expected an environment whose state can be saved and loaded to look ahead with, "
                "got one that went on differently each time: world.oracle=false, or name an expert"
            )

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(D,) of vectors, (H, W, C) of images."""
        return self.view.shape

    @property
    def action_space(self) -> ActionSpace:
        """One of n, or [−1, 1]^size."""
        return self.units.whole

    @cached_property
    def view(self) -> View:
        """What of its observations is seen."""
        return self._spaces[0]

    @cached_property
    def units(self) -> Units:
        """How actions are told to it."""
        return self._spaces[1]

    @cached_property
    def _spaces(self) -> tuple[View, Units, int | None]:
        made = self._made()
        try:
            frame = None
            with patience(self.environment, self.patience):
                # Some know their spaces only then.
                tried(self.environment, "reset", lambda: made.reset(seed=0))
                if self.rendered:
                    frame = tuple(np.shape(tried(self.environment, "rendering", made.render)))
            view = View(self.environment, made.observation_space, self.part, frame)
            units = Units(self.environment, made.action_space, self.frameskip, self.repeat_action, self.own_units)
            return view, units, getattr(made.spec, "max_episode_steps", None)
        finally:
            made.close()

    def _made(self) -> Any:
        options = {"render_mode": "rgb_array", **self.options} if self.rendered else self.options
        return make("gymnasium", self.environment, options, "Pendulum-v1")

    @cached_property
    def _pool(self) -> list[Copy]:
        return []

    def copies(self, count: int) -> list[Copy]:
        """That many copies, made once for the life of the world."""
        while len(self._pool) < count:
            self._pool.append(Copy(self._made(), self.view))
        return self._pool[:count]

    @cached_property
    def aside(self) -> Copy:
        """A copy to draw tasks and measure in, while episodes go on in others."""
        return Copy(self._made(), self.view)

    @cached_property
    def _ahead(self) -> Copy:
        """A copy to look ahead in, apart from those whose episodes go on."""
        return Copy(self._made(), self.view)

    # Data.

    def sample(self, trajectories: int, length: int, seed: int) -> Trajectories:
        """Draw trajectories of ``length`` transitions under the behaviour policy.

        Fewer trajectories from the same seed are a prefix of more.

        Raises
        ------
        ValueError
            If a size is below 1, the trajectories would not fit into memory, or the environment is not reproducible.
        """
        check_sizes(trajectories, length, math.prod(self.observation_shape) * np.dtype(self.view.dtype).itemsize)
        return self._collected.sample(trajectories, length, seed)

    @cached_property
    def _collected(self) -> Collected:
        return Collected(self)

    def actor(self, steps: int, generator: np.random.Generator) -> Actor:
        """Begin a trajectory of the behaviour policy."""
        return actor(self, steps, generator)

    # Tasks.

    @property
    def most_at_once(self) -> int:  # type: ignore[override]
        """As many as there are copies."""
        return self.at_once or (1 if self.rendered else _COPIES)

    @property
    def knows_dynamics(self) -> bool:  # type: ignore[override]
        """If asked for."""
        return self.oracle

    @property
    def has_expert(self) -> bool:  # type: ignore[override]
        """If one is given."""
        return self.expert is not None

    @cached_property
    def saved_states(self) -> States | None:
        """How states are saved and loaded, if they are needed and can be."""
        if not self.oracle:
            return None
        with patience(self.environment, self.patience):
            return states_of(lambda: Copy(self._made(), self.view), lambda drawn: self.units.actions(self._any(drawn)))

    def _any(self, generator: np.random.Generator) -> Any:
        return self.units.joined([self.units.random(generator) for _ in range(self.units.apart)])

    @property
    def _source(self) -> tuple[sources.Source, str, str]:
        if self.goals not in sources.SOURCES:
            raise ValueError(f"expected goals from {', '.join(sources.SOURCES)}, got {self.goals!r}")
        return sources.SOURCES[self.goals]

    @property
    def goal_law(self) -> str:  # type: ignore[override]
        """By the source of goals."""
        return self._source[1].format(behaviour=f"the behaviour policy ({self.behaviour.name})")

    @property
    def goal_source(self) -> str:  # type: ignore[override]
        """By the source of goals."""
        return self._source[2]

    @property
    def budget_rule(self) -> str:  # type: ignore[override]
        """In words."""
        return "2 T + 5" if self.budget is None and self.goals == "reachable" else str(self.budget_of(0))

    def budget_of(self, required: int) -> int:
        """Steps of the model in an episode that requires so many."""
        limit = self._spaces[2]
        if self.budget is not None:
            return self.budget
        if self.goals == "reachable":
            return 2 * required + 5
        if limit is None:
            raise ValueError(
                f"{self.environment}: expected world.budget, as it sets no limit to its episodes, got none"
            )
        return -(-limit // self.frameskip)

    def reset_with(self, number: int) -> Mapping[str, Any] | None:
        """Options of the reset of a task; OGBench's own tasks take turns."""
        options = dict(self.reset_options)
        tasks = getattr(self.aside.made.unwrapped, "num_tasks", None)
        if self.goals == "env" and isinstance(tasks, int) and tasks > 0:
            options.setdefault("task_id", 1 + number % tasks)
        return options or None

    @cached_property
    def places_of_achieved(self) -> list[int]:
        """Observed coordinates that say what was achieved, where goals are given by those alone."""
        return sources.places_of_achieved(self, Copy(self._made(), self.view))

    def tasks(self, required_steps: Sequence[int], each: int, seed: int) -> sources.EnvironmentTasks:
        """Draw tasks by resetting the environment; where required steps are unknown there is one difficulty, 0.

        Raises
        ------
        ValueError
            If the environment shows no goal, or its episodes are shorter than what is required.
        """
        required = tuple(required_steps) if self.goals == "reachable" else (0,)
        return self.drawn(required, each, seed)

    def drawn(self, required: Sequence[int], each: int, seed: int) -> sources.EnvironmentTasks:
        """Draw tasks, and try success and the expert for a step: what they lack is told before anything is trained.

        Raises
        ------
        ValueError
            As ``tasks``; if the environment does not tell success, or the expert returns an action of another shape.
        """
        tasks = sources.drawn(self, self.aside, self._source[0], required, each, seed)
        with patience(self.environment, self.patience):
            self.aside.reset(tasks.seeds[0], tasks.options[0])
            if self.expert is not None:
                self.expert_action(self.aside)
            self.aside.step(self.units.actions(self._any(np.random.default_rng(0))))
            self.rule.at_goal(self.aside, tasks.goals[0].numpy())
        return tasks

    @cached_property
    def rule(self) -> SuccessRule:
        """When an episode is at its goal."""
        return SuccessRule(self)

    @property
    def goal_rule(self) -> str:  # type: ignore[override]
        """In words."""
        return self.rule.words

    def solved(self, tasks: Any) -> Tensor:
        """By its info at the reset, or by distance."""
        return self.rule.solved(tasks)

    def goal_views(self, tasks: Any, normals: Tensor) -> Tensor:
        """As they were drawn."""
        del normals
        return tasks.views

    def begin(self, tasks: Any, chosen: Tensor, generator: torch.Generator) -> CopiedEpisodes:
        """Reset one copy for each."""
        del generator  # an environment draws by the seeds of its resets
        return CopiedEpisodes(self, tasks, chosen)

    def random_actions(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform over the action space."""
        space = self.action_space
        if space.count is not None:
            return torch.randint(space.count, (count,), generator=generator)
        return space.low + (space.high - space.low) * torch.rand(count, space.size, generator=generator)

    def expert_actions(self, episodes: Any, active: Tensor) -> Tensor:
        """Of every active task."""
        return episodes.expert(active)

    def expert_action(self, copy: Copy) -> Any:
        """What the expert does, as an action of the model: the same for each step of it.

        Raises
        ------
        ValueError
            If it returns an action of another shape.
        """
        generator = np.random.default_rng([copy.steps])
        action = self.units.given(self.expert(copy.observed, generator))
        return self.units.joined([action] * self.units.apart)

    def true_distances(
        self, states: Sequence[Saved], plans: Tensor, tasks: Any, active: Tensor, every_step: bool
    ) -> Tensor:
        """In a copy of its own."""
        goals = tasks.goals.numpy()

        def far(copy: Copy, state: Saved) -> Any:
            return np.float32(self.rule.distances(copy.position(self.coordinates), goals[state.number]))

        return looked_ahead(self, self._ahead, states, plans, every_step, far)

    def true_views(self, states: Sequence[Saved], plans: Tensor, every_step: bool, normals: Tensor) -> Tensor:
        """In a copy of its own."""
        del normals
        return looked_ahead(self, self._ahead, states, plans, every_step, lambda copy, state: copy.seen)

    @cached_property
    def identity(self) -> Mapping[str, Any] | None:  # type: ignore[override]
        """Settings, versions and files that its numbers depend on; None if code of the user's has a part in it."""
        return identity_of(self) if self.store else None

"""Worlds with a simulator: states that are stepped in batches, observed, and planned towards."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepa_scale.records import Trajectories
from jepa_scale.worlds.arena import Arena, Episodes, Tasks
from jepa_scale.worlds.base import check_sizes


@dataclass
class SimulatedEpisodes(Episodes):
    """Episodes of a simulator: a table of states, and a generator that is drawn from for all tasks at every step."""

    world: Simulator
    tasks: Tasks
    generator: torch.Generator

    def __post_init__(self) -> None:
        self._states = self.tasks.starts.clone()

    def observe(self, active: Tensor) -> Tensor:
        """With fresh noise."""
        views = torch.randn(len(self.tasks), self.world.view_numbers, generator=self.generator)
        return self.world.observe(self._states[active], views[active])

    def states(self, active: Tensor) -> Tensor:
        """(b, S)"""
        return self._states[active]

    def step(self, active: Tensor, actions: Tensor) -> None:
        """With fresh noise."""
        moves = torch.randn(len(self.tasks), self.world.step_numbers, generator=self.generator)
        self._states[active] = self.world.step(self._states[active], actions, moves[active])

    def inside(self, active: Tensor) -> Tensor:
        """By distance."""
        return self.world.distance(self._states[active], self.tasks.goals[active]) <= self.world.tolerance


class Simulator(Arena):
    """A world whose state can be set, stepped and observed, many at a time.

    All randomness comes in from outside, as uniform or normal numbers of a stated count for each row, so that the same
    numbers give the same episodes whatever else is computed, and fewer trajectories are a prefix of more.
    """

    state_size: int
    """S"""
    start_numbers: int
    """Uniform numbers that a start state takes."""
    step_numbers: int = 0
    """Normal numbers that a step takes."""
    tolerance: float
    """A state is at its goal if ``distance`` is at most this."""

    @abstractmethod
    def start(self, uniforms: Tensor) -> Tensor:
        """(B, start_numbers) → (B, S), the law from which trajectories start."""

    @abstractmethod
    def step(self, states: Tensor, actions: Tensor, normals: Tensor) -> Tensor:
        """(…, S), (…, size), (…, step_numbers) → (…, S)"""

    @abstractmethod
    def observe(self, states: Tensor, normals: Tensor) -> Tensor:
        """(B, S), (B, view_numbers) → (B, *shape)"""

    @abstractmethod
    def position(self, states: Tensor) -> Tensor:
        """(…, S) → (…, P), the coordinates that decide whether a goal is reached."""

    def goal_view(self, goals: Tensor, normals: Tensor) -> Tensor:
        """The observation of a goal that a planner is given: (B, S), (B, view_numbers) → (B, *shape)"""
        return self.observe(goals, normals)

    def distance(self, states: Tensor, goals: Tensor) -> Tensor:
        """(…, S), (…, S) → (…,) Euclidean distance of positions."""
        return (self.position(states) - self.position(goals)).norm(dim=-1)

    def solved(self, tasks: Tasks) -> Tensor:
        """By distance."""
        return self.distance(tasks.starts, tasks.goals) <= self.tolerance

    def goal_views(self, tasks: Tasks, normals: Tensor) -> Tensor:
        """As ``goal_view``."""
        return self.goal_view(tasks.goals, normals)

    def begin(self, tasks: Tasks, chosen: Tensor, generator: torch.Generator) -> SimulatedEpisodes:
        """From the starts."""
        del chosen  # states of all tasks are held, only active ones are stepped
        return SimulatedEpisodes(self, tasks, generator)

    def random_actions(self, count: int, generator: torch.Generator) -> Tensor:
        """As the behaviour policy draws them."""
        return self.behave(torch.rand(count, 1, self.action_space.size, generator=generator))[:, 0]

    def true_distances(self, states: Tensor, plans: Tensor, tasks: Tasks, active: Tensor, every_step: bool) -> Tensor:
        """Of simulated states, without step noise."""
        return self.distance(self._simulate(states, plans, every_step), tasks.goals[active, None, None])

    def true_views(self, states: Tensor, plans: Tensor, every_step: bool, normals: Tensor) -> Tensor:
        """Of simulated states, all candidates of a task with the same noise."""
        reached = self._simulate(states, plans, every_step)
        spread = normals[:, None, None].expand(*reached.shape[:3], -1)
        return self.observe(reached.flatten(0, 2), spread.flatten(0, 2)).unflatten(0, reached.shape[:3])

    def _simulate(self, states: Tensor, plans: Tensor, every_step: bool) -> Tensor:
        """Simulate states along each plan, or only its last one, without step noise.

        (b, S), (b, candidates, H, size) → (b, candidates, H or 1, S)
        """
        reached = [states[:, None].expand(-1, plans.shape[1], -1)]
        still = plans.new_zeros(*plans.shape[:2], self.step_numbers)
        for action in plans.unbind(2):
            reached.append(self.step(reached[-1], action, still))
        return torch.stack(reached[1:] if every_step else reached[-1:], dim=2)

    def behave(self, uniforms: Tensor) -> Tensor:
        """(E, T, size) → actions of the behaviour policy; uniform over the action space unless overridden."""
        space = self.action_space
        return space.low + (space.high - space.low) * uniforms

    @property
    def policy_name(self) -> str:
        """Name of the behaviour policy."""
        return "uniform"

    def sample(self, trajectories: int, length: int, seed: int) -> Trajectories:
        """Draw trajectories of ``length`` transitions under the behaviour policy.

        Fewer trajectories from the same seed are a prefix of more.

        Raises
        ------
        ValueError
            If a size is below 1, or the trajectories would not fit into memory.
        """
        shape = self.observation_shape
        # Images are bytes; states and actions are float32.
        observed_bytes = math.prod(shape) * (1 if len(shape) == 3 else 4)
        check_sizes(trajectories, length, observed_bytes + 4 * (self.state_size + self.action_space.size))
        streams = [np.random.default_rng([seed, stream]) for stream in range(4)]
        uniforms = _float(streams[0].random((trajectories, self.start_numbers)))
        acting = _float(streams[1].random((trajectories, length, self.action_space.size)))
        actions = self.behave(acting)
        moves = _float(streams[2].standard_normal((trajectories, length, self.step_numbers)))
        states = [self.start(uniforms)]
        for step in range(length):
            states.append(self.step(states[-1], actions[:, step], moves[:, step]))
        visited = torch.stack(states, dim=1)
        observed = self._observed(visited, streams[3])
        return Trajectories(observed, actions.numpy(), visited.numpy(), seed, self.policy_name)

    def _observed(self, visited: Tensor, generator: np.random.Generator) -> np.ndarray:
        """Observations of (E, T+1, S) states, in blocks, so that an image is never held as floats for all of them."""
        rows = visited.flatten(0, 1)
        parts = []
        for block in rows.split(_BLOCK):
            parts.append(self.observe(block, _float(generator.standard_normal((len(block), self.view_numbers)))))
        return torch.cat(parts).unflatten(0, visited.shape[:2]).numpy()


def _float(numbers: np.ndarray) -> Tensor:
    return torch.from_numpy(numbers.astype(np.float32))


_BLOCK = 512
"""Rows observed at a time: the floats behind as many images of 64 × 64 stay in the cache."""

"""Worlds with a simulator: states that are stepped in batches, observed, and planned towards."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepa_scale.records import Trajectories
from jepa_scale.worlds.base import SampledWorld, check_sizes


@dataclass(frozen=True)
class Tasks:
    """Start and goal states, each with a budget of steps."""

    starts: Tensor
    """(B, S)"""
    goals: Tensor
    """(B, S)"""
    required_steps: Tensor
    """(B,) steps that the fastest plan needs, as the world counts them."""
    budgets: Tensor
    """(B,) steps after which a task has failed."""
    levels: tuple[int, ...]
    """Values of ``required_steps``, in order."""

    def __len__(self) -> int:
        return len(self.starts)


class Simulator(SampledWorld):
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
    view_numbers: int = 0
    """Normal numbers that an observation takes."""
    tolerance: float
    """A state is at its goal if ``distance`` is at most this."""
    default_required_steps: tuple[int, ...]
    """Difficulties of tasks, unless others are asked for."""
    goal_law: str
    """In words, where goals of ``required_steps`` T are drawn."""
    budget_rule: str
    """In words, the budget of steps of a task that requires T."""
    goal_noise: float = 0.0
    """Standard deviation of the noise in the observation of a goal that a planner is given."""

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
    def tasks(self, required_steps: Sequence[int], each: int, seed: int) -> Tasks:
        """Draw ``each`` tasks of every difficulty, ordered by difficulty."""

    @abstractmethod
    def position(self, states: Tensor) -> Tensor:
        """(…, S) → (…, P), the coordinates that decide whether a goal is reached."""

    def goal_view(self, goals: Tensor, normals: Tensor) -> Tensor:
        """The observation of a goal that a planner is given: (B, S), (B, view_numbers) → (B, *shape)"""
        return self.observe(goals, normals)

    def distance(self, states: Tensor, goals: Tensor) -> Tensor:
        """(…, S), (…, S) → (…,) Euclidean distance of positions."""
        return (self.position(states) - self.position(goals)).norm(dim=-1)

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

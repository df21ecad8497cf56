"""Worlds with tasks: starts, goals and budgets, episodes towards them, and what true dynamics would do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jepa_scale.worlds.base import SampledWorld


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


class Episodes(ABC):
    """Episodes of some tasks, side by side, each stepped until it ends.

    ``active`` are numbers of tasks, (b,), as in the ``Tasks`` that they were begun with.
    """

    @abstractmethod
    def observe(self, active: Tensor) -> Tensor:
        """What is seen now: (b, *shape)."""

    @abstractmethod
    def states(self, active: Tensor) -> Any:
        """Where they are, as ``true_distances`` and ``true_views`` of the world take it; None if that is unknown."""

    @abstractmethod
    def step(self, active: Tensor, actions: Tensor) -> None:
        """Take one action in each: (b, size), or integers (b,)."""

    @abstractmethod
    def inside(self, active: Tensor) -> Tensor:
        """(b,) whether each is at its goal."""

    def over(self, active: Tensor) -> Tensor:
        """(b,) whether each was ended by the world; none unless overridden."""
        return torch.zeros(len(active), dtype=torch.bool)


class Arena(SampledWorld):
    """A world in which tasks can be tried.

    All randomness comes in from outside, so that a task's outcome does not depend on who else is tried.
    """

    tolerance: float | None
    """A state is at its goal if ``distance`` is at most this; None where the world decides in another way."""
    default_required_steps: tuple[int, ...]
    """Difficulties of tasks, unless others are asked for."""
    goal_law: str
    """In words, where goals of ``required_steps`` T are drawn."""
    goal_source: str = "a state that the world draws, as it would be observed"
    """In words, what the planner is shown of a goal."""
    goal_rule: str = ""
    """In words, when a goal is reached, if not within the tolerance of it."""
    budget_rule: str
    """In words, the budget of steps of a task that requires T."""
    goal_noise: float = 0.0
    """Standard deviation of the noise in the observation of a goal that a planner is given."""
    view_numbers: int = 0
    """Normal numbers that an observation takes."""
    most_at_once: int | None = None
    """Largest number of tasks that are tried side by side; None: all."""
    knows_dynamics: bool = True
    """Whether true dynamics can be looked ahead with, which the reference planners need."""
    has_expert: bool = False
    """Whether a policy is given whose success regret is measured against where no dynamics are known."""
    identity: Mapping[str, Any] | None = None
    """Everything that outcomes of policies depend on, in a world that is slow to step: they are kept on disk by it."""
    default_same_cost: int | None = None
    """Tasks of each difficulty on which true dynamics are ranked by a model's distances, unless asked; None: all."""

    @property
    def task_world(self) -> Arena:
        """Itself."""
        return self

    @abstractmethod
    def tasks(self, required_steps: Sequence[int], each: int, seed: int) -> Tasks:
        """Draw ``each`` tasks of every difficulty, ordered by difficulty."""

    @abstractmethod
    def solved(self, tasks: Tasks) -> Tensor:
        """(B,) whether each start already lies at its goal."""

    @abstractmethod
    def goal_views(self, tasks: Tasks, normals: Tensor) -> Tensor:
        """Observations of the goals that a planner is given: normals (B, view_numbers) → (B, *shape)."""

    @abstractmethod
    def begin(self, tasks: Tasks, chosen: Tensor, generator: torch.Generator) -> Episodes:
        """Begin the episodes of the tasks ``chosen``; ``generator`` is drawn from for all tasks, chosen or not."""

    @abstractmethod
    def random_actions(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniformly random actions, (count, size) or integers (count,)."""

    def expert_actions(self, episodes: Any, active: Tensor) -> Tensor:
        """What the expert does now: (b, size), or integers (b,)."""
        raise NotImplementedError(f"{type(self).__name__} has no expert")

    def no_action(self) -> Tensor | None:
        """The action that does nothing, (size,) or (): 0 or the one nearest to it; None where there is none."""
        space = self.action_space
        return None if space.discrete else torch.zeros(space.size).clamp(space.low, space.high)

    @abstractmethod
    def true_distances(self, states: Any, plans: Tensor, tasks: Tasks, active: Tensor, every_step: bool) -> Tensor:
        """Distances from the goals along plans under the true dynamics.

        (b, candidates, H, …) → (b, candidates, H or 1)
        """

    @abstractmethod
    def true_views(self, states: Any, plans: Tensor, every_step: bool, normals: Tensor) -> Tensor:
        """Observations along plans under the true dynamics.

        (b, candidates, H, …), normals (b, view_numbers) → (b, candidates, H or 1, *shape)
        """

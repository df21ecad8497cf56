"""Episodes of tasks in copies of an environment, and looking ahead with its true dynamics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jepa_scale.worlds.arena import Episodes
from jepa_scale.worlds.environments.copies import Copy
from jepa_scale.worlds.environments.goals import EnvironmentTasks
from jepa_scale.worlds.environments.watch import patience

if TYPE_CHECKING:
    from jepa_scale.worlds.gymnasium_env import GymnasiumEnv


class CopiedEpisodes(Episodes):
    """One copy for each task that was chosen."""

    def __init__(self, world: GymnasiumEnv, tasks: EnvironmentTasks, chosen: Tensor) -> None:
        self.world, self.tasks = world, tasks
        copies = world.copies(len(chosen))
        self._copies = dict(zip(chosen.tolist(), copies, strict=True))
        with patience(world.environment, world.patience) as go_on:
            for number, copy in self._copies.items():
                go_on()
                copy.reset(tasks.seeds[number], tasks.options[number])

    def observe(self, active: Tensor) -> Tensor:
        """As the model sees them."""
        return torch.as_tensor(np.stack([self._copies[number].seen for number in active.tolist()]))

    def states(self, active: Tensor) -> list[Saved] | None:
        """Saved states, where the world looks ahead."""
        saved = self.world.saved_states
        if saved is None:
            return None
        return [Saved(number, saved.save(self._copies[number]), self.tasks) for number in active.tolist()]

    def step(self, active: Tensor, actions: Tensor) -> None:
        """One of the model's steps in each."""
        with patience(self.world.environment, self.world.patience) as go_on:
            for number, action in zip(active.tolist(), actions.numpy(), strict=True):
                go_on()
                self._copies[number].step(self.world.units.actions(action))

    def inside(self, active: Tensor) -> Tensor:
        """As the world's success says."""
        goals = self.tasks.goals.numpy()
        there = [self.world.rule.at_goal(self._copies[number], goals[number]) for number in active.tolist()]
        return torch.tensor(there, dtype=torch.bool)

    def over(self, active: Tensor) -> Tensor:
        """Terminated or truncated."""
        return torch.tensor([self._copies[number].over for number in active.tolist()])

    def expert(self, active: Tensor) -> Tensor:
        """Actions of the world's expert."""
        return torch.as_tensor(np.stack([self.world.expert_action(self._copies[number]) for number in active.tolist()]))


@dataclass(frozen=True)
class Saved:
    """A state of the episode of one task."""

    number: int
    state: Any
    tasks: EnvironmentTasks


def looked_ahead(
    world: GymnasiumEnv,
    copy: Copy,
    states: Sequence[Saved],
    plans: Tensor,
    every_step: bool,
    read: Callable[[Copy, Saved], Any],
) -> Tensor:
    """Play every plan from every state in one copy: (b, candidates, H, …) → (b, candidates, H or 1, …) of ``read``.

    A plan that the environment ends stays where it ended.
    """
    saved = world.saved_states
    assert saved is not None
    rows = []
    with patience(world.environment, world.patience) as go_on:
        for state, candidates in zip(states, plans.numpy(), strict=True):
            # What a reset draws, such as a maze, is no part of a state.
            copy.reset(state.tasks.seeds[state.number], state.tasks.options[state.number])
            for plan in candidates:
                go_on()
                saved.load(copy, state.state)
                copy.over = False
                path = []
                for place, action in enumerate(plan):
                    copy.step(world.units.actions(action))
                    if every_step or place + 1 == len(plan):
                        path.append(read(copy, state))
                rows.append(np.stack(path))
    whole = np.stack(rows)
    return torch.as_tensor(whole.reshape(len(states), -1, *whole.shape[1:]))

"""When an episode in an environment is at its goal."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jepa_scale.worlds.environments.copies import Copy
from jepa_scale.worlds.environments.watch import patience

if TYPE_CHECKING:
    from jepa_scale.worlds.gymnasium_env import GymnasiumEnv

_KEYS = ("success", "is_success")
_SHARE = 0.3
_EPISODES, _STEPS = 64, 10
"""Episodes, and steps of each, from which typical displacements are taken."""


class SuccessRule:
    """The rule of a world: what the environment says, or a distance of positions.

    Raises
    ------
    ValueError
        If settings of one rule are given with the other, are out of range, or the environment's success is of another
        goal than the one that is planned for.
    """

    def __init__(self, world: GymnasiumEnv) -> None:
        self.world = world
        settings = {
            name: getattr(world, name) for name in ("success_key", "success_reward", "coordinates", "tolerance")
        }
        own = [name for name in ("success_key", "success_reward") if settings[name] is not None]
        self.by_environment = world.success == "environment" or (
            world.success == "auto" and (world.goals == "env" or bool(own))
        )
        if not self.by_environment and own:
            raise ValueError(f"expected {own[0]} with success=environment, got success={world.success!r}")
        if self.by_environment and world.goals == "reachable":
            raise ValueError(
                "expected success=distance with goals=reachable, as the environment's success is of its own goal, got "
                f"success={world.success!r}{f' and {own[0]}' if own else ''}: or goals=env, or goals=given"
            )
        if self.by_environment and world.tolerance is not None:
            raise ValueError("expected world.tolerance=null with success=environment, which measures no distance")
        if world.tolerance is not None and not 0 < world.tolerance < math.inf:
            raise ValueError(f"expected tolerance > 0, got {world.tolerance=}")
        size = world.view.positions if world.coordinates is not None else 1
        if world.coordinates is not None and not all(0 <= place < size for place in world.coordinates or [-1]):
            raise ValueError(f"expected coordinates from 0 to {size - 1}, got coordinates={list(world.coordinates)}")

    @cached_property
    def scale(self) -> np.ndarray:
        """(P,) units of the coordinates of positions: how far 10 steps of the behaviour policy carry, as a root mean
        square; 1 with a tolerance, or where the environment measures what was achieved."""
        copy = self.world.aside
        if self.world.tolerance is not None or (self.by_environment and self.world.view.with_goals):
            copy.reset(0, self.world.reset_with(0))
            return np.ones(len(copy.position(self.world.coordinates)), np.float32)
        moved = []
        with patience(self.world.environment, self.world.patience) as go_on:
            for number in range(_EPISODES):
                go_on()
                generator = np.random.default_rng([number])
                copy.reset(int(generator.integers(2**31)), self.world.reset_with(number))
                start, act = copy.position(self.world.coordinates), self.world.actor(_STEPS, generator)
                for _ in range(_STEPS):
                    if not copy.over:
                        copy.step(self.world.units.actions(act(copy)))
                moved.append(copy.position(self.world.coordinates) - start)
        carried = np.sqrt(np.square(np.stack(moved).astype(np.float64)).mean(0))
        # What never moves is no distance.
        return np.where(carried > 1e-6, carried, np.inf).astype(np.float32)

    @property
    def radius(self) -> float:
        """Distance at which a goal is reached, in those units."""
        if self.world.tolerance is not None:
            return self.world.tolerance
        return _SHARE * math.sqrt(int(np.isfinite(self.scale).sum()))

    @property
    def words(self) -> str:
        """The rule in words."""
        if not self.by_environment:
            if self.world.tolerance is not None:
                return f"within {self.radius:.3g} of it, in the environment's units"
            return f"within {_SHARE:g} of the distance that {_STEPS} steps of the behaviour policy carry"
        if self.world.success_reward is not None:
            return f"by a reward of {self.world.success_reward:g} or more"
        return f"as info[{self._key(self.world.aside) or self.world.success_key or _KEYS[0]!r}] of the environment says"

    def distances(self, positions: Any, goals: Any) -> Any:
        """(…, P), (…, P) → (…,), in units of ``scale``."""
        return np.linalg.norm((positions - goals) / self.scale, axis=-1)

    def solved(self, tasks: Any) -> Tensor:
        """(B,) whether tasks start at their goal: by distance, or as the environment said at the reset."""
        if self.by_environment:
            return tasks.said_solved
        return torch.as_tensor(self.distances(tasks.starts.numpy(), tasks.goals.numpy()) <= self.radius)

    def at_goal(self, copy: Copy, goal: np.ndarray) -> bool:
        """Whether an episode is at its goal now.

        Raises
        ------
        ValueError
            If the environment is to say so and does not.
        """
        if not self.by_environment:
            return bool(self.distances(copy.position(self.world.coordinates), goal) <= self.radius)
        if self.world.success_reward is not None:
            return copy.reward >= self.world.success_reward
        key = self._key(copy)
        if key is None:
            raise ValueError(
                f"{self.world.environment}: expected {self.world.success_key or ' or '.join(_KEYS)} in its info, got "
                f"{sorted(copy.info) or 'nothing'}: name it by world.success_key, or set world.success=distance or "
                "world.success_reward"
            )
        return bool(np.asarray(copy.info[key]).reshape(-1)[0])

    def said_solved(self, copy: Copy) -> bool:
        """Whether the environment says at a reset that the goal is reached; no if it does not say."""
        key = self._key(copy)
        if self.world.success_reward is not None or key is None:
            return False
        return bool(np.asarray(copy.info[key]).reshape(-1)[0])

    def _key(self, copy: Copy) -> str | None:
        keys = [self.world.success_key] if self.world.success_key else _KEYS
        return next((key for key in keys if key in copy.info), None)

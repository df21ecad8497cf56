"""Actions of a model and of an environment: [−1, 1] or the environment's own units, one or several steps at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_scale.records import ActionSpace

MOST_ACTIONS = 4096
"""Largest number A^f of discrete actions that several steps may form."""


@dataclass(frozen=True)
class Units:
    """How an action of the model becomes actions of the environment.

    A model's step is ``steps`` steps of the environment. Its action holds theirs side by side, as recordings with a
    frame skip do, or is one action that is ``repeated``. Continuous actions are numbers in [−1, 1] that stand for each
    coordinate's range or, with ``own``, in the environment's units; discrete ones count from 0, of several steps the
    first one's in the highest place.

    Raises
    ------
    ValueError
        If actions are unbounded or of another kind, or several steps form more than 4096 discrete ones.
    """

    name: str
    space: Any
    """The environment's space of actions."""
    steps: int = 1
    repeated: bool = False
    own: bool = False

    def __post_init__(self) -> None:
        from gymnasium import spaces

        bounded = isinstance(self.space, spaces.Box) and bool(np.isfinite([self.space.low, self.space.high]).all())
        if not isinstance(self.space, spaces.Discrete) and not bounded:
            raise ValueError(
                f"{self.name}: expected actions of a bounded Box or Discrete space, got {self.space}: put a wrapper "
                "around it, such as gymnasium.wrappers.RescaleAction, and register that"
            )
        if self.discrete and self.apart > 1 and self.space.n**self.apart > MOST_ACTIONS:
            raise ValueError(
                f"{self.name}: expected at most {MOST_ACTIONS} actions of {self.steps} steps, got "
                f"{self.space.n}^{self.steps}: lower world.frameskip, or repeat one action by world.repeat_action=true"
            )

    @property
    def discrete(self) -> bool:
        """Whether actions are numbers from 0."""
        return hasattr(self.space, "n")

    @property
    def apart(self) -> int:
        """Actions of the environment that an action of the model holds."""
        return 1 if self.repeated else self.steps

    @property
    def single(self) -> ActionSpace:
        """Of one step of the environment."""
        if self.discrete:
            return ActionSpace(int(self.space.n))
        limits = (float(self.space.low.min()), float(self.space.high.max())) if self.own else (-1.0, 1.0)
        return ActionSpace(None, int(np.prod(self.space.shape)), *limits)

    @property
    def whole(self) -> ActionSpace:
        """Of one step of the model."""
        one = self.single
        if one.count is not None:
            return ActionSpace(one.count**self.apart)
        return ActionSpace(None, one.size * self.apart, one.low, one.high)

    def actions(self, action: Any) -> list[Any]:
        """The environment's actions of one of the model: (size,), or a number."""
        return [self.taken(part) for part in self.parts(action) for _ in range(self.steps if self.repeated else 1)]

    def parts(self, action: Any) -> list[Any]:
        """The model's action cut into those of single steps."""
        if self.discrete:
            places = self.single.count ** np.arange(self.apart - 1, -1, -1)  # type: ignore[operator]
            return [int(action) // int(place) % int(self.space.n) for place in places]
        return list(np.asarray(action).reshape(self.apart, -1))

    def joined(self, parts: list[Any]) -> Any:
        """Single steps' actions as one of the model."""
        if self.discrete:
            whole = 0
            for part in parts:
                whole = whole * int(self.space.n) + int(part)
            return whole
        return np.concatenate([np.asarray(part, dtype=np.float32) for part in parts])

    def taken(self, part: Any) -> Any:
        """One action as the environment takes it."""
        if self.discrete:
            return type(self.space.start)(part + self.space.start)
        shaped = np.asarray(part, dtype=np.float64).reshape(self.space.shape)
        if not self.own:
            low = self.space.low.astype(np.float64)
            shaped = low + (shaped + 1) / 2 * (self.space.high.astype(np.float64) - low)
        return np.clip(shaped.astype(self.space.dtype), self.space.low, self.space.high)

    def given(self, action: Any) -> Any:
        """An action in the environment's units, as a policy of the user's returns it, as the model's.

        Raises
        ------
        ValueError
            If it is of another shape.
        """
        if self.discrete:
            number = int(np.asarray(action).reshape(())) - int(self.space.start)
            if not 0 <= number < self.space.n:
                raise ValueError(f"{self.name}: expected a policy to return one of {self.space}, got {action!r}")
            return number
        values = np.asarray(action, dtype=np.float64)
        if values.shape != self.space.shape:
            raise ValueError(
                f"{self.name}: expected a policy to return actions of shape {self.space.shape}, got {values.shape}"
            )
        if self.own:
            return values.reshape(-1).astype(np.float32)
        low, high = self.space.low.astype(np.float64), self.space.high.astype(np.float64)
        return np.clip(2 * (values - low) / (high - low) - 1, -1, 1).reshape(-1).astype(np.float32)

    def scaled(self, action: Any) -> Any:
        """An action of a behaviour policy, (size,) in [−1, 1] or a number, as the model's."""
        if self.discrete or not self.own:
            return action
        return self.given(self.space.low + (np.asarray(action).reshape(self.space.shape) + 1) / 2
                          * (self.space.high - self.space.low))  # fmt: skip

    def random(self, generator: np.random.Generator) -> Any:
        """One uniformly random action of a single step, in the model's units."""
        if self.discrete:
            return int(generator.integers(self.space.n))
        return self.scaled(generator.uniform(-1, 1, self.single.size))

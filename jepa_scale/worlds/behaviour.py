"""Behaviour policies: how data are collected in an environment.

One policy is one class, named by its ``_target_`` in ``world.behaviour``. A policy that looks at what it sees, such as
a script or a trained agent, goes in by ``Scripted``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jepa_scale.records import ActionSpace

Actor = Callable[[Any], Any]
"""What was observed, as the environment gives it → one action: (size,) in [−1, 1], or a number from 0."""


class Behaviour(ABC):
    """A law of actions. All that is drawn comes from the generator of the trajectory, so that it can be repeated."""

    own_units: bool = False
    """Whether actions are in the environment's own units, not in [−1, 1]."""

    @abstractmethod
    def start(self, space: ActionSpace, length: int, generator: np.random.Generator) -> Actor:
        """Begin a trajectory of ``length`` actions."""

    @property
    def name(self) -> str:
        """Name and settings, for the record of the data."""
        return repr(self)

    @property
    def reproducible(self) -> bool:
        """Whether name and settings say all about it, so that what it collected can be kept for others."""
        return True


def _played(actions: Iterator[Any]) -> Actor:
    return lambda observed: next(actions)


@dataclass(frozen=True)
class Uniform(Behaviour):
    """Independent uniformly random actions."""

    def start(self, space: ActionSpace, length: int, generator: np.random.Generator) -> Actor:
        """Drawn at the start."""
        if space.count is None:
            return _played(iter(generator.uniform(-1, 1, (length, space.size))))
        return _played(iter(generator.integers(space.count, size=length)))

    @property
    def name(self) -> str:
        """uniform"""
        return "uniform"


@dataclass(frozen=True)
class Held(Behaviour):
    """Uniformly random actions, each held for some steps, so that where steps are small the data get anywhere.

    Raises
    ------
    ValueError
        If ``steps`` is below 1.
    """

    steps: int = 10
    """Steps for which an action is held; the first one for a random part of them."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"expected steps ≥ 1, got {self.steps=}")

    def start(self, space: ActionSpace, length: int, generator: np.random.Generator) -> Actor:
        """Drawn at the start."""
        phase = int(generator.integers(self.steps))
        blocks = (np.arange(length) + phase) // self.steps
        act = Uniform().start(space, int(blocks[-1]) + 1 if length else 0, generator)
        drawn = [act(None) for _ in range(int(blocks[-1]) + 1 if length else 0)]
        return _played(iter([drawn[block] for block in blocks]))


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Behaviour):
    """Correlated noise, a' = (1 − θ) a + σ ε, clipped to [−1, 1]; continuous actions only.

    It starts from its stationary law, of deviation σ / √(θ (2 − θ)).

    Raises
    ------
    ValueError
        If θ is outside (0, 1] or σ is not above 0; when it starts: if actions are discrete.
    """

    theta: float = 0.15
    sigma: float = 0.4

    def __post_init__(self) -> None:
        if not 0 < self.theta <= 1 or not 0 < self.sigma < float("inf"):
            raise ValueError(f"expected theta in (0, 1] and sigma > 0, got {self.theta=}, {self.sigma=}")

    def start(self, space: ActionSpace, length: int, generator: np.random.Generator) -> Actor:
        """Drawn at the start."""
        if space.discrete:
            raise ValueError(
                "world.behaviour: expected continuous actions for correlated noise, got discrete ones: Held"
            )
        noise = self.sigma * generator.standard_normal((length + 1, space.size))
        here = noise[0] / np.sqrt(self.theta * (2 - self.theta))
        path = []
        for step in noise[1:]:
            path.append(np.clip(here, -1, 1))
            here = (1 - self.theta) * here + step
        return _played(iter(path))


@dataclass(frozen=True)
class Scripted(Behaviour):
    """A policy of the user's: ``policy(observation, generator)`` → an action in the environment's own units.

    With the probability ``random`` a uniformly random action is taken in its place.

    Raises
    ------
    ValueError
        If ``policy`` cannot be called, or the probability is outside [0, 1].
    """

    policy: Any
    random: float = 0.0

    own_units = True

    def __post_init__(self) -> None:
        if not callable(self.policy):
            raise ValueError(
                f"expected a policy that is called with (observation, generator), got {type(self.policy).__name__}"
            )
        if not 0 <= self.random <= 1:
            raise ValueError(f"expected random in [0, 1], got {self.random=}")

    def start(self, space: ActionSpace, length: int, generator: np.random.Generator) -> Actor:
        """None stands for a random action, which the environment's range decides."""
        del space, length

        def act(observed: Any) -> Any:
            return None if self.random and generator.random() < self.random else self.policy(observed, generator)

        return act

    @property
    def name(self) -> str:
        """The policy's class or function."""
        called = getattr(self.policy, "__qualname__", type(self.policy).__qualname__)
        return f"Scripted({called}, random={self.random:g})"

    @property
    def reproducible(self) -> bool:
        """Its code may change."""
        return False


@dataclass(frozen=True)
class Mixture(Behaviour):
    """Each trajectory by one of several policies.

    Raises
    ------
    ValueError
        If there is no policy, they are in different units, or weights are not as many or not above 0.
    """

    parts: Sequence[Any]
    weights: Sequence[float] | None = None
    """Shares of the trajectories, up to a factor; None: equal ones."""
    _shares: tuple[float, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        weights = [1.0] * len(self.parts) if self.weights is None else list(self.weights)
        if not self.parts or len(weights) != len(self.parts) or min(weights) <= 0:
            raise ValueError(f"expected one weight above 0 for each of {len(self.parts)} policies, got {self.weights=}")
        if any(not isinstance(part, Behaviour) for part in self.parts):
            raise ValueError("expected parts that are behaviours: put a policy of your own into Scripted")
        object.__setattr__(self, "_shares", tuple(weight / sum(weights) for weight in weights))

    def start(self, space: ActionSpace, length: int, generator: np.random.Generator) -> Actor:
        """Drawn by the trajectory's generator."""
        part = self.parts[int(generator.choice(len(self.parts), p=self._shares))]
        act = part.start(space, length, generator)
        return (lambda observed: InUnits(act(observed))) if part.own_units else act

    @property
    def reproducible(self) -> bool:
        """If all parts are."""
        return all(part.reproducible for part in self.parts)


@dataclass(frozen=True)
class InUnits:
    """An action in the environment's own units, among others that are not."""

    action: Any

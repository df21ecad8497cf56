"""Putting an environment into a state: by its physics, by its attributes or by a copy, whichever proves exact.

Which one an environment allows is found out by trying: a state is saved in one copy and loaded into another, and both
must go on alike. The generator of the environment is no part of a state: looking ahead does not know the noise to come.
"""

from __future__ import annotations

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from jepa_scale.worlds.environments.copies import Copy

_SEED = 1
_STEPS = (7, 5)
"""Steps before a state is saved, and steps after it that must be the same from a copy that loads it."""


class States(ABC):
    """A way to save and load states."""

    close: ClassVar[tuple[float, float]] = (1e-4, 1e-5)
    """Relative and absolute difference of observations up to which two copies go on alike."""

    @abstractmethod
    def save(self, source: Copy) -> Any:
        """The state now."""

    @abstractmethod
    def load(self, target: Copy, state: Any) -> None:
        """Put a copy, which was reset with the same seed, into a state."""


class Attributes(States):
    """Numbers, texts and arrays that the environment and its wrappers hold as attributes, as classic control does."""

    def save(self, source: Copy) -> Any:
        """Arrays are copied."""
        return [
            {name: _own(value) for name, value in vars(layer).items() if _plain(value)}
            for layer in _layers(source.made)
        ]

    def load(self, target: Copy, state: Any) -> None:
        """Attributes that are not in the state stay as they are."""
        for layer, values in zip(_layers(target.made), state, strict=True):
            vars(layer).update({name: _own(value) for name, value in values.items()})


class Physics(Attributes):
    """MuJoCo's integration state, and attributes."""

    def save(self, source: Copy) -> Any:
        """``mj_getState``"""
        mujoco = _mujoco()
        inner, kind = source.made.unwrapped, mujoco.mjtState.mjSTATE_INTEGRATION
        values = np.empty(mujoco.mj_stateSize(inner.model, kind))
        mujoco.mj_getState(inner.model, inner.data, values, kind)
        return values, super().save(source)

    def load(self, target: Copy, state: Any) -> None:
        """``mj_setState``, and what follows from it."""
        mujoco = _mujoco()
        values, attributes = state
        inner, kind = target.made.unwrapped, mujoco.mjtState.mjSTATE_INTEGRATION
        super().load(target, attributes)
        mujoco.mj_setState(inner.model, inner.data, values, kind)
        mujoco.mj_forward(inner.model, inner.data)
        # Forward dynamics overwrite the warm start of the next step.
        mujoco.mj_setState(inner.model, inner.data, values, kind)


def _mujoco() -> Any:
    """The engine, which the environment has imported: nothing here depends on it."""
    return sys.modules["mujoco"]


class Bodies(Attributes):
    """Positions and velocities of the bodies of a pymunk space, and attributes.

    Impulses of contacts are not saved: what is in contact goes on alike to about a thousandth.
    """

    close = (1e-3, 1e-2)

    def save(self, source: Copy) -> Any:
        """In the order of the space's bodies."""
        return [
            (tuple(body.position), tuple(body.velocity), body.angle, body.angular_velocity)
            for body in source.made.unwrapped.space.bodies
        ], super().save(source)

    def load(self, target: Copy, state: Any) -> None:
        """Shapes follow their bodies."""
        bodies, attributes = state
        super().load(target, attributes)
        space = target.made.unwrapped.space
        for body, (position, velocity, angle, turning) in zip(space.bodies, bodies, strict=True):
            # The angle first: a body turns about its centre of gravity, which may lie apart from its position.
            body.angle, body.position = angle, position
            body.velocity, body.angular_velocity = velocity, turning
            space.reindex_shapes_for_body(body)


class Copies(States):
    """A deep copy of the whole environment."""

    def save(self, source: Copy) -> Any:
        """As it is now."""
        return copy.deepcopy(source.made)

    def load(self, target: Copy, state: Any) -> None:
        """The state stays untouched."""
        target.made = copy.deepcopy(state)


def states_of(make: Callable[[], Copy], draw: Callable[[np.random.Generator], Sequence[Any]]) -> States | None:
    """The first way that proves exact; None if none does. ``draw`` gives random actions of one step."""
    first, second = make(), make()
    # Some have a model only then.
    first.reset(_SEED)
    inner = first.made.unwrapped
    kinds: list[type[States]] = [Attributes, Copies]
    if hasattr(inner, "model") and hasattr(inner, "data"):
        kinds = [Physics]
    elif hasattr(getattr(inner, "space", None), "bodies"):
        kinds = [Bodies]
    try:
        return next((kind() for kind in kinds if _exact(kind(), first, second, draw)), None)
    finally:
        first.close()
        second.close()


def _exact(states: States, first: Copy, second: Copy, draw: Callable[[np.random.Generator], Sequence[Any]]) -> bool:
    generator = np.random.default_rng(_SEED)
    try:
        first.reset(_SEED)
        second.reset(_SEED)
        for _ in range(_STEPS[0]):
            first.step(draw(generator))
        state, ahead = states.save(first), [draw(generator) for _ in range(_STEPS[1])]
        path, (relative, absolute) = _path(first, ahead), states.close
        for _ in range(2):
            states.load(second, state)
            second.over = False
            if not np.allclose(path, _path(second, ahead), rtol=relative, atol=absolute):
                return False
    except TimeoutError:
        # It hangs: whoever waits for it says so.
        raise
    except Exception:  # whatever a foreign environment raises when it is put somewhere: this is not the way
        return False
    return True


def _path(played: Copy, actions: Sequence[Sequence[Any]]) -> list[np.ndarray]:
    path = []
    for action in actions:
        played.step(action)
        path.append(played.view.vector(played.observed))
    return path


def _layers(made: Any) -> Iterator[Any]:
    """The wrappers from the outermost in, and the environment."""
    while True:
        yield made
        if made is made.unwrapped:
            return
        made = made.env


def _plain(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype != object
    if isinstance(value, tuple | list):
        return len(value) < _LONG and all(_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str | np.generic)


_LONG = 64


def _own(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return type(value)(value) if type(value) in (list, tuple) else value

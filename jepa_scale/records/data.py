"""Trajectories of worlds, recorded episodes, and the batches made from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ActionSpace:
    """Actions of a world: one of ``count`` discrete ones, or ``size`` real coordinates in [low, high].

    Raises
    ------
    ValueError
        If there is no action, no coordinate, or no room between the limits.
    """

    count: int | None = None
    """Number of discrete actions; None where actions are continuous."""
    size: int = 1
    """Coordinates of a continuous action."""
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if (self.count is not None and self.count < 1) or self.size < 1 or not self.low < self.high:
            raise ValueError(f"expected at least one action and low < high, got {self}")

    @property
    def discrete(self) -> bool:
        """Whether actions are integers 0 … count − 1."""
        return self.count is not None

    def unit(self, actions: Any) -> Any:
        """Rescale continuous actions, arrays or tensors, from their limits to [−1, 1]."""
        return (actions - (self.low + self.high) / 2) / ((self.high - self.low) / 2)

    @property
    def code_size(self) -> int:
        """Number of coordinates of an action as a network reads it: a one-hot code, or the action itself."""
        return self.size if self.count is None else self.count


@dataclass(frozen=True)
class Episodes:
    """Recorded episodes as flat rows, one episode after another; every data format is read into this form.

    Row r of an episode holds the observation x_t and the action a_t taken on it, so that (x_t, a_t, x_{t+1}) is
    (row r, row r, row r + 1). The last row of an episode has an observation and no action of its own.
    """

    observations: NDArray[np.float32] | NDArray[np.uint8]
    """(R, *shape): vectors (D,), or images (H, W, C) as bytes. May be memory-mapped."""
    actions: NDArray[np.int64] | NDArray[np.float32]
    """(R,) for discrete actions, (R, size) for continuous ones; rows that are not usable are never read."""
    lengths: NDArray[np.int64]
    """(E,) rows of each episode, observations included: T + 1."""
    usable: NDArray[np.bool_]
    """(R,) whether the row's action is known and leads to the next row of the same episode."""
    action_space: ActionSpace
    states: NDArray[np.float32] | None = None
    """(R, S) state of the simulator; None if it was not recorded."""
    source: str = ""
    """Format and path of the recording, in words."""
    notes: tuple[str, ...] = ()
    """What the reader skipped, repaired or doubted, each with its count."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(E,) index of the first row of each episode."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)

    @property
    def transitions(self) -> int:
        """Number of usable rows: transitions (x, a, x⁺) that can be trained on."""
        return int(self.usable.sum())

    @property
    def checksum(self) -> str:
        """SHA-256 over observations, usable actions and lengths, in blocks: large files are never loaded whole."""
        digest = hashlib.sha256(np.ascontiguousarray(self.lengths).tobytes())
        for first in range(0, len(self.observations), _BLOCK):
            rows = slice(first, first + _BLOCK)
            digest.update(np.ascontiguousarray(self.observations[rows]).tobytes())
            digest.update(np.ascontiguousarray(self.actions[rows][self.usable[rows]]).tobytes())
        return digest.hexdigest()


_BLOCK = 4096
"""Number of rows hashed at a time."""
_TRAJECTORIES = 256
"""Number of trajectories hashed at a time."""


@dataclass(frozen=True)
class Trajectories:
    """Trajectories sampled from one world, in the order in which they were drawn."""

    observations: NDArray[np.float32] | NDArray[np.uint8]
    """(E, T+1, *shape): vectors (D,), or images (H, W, C) as bytes; may be read from a file when indexed."""
    actions: NDArray[np.int64] | NDArray[np.float32]
    """(E, T) for discrete actions, (E, T, size) for continuous ones; where not usable, any number of the space."""
    states: NDArray[np.int64] | NDArray[np.float32] | None
    """(E, T+1) index into X of a finite world, (E, T+1, S) state of a simulator; None if unknown."""
    seed: int
    policy: str
    """Name of the behaviour policy."""
    usable: NDArray[np.bool_] | None = None
    """(E, T) which transitions are real ones; None: all. Restarts and the padding of short trajectories are not."""
    episodes: NDArray[np.int64] | None = None
    """(E,) number of the episode that each trajectory is cut from; None: trajectories are independent."""

    @property
    def transitions(self) -> int:
        """Number of usable transitions."""
        count, length = self.actions.shape[:2]
        return count * length if self.usable is None else int(self.usable.sum())

    @property
    def groups(self) -> NDArray[np.int64]:
        """(E,) group of each trajectory: those of one group are pieces of one episode, groups are independent."""
        return np.arange(len(self.actions)) if self.episodes is None else self.episodes

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over the contents of the fields: two data sets with the same checksum hold the same data.

        In blocks, as observations may be larger than memory, and once, as they may be in a file.
        """
        digest = hashlib.sha256()
        for first in range(0, len(self.observations), _TRAJECTORIES):
            digest.update(np.ascontiguousarray(self.observations[first : first + _TRAJECTORIES]).tobytes())
        digest.update(np.ascontiguousarray(self.actions).tobytes())
        for extra in (self.usable, self.episodes):
            digest.update(b"" if extra is None else np.ascontiguousarray(extra).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Batch:
    """Windows of H transitions (x_t, a_t, …, x_{t+H}); the fields are tensors on one device."""

    observations: Any
    """(B, H+1, *shape)"""
    actions: Any
    """(B, H) integer, or (B, H, size)"""

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """Return the same batch on ``device``; Lightning calls this."""
        return Batch(
            self.observations.to(device, non_blocking=non_blocking),
            self.actions.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True)
class View:
    """The part of a batch that an objective reads; the fields are tensors on one device."""

    observations: Any
    """(B, H+1, *shape)"""
    actions: Any
    """(B, H) integer, or (B, H, size)"""
    latents: Any
    """(B, H+1, k) f(x_t), with gradients."""
    predicted: Any
    """(B, H, k) ẑ_{t+1}: the predictor rolled out from f(x_0) on its own outputs."""

"""A sample of whole trajectories in memory, with the rows before and after each: what a verdict is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jepa_scale.auditing.rows import Block, EmbeddingRows
from jepa_scale.estimators.actions import ActionBasis, with_actions
from jepa_scale.estimators.dictionary import RandomFeatures
from jepa_scale.estimators.energy import Whitened, joined, nested_size, room, whiten
from jepa_scale.streams import stream_seed

_BYTES = 2**28
"""Memory limit of one array of embeddings."""
_ROWS = 40_000
"""Rows of a sample: of more, a share of the trajectories."""
_MOST_DIRECTIONS = 1536
"""Most principal directions: with so many the energy takes half a minute on one core."""
_MOST_ACTIONS = 16
"""Most functions of the action."""
_BENT = 128
"""Most bent features, and most directions of the latent before."""


@dataclass(frozen=True)
class Sample:
    """Transitions of some whole trajectories, in the order of the file."""

    z: np.ndarray
    """(n, d)"""
    following: np.ndarray
    """(n, q)"""
    predicted: np.ndarray | None
    """(n, q)"""
    actions: np.ndarray | None
    """(n,) discrete or (n, m) continuous"""
    trajectories: np.ndarray
    """(n,)"""
    weights: np.ndarray | None
    seed: int
    most: int | None
    """Most principal directions that the user allows; None: as many as the rows do."""

    @cached_property
    def effective(self) -> float:
        """Number of rows of equal weight that these are worth, (Σw)²/Σw²."""
        if self.weights is None:
            return float(len(self.z))
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())

    @cached_property
    def before(self) -> np.ndarray:
        """(n,) row whose next latent is this row's latent, −1 where there is none."""
        rows = np.arange(len(self.z))
        same = np.zeros(len(self.z), dtype=bool)
        if self.z.shape[1] == self.following.shape[1]:
            same[1:] = (self.trajectories[1:] == self.trajectories[:-1]) & (self.following[:-1] == self.z[1:]).all(1)
        return np.where(same, rows - 1, -1)

    @cached_property
    def time(self) -> np.ndarray:
        """(n,) steps since the piece of consecutive rows began."""
        rows = np.arange(len(self.z))
        return rows - np.maximum.accumulate(np.where(self.before < 0, rows, 0))

    @cached_property
    def _sides(self) -> tuple[Whitened, Whitened]:
        """Principal directions of z_t and z_{t+1}, as many as the rows allow (``estimators.energy.nested_size``)."""
        most = max(
            1, min(_MOST_DIRECTIONS, room(self.effective) // 2 - 1 - _MOST_ACTIONS, self.most or _MOST_DIRECTIONS)
        )
        sides = whiten(self.z, most), whiten(self.following, most)
        size = nested_size(sides[0].rows, sides[1].rows, self.trajectories)
        first, second = (side.leading(size) for side in sides)
        return first, second

    @property
    def left(self) -> Whitened:
        """Principal directions of z_t."""
        return self._sides[0]

    @property
    def right(self) -> Whitened:
        """Principal directions of z_{t+1}."""
        return self._sides[1]

    @cached_property
    def space(self) -> int:
        """Features that the left side may have."""
        return min(room(self.effective) - self.right.rows.shape[1], 3 * _MOST_DIRECTIONS)

    @cached_property
    def acting(self) -> np.ndarray:
        """(n, m) functions of the action, without the constant; none where there is no action, or only one."""
        if self.actions is None:
            return np.zeros((len(self.z), 0), np.float32)
        if self.actions.ndim == 1:
            labels, counts = np.unique(self.actions, return_counts=True)
            # The commonest is told by all others being absent; rare ones are one.
            chosen = labels[np.argsort(-counts)][1 : _MOST_ACTIONS + 1]
            return (self.actions[:, None] == chosen).astype(np.float32)
        # The bias of a latent's own directions comes first.
        most = max(2, min(_MOST_ACTIONS, self.space // (self.left.rows.shape[1] + 1)))
        try:
            return ActionBasis(self.actions, most)(self.actions)[:, 1:].astype(np.float32)
        except ValueError:
            return whiten(self.actions, min(4 * _MOST_ACTIONS, max(self.space // 4, 1))).rows

    @cached_property
    def context(self) -> np.ndarray:
        """(n, p) z and a, times each other if rows allow it: what linear functions of the latent can predict."""
        functions, latent = self.acting, self.left.rows
        if functions.shape[1] == 0:
            return latent
        products = (1 + functions.shape[1]) * (1 + latent.shape[1]) - 1
        if 2 * products > min(self.space, _MOST_DIRECTIONS):
            return joined(latent, functions)
        ones = np.ones((len(functions), 1), np.float32)
        return joined(with_actions(latent, np.hstack([ones, functions]).astype(np.float64)))

    @cached_property
    def bent(self) -> np.ndarray:
        """(n, b) bent features of z and a, as many as there is space for."""
        return self.bent_of(np.hstack([self.left.rows, self.acting]))

    def bent_of(self, inputs: np.ndarray) -> np.ndarray:
        """Bent features of inputs (n, i), not the inputs themselves: (n, b)."""
        size = min(_BENT, self.space - self.context.shape[1] - min(self.left.rows.shape[1], _BENT))
        if size < 1 or inputs.shape[1] == 0:
            return np.zeros((len(self.z), 0), np.float32)
        seed = stream_seed(self.seed, "bent")
        features = RandomFeatures(inputs, inputs.shape[1] + size, seed)(inputs)
        return np.asarray(features[:, -size:], dtype=np.float32)

    @cached_property
    def past(self) -> np.ndarray:
        """(n, h) the latent and action before, as far as there is space; meaningless where ``before`` is −1."""
        size = min(self.left.rows.shape[1], _BENT, self.space - self.context.shape[1] - self.bent.shape[1])
        latents = self.left.rows[:, : max(size, 0)]
        return np.hstack([latents, self.acting])[self.before]


def read_sample(rows: EmbeddingRows, seed: int, most: int | None) -> Sample:
    """Read whole trajectories, drawn at random, as many as memory holds."""
    wide = max(rows.width, rows.next_width)
    limit = min(_ROWS, _BYTES // (8 * wide))
    # Trajectory numbers are shuffled, so that the first ones are a random sample.
    kept = max(1, int(rows.trajectory_count * min(1.0, limit / rows.rows)))
    blocks = [_part(block, block.trajectories < kept) for block in rows.blocks()]

    def whole(name: str) -> np.ndarray | None:
        parts = [getattr(block, name) for block in blocks]
        return None if parts[0] is None else np.concatenate(parts)

    z, following, trajectories = whole("z"), whole("z_next"), whole("trajectories")
    assert z is not None
    assert following is not None
    assert trajectories is not None
    return Sample(z, following, whole("z_pred"), whole("actions"), trajectories, whole("weights"), seed, most)


def _part(block: Block, chosen: np.ndarray) -> Block:
    if block.weights is not None:
        chosen = chosen & (block.weights > 0)
    values = [None if values is None else values[chosen] for values in vars(block).values()]
    return Block(*values)  # type: ignore[arg-type]

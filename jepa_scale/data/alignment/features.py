"""Numbers of observations and actions that the alignment check regresses on each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records import Episodes
from jepa_scale.streams import stream_seed

_FEATURES = 64
"""Largest number of coordinates of an observation; frames and longer vectors are projected at random."""
_GRID = 8
"""Number of squares per side to which frames are averaged."""
_BENT = 32
"""Number of non-linear features."""
_INTERACTING = 6
"""Number of coordinates of the observation that an action's effect may depend on."""
_OFTEN = 0.05
"""Share of rows in which a coordinate must change to be explained."""
_BLOCK = 256
_VECTOR_ROWS, _IMAGE_ROWS = 12_000, 4_000


@dataclass(frozen=True)
class Rows:
    """Rows t of a recording around which ``reach`` rows on either side are usable, and their numbers."""

    episodes: Episodes
    rows: NDArray[np.int64]
    groups: NDArray[np.int64]
    """(n,) episode of each row."""
    reach: int
    """Largest lag."""
    table: NDArray[np.float64]
    """Coordinates of observations (m, D) with standard deviation 1 for the rows ``wanted``."""
    wanted: NDArray[np.int64]
    seed: int

    def observation(self, step: int) -> NDArray[np.float64]:
        """Return x_{t + step} (n, D)."""
        return self.table[np.searchsorted(self.wanted, self.rows + step)]

    def action(self, lag: int) -> NDArray[np.float64]:
        """Return a_{t + lag} (n, A): coordinates, one-hot codes, or random codes if there are many."""
        actions, count = self.episodes.actions[self.rows + lag], self.episodes.action_space.count
        # The same projection and scale for every lag: a lag must not win by its draw.
        generator = np.random.default_rng(stream_seed(self.seed, "data/alignment/actions"))
        if count is None:
            coordinates = actions.astype(np.float64)
            if coordinates.shape[1] > 16:
                coordinates = coordinates @ generator.normal(size=(coordinates.shape[1], 16)) / 4
            return (coordinates - coordinates.mean(axis=0)) / np.maximum(coordinates.std(axis=0), 1e-12)
        if count <= _FEATURES:
            # One code fewer: all of them together are the constant.
            codes = np.eye(count)[actions.astype(np.int64)][:, 1:]
            return (codes - codes.mean(axis=0)) * np.sqrt(count)
        return generator.normal(size=(count, 16))[actions.astype(np.int64)]

    def past(self, step: int) -> NDArray[np.float64]:
        """Return x_{t + step} and its change from the row before, (n, 2 D)."""
        current, change = self.observation(step), self.observation(step) - self.observation(step - 1)
        return np.concatenate([current, change / np.maximum(change.std(axis=0), 1e-12)], axis=1)

    def bent(self, step: int) -> NDArray[np.float64]:
        """Return non-linear features of ``past``: products and random bends of a few coordinates."""
        return _bent(self.past(step))

    def crossed(self, code: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (a, a ⊗ P x_t) with a projection P to a few coordinates."""
        current = self.observation(0)
        if current.shape[1] > _INTERACTING:
            generator = np.random.default_rng(0)
            current = current @ generator.normal(size=(current.shape[1], _INTERACTING)) / np.sqrt(current.shape[1])
        products = code[:, :, None] * current[:, None, :]
        return np.concatenate([code, products.reshape(len(code), -1)], axis=1)

    @property
    def moving(self) -> NDArray[np.bool_]:
        """(D,) which coordinates change often enough to be explained."""
        often = (self.observation(1) != self.observation(0)).mean(axis=0) >= _OFTEN
        return often if often.any() else np.ones_like(often)


def chosen_rows(episodes: Episodes, seed: int, reach: int) -> Rows:
    """Choose at most some 12 000 rows (4 000 of images) from episodes drawn at random."""
    generator = np.random.default_rng(stream_seed(seed, "data/alignment"))
    values = episodes.observations if episodes.states is None else episodes.states
    limit = _IMAGE_ROWS if values.dtype == np.uint8 else _VECTOR_ROWS
    rows, groups, count = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for episode in generator.permutation(len(episodes.lengths)):
        first, length = int(episodes.offsets[episode]), int(episodes.lengths[episode])
        if length < 2 * reach + 2:
            continue
        inside = episodes.usable[first : first + length]
        around = np.lib.stride_tricks.sliding_window_view(inside, 2 * reach + 1).all(axis=1)
        # One long episode must not be all there is to see.
        found = np.flatnonzero(around)[: max(100, limit // 4)] + reach + first
        rows.append(found)
        groups.append(np.full(len(found), episode))
        count += len(found)
        if count >= limit:
            break
    taken, owner = np.concatenate(rows), np.concatenate(groups)
    wanted = np.unique(np.concatenate([taken + step for step in range(-max(2, reach), 3)])) if count else taken
    wanted = wanted[(wanted >= 0) & (wanted < len(episodes.usable))]
    return Rows(episodes, taken, owner, reach, _table(values, wanted, generator), wanted, seed)


def _table(
    values: NDArray[np.generic], wanted: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.float64]:
    if not len(wanted):
        return np.zeros((0, 1))
    table = np.nan_to_num(numbers(values, wanted))
    if table.shape[1] > _FEATURES:
        table = table @ generator.normal(size=(table.shape[1], _FEATURES)) / np.sqrt(table.shape[1])
    deviation = table.std(axis=0)
    kept = deviation > 1e-6 * np.maximum(1e-12, np.abs(table).max(axis=0))
    return (table[:, kept] - table[:, kept].mean(axis=0)) / deviation[kept]


def numbers(values: NDArray[np.generic], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return rows as numbers (n, D): vectors as they are, frames as means over at most 8×8 squares."""
    blocks = [_pooled(np.asarray(values[rows[first : first + _BLOCK]])) for first in range(0, len(rows), _BLOCK)]
    return np.concatenate(blocks)


def _pooled(block: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return vectors unchanged and frames (B, H, W, C) as means over at most 8×8 squares, flattened."""
    if block.dtype != np.uint8:
        return block.reshape(len(block), -1).astype(np.float64)
    for axis in (1, 2):
        edges = np.unique(np.linspace(0, block.shape[axis], _GRID + 1).astype(int))
        sizes = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(block.ndim)])
        block = np.add.reduceat(block.astype(np.float32), edges[:-1], axis=axis) / sizes
    return block.reshape(len(block), -1).astype(np.float64)


def _bent(values: NDArray[np.float64]) -> NDArray[np.float64]:
    generator = np.random.default_rng(1)
    if values.shape[1] > 8:
        values = values @ generator.normal(size=(values.shape[1], 8)) / np.sqrt(values.shape[1])
    # A rare row far away must not decide a product's coefficient.
    values = np.clip(values, -3, 3)
    first, second = np.triu_indices(values.shape[1])
    turned = values @ generator.normal(size=(values.shape[1], _BENT)) + generator.normal(size=_BENT)
    return np.concatenate([values[:, first] * values[:, second], np.tanh(turned)], axis=1)

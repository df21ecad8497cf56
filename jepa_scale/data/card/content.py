"""Episodes, copies among them, and ranges of coordinates."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.alignment.features import numbers
from jepa_scale.data.card.record import Content, Coordinate
from jepa_scale.records import Episodes

_BLOCK = 1024
_COMPARED = 400
"""Largest number of episodes compared with each other."""
_POINTS = 8
"""Rows of each episode that are compared."""
_NEAR = 0.02
"""Share of the usual distance of two episodes within which they are nearly the same."""
_LISTED = 512
"""Largest number of coordinates that are looked at one by one."""
_CLOCK = 0.9999
"""Squared correlation with the row's number from which a coordinate is a clock."""


def content_of(episodes: Episodes, seed: int) -> Content:
    """Count episodes, rows, breaks and copies; episodes are compared in a random sample of 400."""
    lengths, offsets = episodes.lengths, episodes.offsets
    inside = np.ones(len(episodes.usable), dtype=bool)
    inside[offsets + lengths - 1] = False
    digests = [
        hashlib.sha256(
            np.ascontiguousarray(episodes.observations[first : first + length]).tobytes()
            + np.ascontiguousarray(episodes.actions[first : first + length][episodes.usable[first : first + length]])
            .tobytes()
        ).digest()
        for first, length in zip(offsets, lengths, strict=True)
    ]  # fmt: skip
    near, compared = _near_duplicates(episodes, seed)
    return Content(
        episodes=len(lengths),
        rows=int(lengths.sum()),
        transitions=episodes.transitions,
        lengths=tuple(int(value) for value in np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1], method="nearest")),
        breaks=int((inside & ~episodes.usable).sum()),
        not_finite=_not_finite(episodes),
        duplicates=len(digests) - len(set(digests)),
        near_duplicates=near,
        compared=compared,
    )


def _not_finite(episodes: Episodes) -> int:
    values = episodes.observations
    if values.dtype == np.uint8:
        return 0
    return sum(
        int((~np.isfinite(values[first : first + _BLOCK])).any(axis=1).sum()) for first in range(0, len(values), _BLOCK)
    )


def _near_duplicates(episodes: Episodes, seed: int) -> tuple[int, int]:
    """Return how many of the compared episodes lie near another one before them, copies not counted."""
    long = np.flatnonzero(episodes.lengths >= _POINTS)
    if len(long) < 3:
        return 0, len(long)
    chosen = np.sort(np.random.default_rng(seed).permutation(long)[:_COMPARED])
    # From the first row on in equal steps: two episodes of other lengths are not the same.
    shortest = int(episodes.lengths[chosen].min())
    steps = np.linspace(0, shortest - 1, _POINTS).astype(np.int64)
    rows = (episodes.offsets[chosen][:, None] + steps).reshape(-1)
    table = np.nan_to_num(numbers(episodes.observations, rows))
    table = (table - table.mean(axis=0)) / np.maximum(table.std(axis=0), 1e-12)
    paths = table.reshape(len(chosen), -1)
    square = (paths**2).sum(axis=1)
    apart = np.sqrt(np.maximum(square[:, None] + square[None, :] - 2 * paths @ paths.T, 0))
    pairs = np.triu_indices(len(chosen), 1)
    usual = float(np.median(apart[pairs]))
    # What rounding leaves of a difference of squares is no distance.
    least = 1e-6 * max(usual, 1e-12)
    close = (apart < _NEAR * usual) & (apart > least) & np.triu(np.ones(apart.shape, bool), 1)
    return int(close.any(axis=0).sum()), len(chosen)


def coordinates_of(episodes: Episodes) -> tuple[Coordinate, ...]:
    """Return the range of each coordinate of vectors, at most 512 of them; images have none."""
    values = episodes.observations
    if values.dtype == np.uint8 or values.shape[1] > _LISTED:
        return ()
    table = np.asarray(values[:]).astype(np.float64)
    table[~np.isfinite(table).all(axis=1)] = np.nan
    episode = np.repeat(np.arange(len(episodes.lengths)), episodes.lengths)
    clock = np.arange(len(table)) - np.repeat(episodes.offsets, episodes.lengths)
    whole = np.isfinite(table).all(axis=1)
    return tuple(
        _coordinate(place, table[whole, place], episode[whole], clock[whole]) for place in range(table.shape[1])
    )


def _coordinate(
    index: int, values: NDArray[np.float64], episode: NDArray[np.int64], clock: NDArray[np.int64]
) -> Coordinate:
    if not len(values):
        nothing = float("nan")
        return Coordinate(index, nothing, nothing, nothing, nothing, False, False, False)
    deviation, size = float(values.std()), float(np.abs(values).max())
    constant = deviation <= 1e-7 * max(size, 1e-30)
    _, place, counts = np.unique(episode, return_inverse=True, return_counts=True)
    means = np.bincount(place, values) / counts
    within = float((values - means[place]).std())
    fixed = not constant and len(counts) > 1 and within <= 1e-6 * max(deviation, 1e-30)
    timed = not constant and not fixed and clock.std() > 0
    likeness = float(np.corrcoef(values, clock)[0, 1]) ** 2 if timed else 0.0
    return Coordinate(
        index, float(values.min()), float(values.max()), float(values.mean()), deviation, constant, fixed,
        likeness > _CLOCK,
    )  # fmt: skip

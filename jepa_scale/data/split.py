"""Split of episodes into training, held-out and test data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records import Episodes
from jepa_scale.streams import stream_seed


@dataclass(frozen=True)
class Split:
    """Lists of episode numbers, each in one list only; they never depend on the number of training transitions."""

    train: NDArray[np.int64]
    """Training episodes in order of use: n transitions are taken from the first ones."""
    heldout: NDArray[np.int64]
    test: NDArray[np.int64]
    transitions: tuple[int, int, int]
    """Numbers of usable transitions of train, heldout and test."""
    fingerprint: str
    """SHA-256 of the lists and of the lengths and usable rows of their episodes: two equal ones are the same split."""

    @property
    def episodes(self) -> tuple[int, int, int]:
        """Numbers of episodes of train, heldout and test."""
        return len(self.train), len(self.heldout), len(self.test)


def split_episodes(episodes: Episodes, heldout: int, test: int, seed: int) -> Split:
    """Split whole episodes in a random order: first the test ones, then the held-out ones, then training.

    Parameters
    ----------
    episodes
        What is split.
    heldout, test
        Transitions wanted for each, ≥ 1; whole episodes are taken until there are as many or more.
    seed
        Of the order; its stream is ``data/split``.

    Raises
    ------
    ValueError
        If a size is below 1, or nothing is left to train on.
    """
    if heldout < 1 or test < 1:
        raise ValueError(f"expected at least one transition to hold out and to test, got {heldout=}, {test=}")
    counts = np.add.reduceat(episodes.usable.astype(np.int64), episodes.offsets)
    order = np.random.default_rng(stream_seed(seed, "data/split")).permutation(len(counts))
    # An episode without a transition is of no use to any of them.
    order = order[counts[order] > 0]
    reached = np.cumsum(counts[order])
    first = int(np.searchsorted(reached, test)) + 1
    taken = reached[first - 1] if first <= len(order) else test
    second = int(np.searchsorted(reached, taken + heldout)) + 1
    if second >= len(order):
        raise ValueError(
            f"{episodes.source}: expected episodes left to train on, got {len(order)} episodes of {counts.sum()} "
            f"transitions for {test=} and {heldout=}: lower these or give more episodes"
        )
    lists = (order[second:], order[first:second], order[:first])
    digest = hashlib.sha256(episodes.lengths.tobytes() + np.packbits(episodes.usable).tobytes())
    for chosen in lists:
        digest.update(len(chosen).to_bytes(8, "big") + chosen.astype(np.int64).tobytes())
    train, heldout_list, tested = lists
    sizes = (int(counts[train].sum()), int(counts[heldout_list].sum()), int(counts[tested].sum()))
    return Split(train, heldout_list, tested, sizes, digest.hexdigest())


def transition_rows(episodes: Episodes, chosen: NDArray[np.int64], n: int | None = None) -> NDArray[np.int64]:
    """Return the rows (n,) at which the first n transitions of the chosen episodes start, in order of episode and time.

    A smaller n gives a prefix of a larger one. All of them where n is None.

    Raises
    ------
    ValueError
        If there are not as many.
    """
    starts, ends = episodes.offsets[chosen], (episodes.offsets + episodes.lengths)[chosen]
    if n is None:
        parts = [np.flatnonzero(episodes.usable[a:b]) + a for a, b in zip(starts, ends, strict=True)]
        return np.concatenate(parts).astype(np.int64)
    parts, available = [], 0
    for start, end in zip(starts, ends, strict=True):
        if available >= n:
            break
        parts.append(np.flatnonzero(episodes.usable[start:end]) + start)
        available += len(parts[-1])
    if n < 1 or available < n:
        raise ValueError(
            f"{episodes.source}: expected 1 to {available} transitions of {len(chosen)} episodes, got {n=}: lower n or "
            "hold out less"
        )
    return np.concatenate(parts)[:n].astype(np.int64)


def window_rows(episodes: Episodes, chosen: NDArray[np.int64], length: int, n: int | None = None) -> NDArray[np.int64]:
    """Return the rows of ``transition_rows`` at which windows of ``length`` consecutive usable transitions start.

    With n given, a window lies wholly within the first n transitions, so that a smaller n sees nothing more.

    Raises
    ------
    ValueError
        If ``length`` < 1, or as for ``transition_rows``.
    """
    if length < 1:
        raise ValueError(f"expected windows of at least one transition, got {length=}")
    rows = transition_rows(episodes, chosen, n)
    allowed = np.zeros(len(episodes.usable) + length, dtype=bool)
    allowed[rows] = True
    # The last row of an episode is not usable, so no window reaches into the next one.
    return rows[np.all([allowed[rows + step] for step in range(length)], axis=0)]

"""Prediction errors of held-out episodes by the number of episodes that a reference learner is fitted on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from jepa_scale.data.alignment.features import numbers
from jepa_scale.records import Episodes
from jepa_scale.streams import stream_seed
from jepa_scale.terminal import Step, untold

FOLDS = 8
"""Parts of the episodes; each is held out once."""
_RUNGS = 10
_FEWEST = 4
"""Fewest episodes of a rung."""
_LEARNERS = ((1.0, (0, 128, 512)), (3.0, (128, 512)))
"""Length scale of random features, in deviations times the root of the number of inputs, and their numbers."""
_STILL = 1e-6
"""Deviation below which a coordinate counts as constant, relative to its size."""
_PENALTIES = (1e-8, 1e-6, 1e-4, 1e-2, 1.0)
_COORDINATES = 64
"""Largest number of coordinates of observations, and of actions over the horizon; more are projected at random."""
_VECTOR_WINDOWS, _IMAGE_WINDOWS = 60_000, 16_000

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Ladder:
    """Errors of the reference learner at one horizon, by the number of transitions that it saw.

    The errors are shares of the variance of x_{t+h} − x_t, mean over coordinates: 0 is perfect, 1 is reached by
    predicting the mean change.
    """

    horizon: int
    n: Table
    """(L,) transitions in the episodes of each rung, growing."""
    episodes: NDArray[np.int64]
    """(L,) episodes."""
    errors: Table
    """(L, FOLDS) error on the held-out episodes of each part."""
    weights: Table
    """(FOLDS,) share of each part in the held-out windows."""
    copy: float
    """Error of predicting no change."""
    windows: int
    """Windows (x_{t−1}, x_t, a_t … a_{t+h−1}, x_{t+h}) that were used."""
    stride: int
    """Of the windows there are, every ``stride``-th was used."""
    widest: bool
    """Whether the widest learner was the best at the last rung, so that a wider one might do better."""

    @property
    def means(self) -> Table:
        """(L,) errors over all held-out windows."""
        return self.errors @ self.weights

    @property
    def errors_of_means(self) -> Table:
        """(L,) their standard errors, by the jackknife over parts."""
        left = (self.means[:, None] - self.errors * self.weights) / (1 - self.weights)
        centred = left - left.mean(axis=1, keepdims=True)
        return np.asarray(np.sqrt((FOLDS - 1) / FOLDS * np.square(centred).sum(axis=1)))


@dataclass(frozen=True)
class _Windows:
    inputs: Table
    """(n, d) standardised x_t, x_t − x_{t−1}, a_t … a_{t+h−1}."""
    targets: Table
    """(n, D) x_{t+h} − x_t with variance 1."""
    place: NDArray[np.int64]
    """(n,) position of the window's episode in a random order of the episodes."""
    transitions: NDArray[np.int64]
    """(E,) usable transitions of the episodes in that order."""
    stride: int
    copy: float


def measure(episodes: Episodes, horizon: int, seed: int = 0, step: Step = untold) -> Ladder:
    """Fit reference learners to growing numbers of whole episodes and measure them on held-out ones.

    The learner is a ridge regression of x_{t+h} − x_t on x_t, x_t − x_{t−1} and the actions up to x_{t+h}, and on
    random Fourier features of them. Number of features, their scale and the penalty are those that predict the other
    parts best, so that no part chooses for itself. x is the recorded state where there is one, else the observation;
    more than 64 coordinates are projected at random, frames after averaging over 8 × 8 squares. Each rung is told to
    ``step`` before it is fitted.

    Raises
    ------
    ValueError
        If there are too few episodes for a ladder of two rungs, or nothing moves.
    """
    windows = _windows(episodes, horizon, seed)
    transitions = windows.transitions
    cuts = _cuts(len(transitions))
    if len(cuts) < 2:
        raise ValueError(
            f"expected at least {2 * _FEWEST} episodes of {horizon + 1} or more transitions, got {len(transitions)}: "
            "errors by n are measured over whole episodes (cut a long one where nothing is lost by it)"
        )
    fold = windows.place % FOLDS
    tables = []
    for scale, features in _LEARNERS:
        named = f"steps ahead {horizon}, scale {scale:g} ({len(windows.place)} windows)"
        tables += _errors(windows, cuts, scale, features, seed, functools.partial(_told, step, named, cuts))
    sums = np.concatenate(tables)
    widths = np.repeat([width for _, widths in _LEARNERS for width in widths], len(_PENALTIES))
    counts = np.bincount(fold, minlength=FOLDS).astype(np.float64)
    # No part chooses its own learner.
    best = (sums.sum(2, keepdims=True) - sums).argmin(0)
    errors = np.take_along_axis(sums, best[None], 0)[0] / counts
    part = np.arange(len(transitions)) % FOLDS
    sizes = [[transitions[:cut][part[:cut] != left].sum() for left in range(FOLDS)] for cut in cuts]
    return Ladder(
        horizon,
        np.mean(sizes, axis=1),
        np.array(cuts),
        errors,
        counts / counts.sum(),
        windows.copy,
        len(windows.place),
        windows.stride,
        bool(widths[int(sums[:, -1].sum(1).argmin())] == widths.max()),
    )


def _told(step: Step, learner: str, cuts: Sequence[int], level: int) -> None:
    """Tell that a rung begins."""
    step(f"{learner}: rung {level + 1} of {len(cuts)}, {cuts[level]} episodes")


def _cuts(count: int) -> list[int]:
    """Return numbers of episodes, from some to all by doublings."""
    cuts = [count]
    while len(cuts) < _RUNGS and cuts[0] // 2 >= _FEWEST:
        cuts.insert(0, cuts[0] // 2)
    return cuts


def _windows(episodes: Episodes, horizon: int, seed: int) -> _Windows:
    """Cut episodes into windows, every s-th of them if there are too many."""
    first, owner = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for episode, (start, length) in enumerate(zip(episodes.offsets, episodes.lengths, strict=True)):
        if length < horizon + 2:
            continue
        inside = episodes.usable[start : start + length]
        # The last row of an episode is never usable, so that x_{t+h} exists.
        whole = np.lib.stride_tricks.sliding_window_view(inside, horizon + 1).all(axis=1)
        rows = np.flatnonzero(whole) + 1 + start
        first.append(rows)
        owner.append(np.full(len(rows), episode))
    rows, groups = np.concatenate(first), np.concatenate(owner)
    values = episodes.observations if episodes.states is None else episodes.states
    most = _IMAGE_WINDOWS if values.dtype == np.uint8 else _VECTOR_WINDOWS
    stride = max(1, -(-len(rows) // most))
    rows, groups = rows[::stride], groups[::stride]
    if len(rows) == 0:
        raise ValueError(
            f"expected episodes with {horizon + 1} usable transitions in a row, got none: they are shorter, or "
            "rows with missing numbers or gaps cut them"
        )
    generator = np.random.default_rng(stream_seed(seed, "data/enough"))
    known, place = np.unique(groups, return_inverse=True)
    order = generator.permutation(len(known))
    wanted, at = np.unique(np.stack([rows - 1, rows, rows + horizon]), return_inverse=True)
    before, current, later = _standard(_projected(numbers(values, wanted), generator))[at.reshape(3, -1)]
    step = later - current
    spread = step.std(axis=0)
    moving = spread > _STILL
    if not moving.any():
        raise ValueError("expected observations that change, got constant ones: nothing is there to predict")
    target = step[:, moving] / spread[moving]
    acts = np.concatenate([_actions(episodes, rows + lag) for lag in range(horizon)], axis=1)
    inputs = np.concatenate([current, _standard(current - before), _standard(_projected(acts, generator))], axis=1)
    usable = np.add.reduceat(episodes.usable.astype(np.int64), episodes.offsets)
    transitions = usable[known][np.argsort(order)]
    return _Windows(inputs, target, order[place], transitions, stride, float(np.square(target).mean()))


def _projected(values: Table, generator: np.random.Generator) -> Table:
    if values.shape[1] <= _COORDINATES:
        return values
    return values @ generator.normal(size=(values.shape[1], _COORDINATES)) / np.sqrt(values.shape[1])


def _standard(values: Table) -> Table:
    """Return coordinates with mean 0 and deviation 1, without those that never change."""
    deviation = values.std(axis=0)
    kept = deviation > _STILL * np.maximum(1e-12, np.abs(values).max(axis=0, initial=0))
    return (values[:, kept] - values[:, kept].mean(axis=0)) / deviation[kept]


def _actions(episodes: Episodes, rows: NDArray[np.int64]) -> Table:
    actions, count = episodes.actions[rows], episodes.action_space.count
    if count is None:
        return actions.reshape(len(rows), -1).astype(np.float64)
    # One code fewer: all of them together are the constant.
    return np.eye(count)[actions.astype(np.int64)][:, 1:]


def _errors(
    windows: _Windows,
    cuts: list[int],
    scale: float,
    widths: tuple[int, ...],
    seed: int,
    begin: Callable[[int], None],
) -> list[Table]:
    """Return squared errors (penalties, L, FOLDS), summed over the held-out windows of each part, for each width."""
    size, most = windows.inputs.shape[1], max(widths)
    generator = np.random.default_rng(stream_seed(seed, "data/enough/features"))
    weights = generator.normal(size=(size, most)) / (scale * np.sqrt(size))
    phases = generator.uniform(0, 2 * np.pi, size=most)
    bent = np.sqrt(2) * np.cos(windows.inputs @ weights + phases)
    table = np.concatenate([np.ones((len(bent), 1)), windows.inputs, bent], axis=1)
    fold = windows.place % FOLDS
    rung = np.searchsorted(np.array(cuts) - 1, windows.place)
    left = np.zeros((FOLDS, table.shape[1], table.shape[1]))
    right = np.zeros((FOLDS, table.shape[1], windows.targets.shape[1]))
    sums = [np.empty((len(_PENALTIES), len(cuts), FOLDS)) for _ in widths]
    held = [np.flatnonzero(fold == part) for part in range(FOLDS)]
    for level in range(len(cuts)):
        begin(level)
        for part, rows in enumerate(held):
            added = rows[rung[rows] == level]
            left[part] += table[added].T @ table[added]
            right[part] += table[added].T @ windows.targets[added]
        for part, rows in enumerate(held):
            moments, products = left.sum(0) - left[part], right.sum(0) - right[part]
            for place, width in enumerate(widths):
                found = _solved(moments[: 1 + size + width, : 1 + size + width], products[: 1 + size + width])
                # One product for all penalties.
                rest = table[rows, : 1 + size + width] @ np.concatenate(found, axis=1)
                rest -= np.tile(windows.targets[rows], len(found))
                sums[place][:, level, part] = (
                    np.square(rest).reshape(len(rows), len(found), -1).mean(axis=2).sum(axis=0)
                )
    return sums


def _solved(moments: Table, products: Table) -> list[Table]:
    """Return ridge coefficients for every penalty."""
    total = max(float(moments[0, 0]), 1.0)
    eye = np.eye(len(moments))
    return [solve(moments / total + penalty * eye, products / total, assume_a="pos") for penalty in _PENALTIES]

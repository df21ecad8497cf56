"""Alignment probe: is the action in a row the one taken on that row's observation?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records import Episodes
from jepa_scale.streams import stream_seed

LAGS = (-1, 0, 1)

_FOLDS = 10
_RIDGE = 1e-3
"""Ridge as a share of the rows, for regressors of variance 1: keeps one-hot actions and still pixels solvable."""
_VECTOR_ROWS, _IMAGE_ROWS = 20_000, 4_000
_FEATURES = 64
_INTERACTING = 6
"""Number of coordinates of the observation that an action's effect may depend on."""
_GRID = 8
"""Number of squares per side to which frames are averaged."""
_BLOCK = 256
_OFTEN = 0.05
"""Share of rows in which a coordinate must change to be explained."""
_SURE = 3.0
"""Standard errors that count as sure; with three lags and two regressions, 2 would occur by chance."""

Alignment = Literal["aligned", "misaligned", "cannot tell"]


@dataclass(frozen=True)
class AlignmentProbe:
    """How well the action ℓ rows later explains the change from a row to the next, for ℓ = −1, 0, 1."""

    r_squared: tuple[float, float, float]
    """Cross-validated share of explained variance at lags −1, 0, 1; below 0 if the fit is worse than none."""
    standard_errors: tuple[float, float, float]
    """Jackknife standard errors over folds of whole episodes, or of stretches of rows if there are fewer than 10."""
    n: int
    """Number of transitions, the same for all lags: those with usable transitions on both sides in their episode."""
    interaction: bool
    """Whether the action's effect may depend on the observation; R² is then beyond what that alone explains."""
    status: Alignment
    sentence: str


def alignment(episodes: Episodes, seed: int = 0) -> AlignmentProbe:
    """Regress x_{t+1} − x_t on a_{t+ℓ} within episodes, at lags ℓ = −1, 0, 1.

    The change is that of the states where there are any, else of the observations; frames are averaged to 8×8 squares
    and projected at random. If the action alone explains nothing, its effect is let depend on a few coordinates of the
    observation (a heading, a place in the frame). Coordinates that hardly ever change take no part, nor do rows at the
    ends of episodes: what a recorder left there has no influence. Ridge regression, 10 folds of whole episodes.

    An alarm that a policy answering the observation or the world's inertia would raise as well is withdrawn ("cannot
    tell"). Actions that are a function of the observation cannot be placed at all. A world that answers one step late
    looks like actions that are shifted, and so does a policy that reads a speed which the observation does not show:
    give such recordings their states.

    Parameters
    ----------
    episodes
        At most some 20 000 transitions are read, 4 000 of images, from episodes chosen at random.
    seed
        Of that choice and of the projections.
    """
    generator = np.random.default_rng(stream_seed(seed, "data/probe"))
    images = episodes.states is None and episodes.observations.dtype == np.uint8
    rows, groups = _interior(episodes, generator, _IMAGE_ROWS if images else _VECTOR_ROWS)
    if len(rows) < 5 * _FOLDS:
        return _too_few(len(rows))
    seen = _features(episodes, rows, generator)
    actions = [_codes(episodes, rows + lag, seed) for lag in LAGS]
    scores = _Scores.fitted([(None, code) for code in actions], seen.change, groups)
    interaction = images or not scores.explains
    if interaction:
        crossed = [(seen.current, _crossed(code, seen.current)) for code in actions]
        scores = _Scores.fitted(crossed, seen.change, groups)
    best = int(np.argmax(scores.r_squared))
    # Only an alarm is doubted: it takes two more fits.
    doubted = best != 1 and not _stands(best, seen, actions, groups, interaction)
    return _judged(scores, len(rows), interaction, doubted)


def _stands(
    best: int, seen: _Seen, actions: list[NDArray[np.float64]], groups: NDArray[np.int64], interaction: bool
) -> bool:
    """Whether a lag other than 0 still wins after controlling for a policy and for inertia.

    A policy that answers the observation puts x_{t+1} into a_{t+1}, and so the change that led there; given x_{t+1} its
    action says nothing more of that change, a shifted one does. With inertia the change follows the action before as
    well; given the change before, only the action that is taken does.
    """
    if best == 2:
        controls, place = seen.following, seen.following
    else:
        controls, place = np.concatenate([seen.current, seen.earlier], axis=1), seen.current
    designs = [(controls, _crossed(code, place) if interaction else code) for code in actions]
    scores = _Scores.fitted(designs, seen.change, groups)
    if best == 2:
        return scores.r_squared[2] > _SURE * scores.errors[2]
    gap = scores.left_out[:, 0] - scores.left_out[:, 1]
    return scores.r_squared[0] - scores.r_squared[1] > _SURE * scores.error(gap)


@dataclass(frozen=True)
class _Seen:
    """Standardised features of the chosen rows t, without coordinates that never change."""

    current: NDArray[np.float64]
    """(n, d) features of x_t."""
    following: NDArray[np.float64]
    """(n, d) features of x_{t+1}."""
    earlier: NDArray[np.float64]
    """(n, d) features of x_t − x_{t−1}."""
    change: NDArray[np.float64]
    """(n, d') features of x_{t+1} − x_t, without coordinates that hardly ever change."""


@dataclass(frozen=True)
class _Scores:
    """R² of each lag, and of each lag with each fold left out."""

    r_squared: NDArray[np.float64]
    """(3,)"""
    left_out: NDArray[np.float64]
    """(folds, 3)"""

    @classmethod
    def fitted(cls, designs: list, change: NDArray[np.float64], groups: NDArray[np.int64]) -> _Scores:
        """Fit (controls, regressors) of each lag; R² is relative to the residual of controls and a constant."""
        folds = _folds(groups)
        errors = np.zeros((int(folds.max()) + 1, len(LAGS), 2))
        for place, (controls, regressors) in enumerate(designs):
            base = np.zeros((len(change), 0)) if controls is None else controls
            errors[:, place, 0] = _fold_errors(base, change, folds)
            errors[:, place, 1] = _fold_errors(np.concatenate([base, regressors], axis=1), change, folds)
        total = errors.sum(axis=0)
        rest = total - errors
        return cls(1 - total[:, 1] / total[:, 0], 1 - rest[..., 1] / rest[..., 0])

    def error(self, values: NDArray[np.float64]) -> float:
        """Return the jackknife standard error of a quantity from its values with each fold left out (folds,)."""
        return float(np.sqrt((len(values) - 1) * values.var()))

    @property
    def errors(self) -> NDArray[np.float64]:
        """(3,) standard errors of R²."""
        return np.array([self.error(column) for column in self.left_out.T])

    @property
    def explains(self) -> bool:
        """Whether the action at any lag explains part of the change."""
        return bool((self.r_squared > _SURE * self.errors).any())


def _judged(scores: _Scores, n: int, interaction: bool, doubted: bool) -> AlignmentProbe:
    values, errors = scores.r_squared, scores.errors
    shown = ", ".join(
        f"{value:.3f} ± {error:.3f} at lag {lag}" for lag, value, error in zip(LAGS, values, errors, strict=True)
    )
    seen = f"the action explains R² = {shown} of the change of the observation ({n} transitions)"
    best = int(np.argmax(values))
    gaps = [values[best] - values[rival] for rival in range(3)]
    sure = [gaps[k] > _SURE * scores.error(scores.left_out[:, best] - scores.left_out[:, k]) for k in range(3)]
    status: Alignment = "cannot tell"
    if not scores.explains:
        sentence = f"cannot tell whether actions are aligned: {seen}"
    elif doubted and sure[1]:
        sentence = (
            "cannot tell whether actions are aligned, as a policy that answers the observation, or inertia, would look "
            f"like this as well: {seen}"
        )
    elif best == 1 and sure[0] and sure[2]:
        status, sentence = "aligned", f"actions are aligned: {seen}"
    elif best != 1 and sure[1]:
        status = "misaligned"
        where = "before, unless the world itself answers a step late" if best == 0 else "after"
        sentence = (
            f"actions look misaligned: {seen}; shift the action column by one row within episodes, so that each row "
            f"holds the action of the row {where}"
        )
    else:
        sentence = f"cannot tell whether actions are aligned, two lags do as well: {seen}"
    r_squared, standard_errors = (tuple(float(number) for number in part) for part in (values, errors))
    return AlignmentProbe(r_squared, standard_errors, n, interaction, status, sentence)  # type: ignore[arg-type]


def _too_few(n: int) -> AlignmentProbe:
    nothing = (float("nan"),) * 3
    sentence = f"cannot tell whether actions are aligned: {n} transitions inside episodes are too few"
    return AlignmentProbe(nothing, nothing, n, False, "cannot tell", sentence)


def _interior(
    episodes: Episodes, generator: np.random.Generator, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return about ``limit`` rows with a usable row on both sides in their episode, and the episode of each."""
    usable, offsets, lengths = episodes.usable, episodes.offsets, episodes.lengths
    rows: list[NDArray[np.int64]] = []
    groups: list[NDArray[np.int64]] = []
    count = 0
    for episode in generator.permutation(len(lengths)):
        inside = usable[offsets[episode] : offsets[episode] + lengths[episode]]
        # The last row is never usable, so t + 1 is at most the row before it.
        chosen = np.flatnonzero(inside[:-2] & inside[1:-1] & inside[2:]) + 1 if len(inside) > 2 else np.zeros(0, int)
        # One long episode must not be all there is to see.
        chosen = chosen[: max(50, limit // 8)]
        rows.append(chosen + offsets[episode])
        groups.append(np.full(len(chosen), episode))
        count += len(chosen)
        if count >= limit:
            break
    return np.concatenate(rows).astype(np.int64), np.concatenate(groups).astype(np.int64)


def _features(episodes: Episodes, rows: NDArray[np.int64], generator: np.random.Generator) -> _Seen:
    values = episodes.observations if episodes.states is None else episodes.states
    wanted = np.unique(np.concatenate([rows - 1, rows, rows + 1]))
    blocks = [_pooled(np.asarray(values[wanted[first : first + _BLOCK]])) for first in range(0, len(wanted), _BLOCK)]
    table = _project(np.concatenate(blocks), _FEATURES, generator)
    earlier, current, following = (table[np.searchsorted(wanted, rows + step)] for step in (-1, 0, 1))
    change = following - current
    often = (change != 0).mean(axis=0) >= _OFTEN
    # Standardised, a coordinate that jumps twice in a recording would weigh as much as one that moves all the time.
    return _Seen(
        _standard(current),
        _standard(following),
        _standard(current - earlier),
        _standard(change[:, often] if often.any() else change),
    )


def _pooled(block: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return vectors unchanged and frames (B, H, W, C) as means over at most 8×8 squares, flattened."""
    if block.dtype != np.uint8:
        return block.reshape(len(block), -1).astype(np.float64)
    for axis in (1, 2):
        edges = np.unique(np.linspace(0, block.shape[axis], _GRID + 1).astype(int))
        sizes = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(block.ndim)])
        block = np.add.reduceat(block.astype(np.float32), edges[:-1], axis=axis) / sizes
    return block.reshape(len(block), -1).astype(np.float64)


def _project(table: NDArray[np.float64], size: int, generator: np.random.Generator) -> NDArray[np.float64]:
    if table.shape[1] <= size:
        return table
    return table @ generator.normal(size=(table.shape[1], size)) / np.sqrt(table.shape[1])


def _standard(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standardise to mean 0 and deviation 1; coordinates that do not vary beyond rounding are left out."""
    deviation = table.std(axis=0)
    kept = deviation > 1e-6 * np.maximum(1e-12, np.abs(table).max(axis=0))
    return (table[:, kept] - table[:, kept].mean(axis=0)) / deviation[kept]


def _codes(episodes: Episodes, rows: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return actions as regressors (n, d): coordinates, one-hot codes, or random codes if there are many."""
    actions, count = episodes.actions[rows], episodes.action_space.count
    # The same projection for every lag: a lag must not win by its draw.
    generator = np.random.default_rng(stream_seed(seed, "data/probe/actions"))
    if count is None:
        return _standard(_project(actions.astype(np.float64), 16, generator))
    if count <= _FEATURES:
        # Variance 1 on average but less for rare actions, so that ridge trusts those less.
        return np.sqrt(count) * np.eye(count)[actions.astype(np.int64)]
    return generator.normal(size=(count, 16))[actions.astype(np.int64)]


def _crossed(code: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (a, a ⊗ P x) with a random projection P to a few coordinates."""
    # The same one for every lag.
    projected = _project(current, _INTERACTING, np.random.default_rng(0))
    products = code[:, :, None] * projected[:, None, :]
    return np.concatenate([code, products.reshape(len(code), -1)], axis=1)


def _folds(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold of each row: whole episodes, or stretches of rows if there are few episodes."""
    values, order = np.unique(groups, return_inverse=True)
    if len(values) < _FOLDS:
        return np.arange(len(groups)) * _FOLDS // len(groups)
    return order % _FOLDS


def _fold_errors(
    design: NDArray[np.float64], change: NDArray[np.float64], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return Σ‖change − prediction‖² on each fold, by ridge regression on the others (folds,)."""
    table = np.concatenate([np.ones((len(design), 1)), design - design.mean(axis=0)], axis=1)
    count = int(folds.max()) + 1
    moments = [
        (table[folds == k].T @ table[folds == k], table[folds == k].T @ change[folds == k]) for k in range(count)
    ]
    left, right = sum(moment[0] for moment in moments), sum(moment[1] for moment in moments)
    errors = []
    for k, (mine, mine_change) in enumerate(moments):
        rest = left - mine
        # As many regressors as rows shrink a fit by half: without it small recordings are worse than no fit at all.
        penalty = max(_RIDGE * (len(table) - (folds == k).sum()), table.shape[1]) * np.eye(len(rest))
        penalty[0, 0] = 0
        weights = np.linalg.solve(rest + penalty, right - mine_change)
        errors.append(((change[folds == k] - table[folds == k] @ weights) ** 2).sum())
    return np.array(errors)

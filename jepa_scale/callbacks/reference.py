"""Reference spectrum of (x, a) → x⁺ from many fixed random features, for worlds without an exact one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from jepa_scale.estimators.dictionary import RandomFeatures
from jepa_scale.estimators.moments import MomentAccumulator
from jepa_scale.estimators.spectrum import SAMPLES_PER_DIMENSION, OperatorSpectrum, OperatorSums, operator_spectrum
from jepa_scale.records import ActionSpace, Trajectories

WIDEST = 256
"""Most features on each side, used if there are enough transitions."""
_NARROWEST = 16
_SIDE = 8
"""Pixels a side to which images without known states are averaged down: features of single pixels see nothing."""
_AT_ONCE = 64
"""Trajectories of images held as floats at a time."""


@dataclass(frozen=True)
class Reference:
    """Spectrum that random features of a world's states or observations see, at a resolution ε."""

    whole: OperatorSpectrum
    half: OperatorSpectrum
    """Spectrum by half of the features; if it sees less than the whole, the whole sees less than the truth."""
    eps: float
    """Noise on every coordinate, in standard deviations of that coordinate."""
    of: str
    """Input of the features: states, observations or pixels."""


_FOUND: dict[tuple[str, float], Reference | None] = {}


def reference_of(trajectories: Trajectories, space: ActionSpace, eps: float) -> Reference | None:
    """Estimate the reference spectrum of held-out trajectories; None where there are too few of them.

    It does not depend on a model and is computed once per process for the same data.
    """
    key = trajectories.checksum, eps
    if key not in _FOUND:
        while len(_FOUND) >= 4:
            _FOUND.pop(next(iter(_FOUND)))
        _FOUND[key] = _estimate(trajectories, space, eps)
    return _FOUND[key]


def _estimate(trajectories: Trajectories, space: ActionSpace, eps: float) -> Reference | None:
    values, of = _values(trajectories)
    episodes, length = trajectories.actions.shape[:2]
    current = values[:, :-1].reshape(episodes * length, -1)
    following = values[:, 1:].reshape(episodes * length, -1)
    acting = _codes(trajectories.actions, space).reshape(episodes * length, -1)
    groups = np.repeat(trajectories.groups, length)
    if trajectories.usable is not None:
        kept = trajectories.usable.reshape(-1)
        current, following, acting, groups = current[kept], following[kept], acting[kept], groups[kept]
    context, following = np.hstack([current, acting]).astype(np.float64), following.astype(np.float64)
    width = WIDEST
    while width * SAMPLES_PER_DIMENSION > len(context):
        width //= 2
    if width < max(_NARROWEST, 2 * context.shape[1]):
        return None
    left = RandomFeatures(context, width, seed=1, noise=eps)
    right = RandomFeatures(following, width, seed=2, noise=eps)
    sums = MomentAccumulator(width, width, 1, precision=torch.float64)
    cells = torch.zeros(len(context), dtype=torch.int64)
    sums.update(torch.as_tensor(left(context)), torch.as_tensor(right(following)), cells, torch.as_tensor(groups))
    moments = sums.compute()
    whole, half = (
        operator_spectrum(OperatorSums.of(part, 0, "pooled")) for part in (moments, moments.leading(width // 2))
    )
    return Reference(whole, half, eps, of)


def _values(trajectories: Trajectories) -> tuple[np.ndarray, str]:
    """Input of the features, (E, T+1, d): the state if known, since it determines all there is to predict."""
    observed, states = trajectories.observations, trajectories.states
    if states is not None and states.ndim == 3:
        return states, "states"
    if observed.ndim == 3:
        return np.asarray(observed), "observations"
    height, width = observed.shape[2:4]
    rows, columns = (np.linspace(0, size, min(_SIDE, size) + 1).astype(int)[:-1] for size in (height, width))
    parts = []
    for first in range(0, len(observed), _AT_ONCE):
        block = observed[first : first + _AT_ONCE].astype(np.float32)
        parts.append(np.add.reduceat(np.add.reduceat(block, rows, axis=2), columns, axis=3))
    return np.concatenate(parts).reshape(*observed.shape[:2], -1), "pixels"


def _codes(actions: np.ndarray, space: ActionSpace) -> np.ndarray:
    return actions if space.count is None else np.eye(space.count, dtype=np.float32)[actions]

"""Standardisation of observations and actions by mean and deviation, fitted on the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_scale.records import ActionSpace, Episodes

_BLOCK = 1024


@dataclass(frozen=True)
class FeatureScale:
    """Standardisation x ↦ (x − mean) / deviation along the last axis."""

    mean: NDArray[np.float32]
    """(D,); for images (C,), in units of a byte."""
    deviation: NDArray[np.float32]
    """(D,) or (C,); 1 where the coordinate is constant, so that it is shifted but not scaled."""
    constant: tuple[int, ...]
    """Indices of coordinates that do not vary."""
    n: int
    """Number of rows that it was fitted on."""

    def apply(self, values: Any) -> Any:
        """Standardise a tensor or array (…, D) of any numeric type, as float32; NaN stays NaN."""
        mean, deviation = self._like(values)
        return (_floating(values) - mean) / deviation

    def restore(self, values: Any) -> Any:
        """Undo ``apply``."""
        mean, deviation = self._like(values)
        return _floating(values) * deviation + mean

    def _like(self, values: Any) -> tuple[Any, Any]:
        if values.shape[-1] != len(self.mean):
            raise ValueError(f"expected {len(self.mean)} coordinates on the last axis, got {tuple(values.shape)}")
        if isinstance(values, torch.Tensor):
            return torch.from_numpy(self.mean).to(values.device), torch.from_numpy(self.deviation).to(values.device)
        return self.mean, self.deviation


@dataclass(frozen=True)
class Normaliser:
    """Scales of observations and of continuous actions."""

    observations: FeatureScale | None
    """Scale of observations; None if they are used unchanged."""
    actions: FeatureScale | None
    """Scale of actions; None if they are discrete."""

    def apply(self, observations: Any) -> Any:
        """Normalise observations (…, D) or (…, H, W, C), as float32; unchanged if there is no scale."""
        return observations if self.observations is None else self.observations.apply(observations)

    def apply_actions(self, actions: Any) -> Any:
        """Normalise actions (…, A), as float32; discrete ones stay unchanged."""
        return actions if self.actions is None else self.actions.apply(actions)


def fit_normaliser(episodes: Episodes, rows: NDArray[np.int64], observations: bool = True) -> Normaliser:
    """Fit both scales on the training rows only.

    Means and variances are merged block by block (Chan, Golub and LeVeque's update), so that rows in a file are never
    loaded whole and nothing cancels. Rows that are not finite, or whose action is not usable, are left out.

    Parameters
    ----------
    episodes
        The recorded episodes.
    rows
        (n,) rows at which training transitions start: ``transition_rows(episodes, split.train, n)``.
    observations
        Whether to read observations at all.

    Raises
    ------
    ValueError
        If no row is left.
    """
    # Files are read forwards; the sums do not care.
    rows = np.sort(rows)
    seen, actions = _Running(), _Running()
    for first in range(0, len(rows), _BLOCK):
        block = rows[first : first + _BLOCK]
        if observations:
            seen.add(np.asarray(episodes.observations[block]))
        if not episodes.action_space.discrete:
            actions.add(episodes.actions[block[episodes.usable[block]]])
    return Normaliser(
        seen.scale(f"{episodes.source}: observations") if observations else None,
        None if episodes.action_space.discrete else actions.scale(f"{episodes.source}: actions"),
    )


def fit_needed(episodes: Episodes, rows: NDArray[np.int64]) -> Normaliser | None:
    """Fit the scales of vectors and continuous actions; images are bytes, need no scale and are not read."""
    images = episodes.observations.dtype == np.uint8
    return (
        None if images and episodes.action_space.discrete else fit_normaliser(episodes, rows, observations=not images)
    )


def unfitted(observation_shape: tuple[int, ...], space: ActionSpace) -> Normaliser | None:
    """Scales of the same form that change nothing, for a model whose own are in its checkpoint."""
    images = len(observation_shape) == 3

    def scale(size: int) -> FeatureScale:
        return FeatureScale(np.zeros(size, np.float32), np.ones(size, np.float32), (), 0)

    if images and space.discrete:
        return None
    return Normaliser(None if images else scale(observation_shape[-1]), None if space.discrete else scale(space.size))


class _Running:
    """Running count, mean and sum of squared deviations along all axes but the last."""

    def __init__(self) -> None:
        self.rows = self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, block: NDArray[Any]) -> None:
        values = block.astype(np.float64)
        values = values[np.isfinite(values).reshape(len(values), -1).all(axis=1)]
        if not len(values):
            return
        self.rows += len(values)
        flat = values.reshape(-1, values.shape[-1])
        count, mean = len(flat), flat.mean(axis=0)
        shift, total = mean - self.mean, self.count + count
        self.squares = self.squares + ((flat - mean) ** 2).sum(axis=0) + shift**2 * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    def scale(self, label: str) -> FeatureScale:
        if not self.rows:
            raise ValueError(f"{label}: expected at least one finite row to fit on, got none: give other rows")
        deviation = np.sqrt(self.squares / self.count)
        # Rounding of float32 leaves a deviation of about 1e-7 of the value where nothing varies.
        constant = deviation <= 1e-6 * np.abs(self.mean)
        return FeatureScale(
            self.mean.astype(np.float32),
            np.where(constant, 1.0, deviation).astype(np.float32),
            tuple(int(place) for place in np.flatnonzero(constant)),
            self.rows,
        )


def _floating(values: Any) -> Any:
    return values.to(torch.float32) if isinstance(values, torch.Tensor) else values.astype(np.float32)

"""Windows of consecutive transitions in flat rows, so that no observation is stored twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_scale.data.rows import CachedRows, MappedRows, open_rows, windows
from jepa_scale.data.split import window_rows
from jepa_scale.records import ActionSpace, Batch, Episodes, Trajectories


@dataclass(frozen=True)
class Windows:
    """Windows of H transitions of a data set.

    Raises
    ------
    ValueError
        If there is none.
    """

    observations: CachedRows | MappedRows
    """R rows, each observation once."""
    actions: CachedRows
    """R rows; actions that are not usable are never taken."""
    starts: Tensor
    """(W,) row in which each window begins."""
    horizon: int
    """Number of transitions of a window, H."""

    def __post_init__(self) -> None:
        if len(self.starts) == 0:
            raise ValueError(
                f"expected episodes with {self.horizon} transitions in a row, got none: shorten the windows or take "
                "longer episodes"
            )

    def __len__(self) -> int:
        return len(self.starts)

    def to(self, device: torch.device) -> Windows:
        """Return the same windows with rows in memory moved to ``device``; rows in a file stay there."""
        observations = self.observations.to(device) if isinstance(self.observations, CachedRows) else self.observations
        return Windows(observations, self.actions.to(device), self.starts.to(device), self.horizon)

    def take(self, chosen: Tensor) -> Batch:
        """Return the windows with the numbers ``chosen`` (B,), on the device of the windows."""
        rows = windows(self.starts[chosen], self.horizon + 1)
        observations = self.observations.take(rows)
        return Batch(observations.to(rows.device), self.actions.take(rows[:, :-1]))


def windows_of(episodes: Episodes, chosen: NDArray[np.int64], n: int, horizon: int) -> Windows:
    """Return the windows inside the first n usable transitions of the chosen episodes, each within one of them.

    Raises
    ------
    ValueError
        If there are fewer than n transitions, or no window.
    """
    observations, actions = open_rows(episodes.observations), open_rows(episodes.actions)
    assert isinstance(actions, CachedRows)
    starts = torch.from_numpy(window_rows(episodes, chosen, horizon, n))
    return Windows(observations, actions, starts, horizon)


def as_episodes(trajectories: Trajectories, action_space: ActionSpace) -> Episodes:
    """Return trajectories of equal length as flat rows; the last row of each has no action."""
    observed, actions = trajectories.observations, trajectories.actions
    count, rows = observed.shape[:2]
    padded = np.concatenate([actions, np.zeros_like(actions[:, :1])], axis=1)
    usable = np.ones((count, rows), dtype=bool)
    usable[:, -1] = False
    if trajectories.usable is not None:
        usable[:, :-1] = trajectories.usable
    states = trajectories.states
    return Episodes(
        observations=observed.reshape(count * rows, *observed.shape[2:]),
        actions=padded.reshape(count * rows, *actions.shape[2:]),
        lengths=np.full(count, rows, dtype=np.int64),
        usable=usable.reshape(-1),
        action_space=action_space,
        # An index into a finite world is no vector.
        states=None if states is None or states.ndim == 2 else states.reshape(count * rows, -1).astype(np.float32),
        source=f"{trajectories.policy} policy, seed {trajectories.seed}",
    )

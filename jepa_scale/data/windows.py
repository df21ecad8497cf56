"""Windows of consecutive transitions in flat rows, so that no observation is stored twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepa_scale.records import ActionSpace, Batch, Episodes, Trajectories


@dataclass(frozen=True)
class Windows:
    """Windows of H transitions of a data set.

    Raises
    ------
    ValueError
        If there is none.
    """

    observations: Tensor
    """(R, *shape) every observation once."""
    actions: Tensor
    """(R,) or (R, size); the action of an episode's last row is never read."""
    starts: Tensor
    """(W,) row in which each window begins."""
    horizon: int
    """H"""

    def __post_init__(self) -> None:
        if len(self.starts) == 0:
            raise ValueError(
                f"expected episodes with {self.horizon} transitions in a row, got none: shorten the windows or take "
                "longer episodes"
            )

    def __len__(self) -> int:
        return len(self.starts)

    def to(self, device: torch.device) -> Windows:
        """Return the same windows on ``device``."""
        return Windows(self.observations.to(device), self.actions.to(device), self.starts.to(device), self.horizon)

    def take(self, chosen: Tensor) -> Batch:
        """Return the windows with the numbers ``chosen`` (B,)."""
        rows = self.starts[chosen, None] + torch.arange(self.horizon + 1, device=chosen.device)
        flat = rows.flatten()
        observations = self.observations.index_select(0, flat).unflatten(0, rows.shape)
        acting = rows[:, :-1]
        actions = self.actions.index_select(0, acting.flatten()).unflatten(0, acting.shape)
        return Batch(observations, actions)


def windows_of(episodes: Episodes, n: int, horizon: int) -> Windows:
    """Return the windows inside the first n usable transitions, each within one episode.

    Raises
    ------
    ValueError
        If there are fewer than n transitions, or no window.
    """
    if not 1 <= n <= episodes.transitions:
        raise ValueError(f"expected 1 ≤ n ≤ {episodes.transitions} transitions, which is all there are, got {n=}")
    usable = episodes.usable.copy()
    # Beyond the n-th transition nothing is trained on, so that a smaller n is a prefix of a larger one.
    last = int(np.flatnonzero(usable)[n - 1])
    usable[last + 1 :] = False
    # How many usable rows follow one another from each row on: a row that is not usable ends a run.
    after = np.flatnonzero(~usable)
    ends = after[np.searchsorted(after, np.arange(last + 1))] if len(after) else np.full(last + 1, last + 1)
    starts = np.flatnonzero(ends - np.arange(last + 1) >= horizon)
    kept = slice(0, last + 2)
    return Windows(
        torch.as_tensor(episodes.observations[kept]),
        torch.as_tensor(episodes.actions[kept]),
        torch.as_tensor(starts),
        horizon,
    )


def as_episodes(trajectories: Trajectories, action_space: ActionSpace) -> Episodes:
    """Return trajectories of equal length as flat rows; the last row of each has no action."""
    observed, actions = trajectories.observations, trajectories.actions
    count, rows = observed.shape[:2]
    padded = np.concatenate([actions, np.zeros_like(actions[:, :1])], axis=1)
    usable = np.ones((count, rows), dtype=bool)
    usable[:, -1] = False
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

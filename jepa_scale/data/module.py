"""Training, held-out and test data of one run."""

from __future__ import annotations

import lightning as L
import numpy as np
import torch

from jepa_scale import processes
from jepa_scale.data.loader import StepLoader
from jepa_scale.data.normalise import Normaliser, fit_needed
from jepa_scale.data.split import transition_rows
from jepa_scale.data.windows import Windows, as_episodes, windows_of
from jepa_scale.records import ActionSpace, Episodes, Trajectories
from jepa_scale.streams import stream_seed
from jepa_scale.worlds.base import SampledWorld


class RunData(L.LightningDataModule):
    """Data of a run: windows of ``horizon`` transitions to train on, and trajectories for estimates.

    Training are the first n transitions of some episodes in a fixed order, so that a smaller n is a prefix of a larger
    one. Held-out and test trajectories never depend on n.

    Raises
    ------
    ValueError
        If n is below the batch size or above the transitions there are, or no window is as long as the horizon.
    """

    heldout: Trajectories
    test: Trajectories
    normaliser: Normaliser | None = None
    """Normaliser fitted on the training transitions; None if the model takes raw observations and actions."""

    def __init__(
        self,
        episodes: Episodes,
        chosen: np.ndarray,
        n: int,
        horizon: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
    ) -> None:
        super().__init__()
        if n < batch_size:
            raise ValueError(
                f"expected at least one batch of training data, got data.n={n} < data.batch_size={batch_size}: "
                "raise n or lower the batch size"
            )
        self.n, self.batch_size, self.steps_per_epoch, self.seed = n, batch_size, steps_per_epoch, seed
        self.rows = transition_rows(episodes, chosen, n)
        self.windows: Windows = windows_of(episodes, chosen, n, horizon)
        self.episodes = len(np.unique(np.searchsorted(episodes.offsets, self.rows, side="right")))
        """Number of episodes that the training transitions come from."""
        self.action_counts = _counts(episodes.actions[self.rows], episodes.action_space)

    @property
    def checksum(self) -> str:
        """SHA-256 of the training data."""
        raise NotImplementedError(f"{type(self).__name__} must say what it trains on")

    def train_dataloader(self) -> StepLoader:
        """Return the loader of batches on the training device; the data set is copied there once."""
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        return StepLoader(
            self.windows.to(device),
            self.batch_size,
            self.steps_per_epoch,
            stream_seed(self.seed, "batches"),
            processes.rank(),
            processes.world_size(),
            # Asked later: Lightning wants the loader before it has restored the number of steps.
            lambda: trainer.global_step if trainer is not None else 0,
        )


def _counts(actions: np.ndarray, space: ActionSpace) -> torch.Tensor:
    """Return the number of transitions of each action; one total for continuous actions."""
    if space.count is None:
        return torch.tensor([len(actions)])
    return torch.bincount(torch.as_tensor(actions), minlength=space.count)


class WorldData(RunData):
    """Data of a run from trajectories that a world draws under its behaviour policy.

    Training trajectories are those of the stream ``data/train``; held-out and test ones have streams of their own.

    Raises
    ------
    ValueError
        As for all data; if a size is below 1; if hardly any transition of the world is usable.
    """

    def __init__(
        self,
        world: SampledWorld,
        n: int,
        heldout: int,
        test: int,
        length: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        horizon: int = 1,
    ) -> None:
        if length < horizon:
            raise ValueError(
                f"expected trajectories of at least data.horizon={horizon} transitions, got data.length={length}"
            )
        # Lightning's attributes can only be set once it is initialised, which needs the training data.
        train, heldout_data, tested = (
            draw(world, size, length, stream_seed(seed, f"data/{name}"))
            for name, size in (("train", n), ("heldout", heldout), ("test", test))
        )
        episodes = as_episodes(train, world.action_space)
        every = np.arange(len(episodes.lengths))
        super().__init__(episodes, every, n, horizon, batch_size, steps_per_epoch, seed)
        self.world, self.train, self.heldout, self.test = world, train, heldout_data, tested
        self.normaliser = fit_needed(episodes, self.rows) if world.normalise else None

    @property
    def checksum(self) -> str:
        """Checksum of the training trajectories."""
        return self.train.checksum


def draw(world: SampledWorld, transitions: int, length: int, seed: int) -> Trajectories:
    """Draw as many trajectories as are needed for a number of usable transitions.

    Raises
    ------
    ValueError
        If a size is below 1 or hardly any transition of the world is usable.
    """
    count = -(-transitions // length)
    for _ in range(_ATTEMPTS):
        drawn = world.sample(count, length, seed)
        if drawn.transitions >= transitions:
            return drawn
        # Fewer trajectories are a prefix of more: what is drawn again is the same.
        count = 1 + int(count * 1.05 * transitions / max(drawn.transitions, 1))
    raise ValueError(
        f"expected {transitions} usable transitions, got {drawn.transitions} in {len(drawn.actions)} trajectories of "
        f"{length}: lengthen data.length or lower data.n"
    )


_ATTEMPTS = 4
"""Number of attempts; each uses the share of usable transitions that the one before it found."""

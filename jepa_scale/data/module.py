"""Training, held-out and test data of one run."""

from __future__ import annotations

import lightning as L
import numpy as np
import torch

from jepa_scale.data.loader import StepLoader
from jepa_scale.data.windows import as_episodes, windows_of
from jepa_scale.records import Trajectories
from jepa_scale.streams import stream_seed
from jepa_scale.worlds.base import World


class WorldData(L.LightningDataModule):
    """Windows of ``horizon`` transitions of a world under its behaviour policy, split by trajectory.

    The first n transitions of the stream ``data/train`` are the training set, so a smaller n is a prefix of a larger
    one for the same seed. Held-out and test trajectories have streams of their own and never depend on n.

    Raises
    ------
    ValueError
        If n is below the batch size, or a size is below 1.
    """

    def __init__(
        self,
        world: World,
        n: int,
        heldout: int,
        test: int,
        length: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        horizon: int = 1,
    ) -> None:
        super().__init__()
        self.world, self.n, self.batch_size = world, n, batch_size
        self.steps_per_epoch, self.seed = steps_per_epoch, seed
        if n < batch_size:
            raise ValueError(
                f"expected at least one batch of training data, got data.n={n} < data.batch_size={batch_size}: "
                "raise n or lower the batch size"
            )
        self.train = self._draw("data/train", n, length)
        self.heldout = self._draw("data/heldout", heldout, length)
        self.test = self._draw("data/test", test, length)
        if length < horizon:
            raise ValueError(
                f"expected trajectories of at least data.horizon={horizon} transitions, got data.length={length}"
            )
        episodes = as_episodes(self.train, world.action_space)
        self.windows = windows_of(episodes, np.arange(len(episodes.lengths)), n, horizon)
        self.action_counts = self._counts(n)

    def _counts(self, n: int) -> torch.Tensor:
        """Transitions of each action; all in one cell where actions are continuous."""
        count = self.world.action_space.count
        if count is None:
            return torch.tensor([n])
        taken = torch.as_tensor(self.train.actions).reshape(-1)[:n]
        return torch.bincount(taken, minlength=count)

    def _draw(self, stream: str, transitions: int, length: int) -> Trajectories:
        return self.world.sample(-(-transitions // length), length, stream_seed(self.seed, stream))

    def train_dataloader(self) -> StepLoader:
        """Batches on the training device; the data set is copied there once."""
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        return StepLoader(
            self.windows.to(device),
            self.batch_size,
            self.steps_per_epoch,
            stream_seed(self.seed, "batches"),
            rank,
            world_size,
        )

"""Training, held-out and test data of one run."""

from __future__ import annotations

import lightning as L
import torch

from jepa_scale.data.loader import StepLoader
from jepa_scale.records import Batch, Trajectories
from jepa_scale.streams import stream_seed
from jepa_scale.worlds.base import ExactWorld


class WorldData(L.LightningDataModule):
    """Transitions of a world under its behaviour policy, split by trajectory.

    The first n transitions of the stream ``data/train`` are the training set, so a smaller n is a prefix of a larger
    one for the same seed. Held-out and test trajectories have streams of their own and never depend on n.

    Raises
    ------
    ValueError
        If n is below the batch size, or a size is below 1.
    """

    def __init__(
        self,
        world: ExactWorld,
        n: int,
        heldout: int,
        test: int,
        length: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
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
        self.transitions = first_transitions(self.train, n)
        self.action_counts = torch.bincount(self.transitions.actions, minlength=world.actions)

    def _draw(self, stream: str, transitions: int, length: int) -> Trajectories:
        return self.world.sample(-(-transitions // length), length, stream_seed(self.seed, stream))

    def train_dataloader(self) -> StepLoader:
        """Batches on the training device; the data set is copied there once."""
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        return StepLoader(
            self.transitions.to(device),
            self.batch_size,
            self.steps_per_epoch,
            stream_seed(self.seed, "batches"),
            rank,
            world_size,
        )


def first_transitions(trajectories: Trajectories, n: int) -> Batch:
    """Return the first n transitions in the order of trajectories and time, as tensors."""
    observations = torch.as_tensor(trajectories.observations)
    current = observations[:, :-1].reshape(-1, observations.shape[-1])
    following = observations[:, 1:].reshape(-1, observations.shape[-1])
    actions = torch.as_tensor(trajectories.actions).reshape(-1)
    return Batch(current[:n].contiguous(), actions[:n].contiguous(), following[:n].contiguous())

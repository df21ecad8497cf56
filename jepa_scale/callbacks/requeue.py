"""Stopping on request of a signal, on all ranks before the same step."""

from __future__ import annotations

from typing import Any

import lightning as L

from jepa_scale import processes, signals
from jepa_scale.callbacks.checkpoint import RunCheckpoint


class StopAsked(Exception):
    """Training has stopped and everything is saved; ``request`` is that of ``signals.request``."""

    def __init__(self, request: int) -> None:
        super().__init__(request)
        self.request = request


class SafeStop(L.Callback):
    """Every ``every`` steps and after each epoch, check whether any rank was told to stop; then save, and raise.

    It must come after the checkpoint callback. A single process checks at every step. A signal that comes while an
    epoch's estimates are computed is handled once they are saved.

    Raises
    ------
    StopAsked
        On all ranks, before the same step.
    """

    def __init__(self, checkpoint: RunCheckpoint, every: int = 10) -> None:
        self.checkpoint, self.every = checkpoint, every
        self._begun = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the steps already saved, so that a checkpoint's age tells when the run last made progress."""
        self._begun = trainer.global_step

    def idle_steps(self, trainer: L.Trainer, batch_idx: int) -> int:
        """Return how many steps may pass before the next check, where a cohort takes them."""
        del trainer
        return self.every - batch_idx % self.every

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Check before a step, when the previous one is complete."""
        if processes.world_size() > 1 and trainer.global_step % self.every:
            return
        if request := processes.greatest(signals.request()):
            if trainer.global_step > self._begun:
                self.checkpoint.save(trainer)
            raise StopAsked(request)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check after the epoch's checkpoint."""
        if trainer.should_stop:
            return
        if request := processes.greatest(signals.request()):
            raise StopAsked(request)

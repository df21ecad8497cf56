"""Stopping between two steps when a signal has asked for it, on all ranks at the same one."""

from __future__ import annotations

from typing import Any

import lightning as L

from jepa_scale import processes, signals
from jepa_scale.callbacks.checkpoint import RunCheckpoint


class StopAsked(Exception):
    """Training has stopped and everything is saved; ``request`` as of ``signals.request``."""

    def __init__(self, request: int) -> None:
        super().__init__(request)
        self.request = request


class SafeStop(L.Callback):
    """Ask all ranks every ``every`` steps, and after each epoch, whether one was told to stop; save, and raise.

    It must come after the checkpoint. A process on its own asks itself at every step. A signal that comes while an
    epoch's estimates are made is answered once they are saved.

    Raises
    ------
    StopAsked
        On all ranks, before the same step.
    """

    def __init__(self, checkpoint: RunCheckpoint, every: int = 10) -> None:
        self.checkpoint, self.every = checkpoint, every
        self._begun = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember what is saved already: a checkpoint's age is to say when a run last came further."""
        self._begun = trainer.global_step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before a step: the one before is whole now."""
        if processes.world_size() > 1 and trainer.global_step % self.every:
            return
        if request := processes.greatest(signals.request()):
            if trainer.global_step > self._begun:
                self.checkpoint.save(trainer)
            raise StopAsked(request)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After the epoch's checkpoint."""
        if trainer.should_stop:
            return
        if request := processes.greatest(signals.request()):
            raise StopAsked(request)

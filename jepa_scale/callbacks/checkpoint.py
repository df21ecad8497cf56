"""The state at the end of every epoch, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import lightning as L


class EpochCheckpoint(L.Callback):
    """Save ``last.ckpt`` after the epoch's estimates; must be the last callback, so that none of them is lost."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write beside the old checkpoint, then replace it."""
        if trainer.should_stop:
            return
        temporary = self.path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            os.replace(temporary, self.path)

"""A run whose loss is not finite, or has exploded, ends as ``diverged`` with a sentence."""

from __future__ import annotations

import math
from typing import Any

import lightning as L

from jepa_scale.callbacks.logging import publish
from jepa_scale.records import Estimate
from jepa_scale.training.pretrain import Pretrain


class DivergenceGuard(L.Callback):
    """Look at the loss every ``every`` steps and stop the run when it is lost; log the epoch's mean training loss."""

    def __init__(self, threshold: float, every: int = 25) -> None:
        self.threshold = threshold
        self.every = every
        """Reading a loss waits for the device, so not every step is looked at."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check every few steps and at the end of each epoch."""
        last = batch_idx + 1 == trainer.num_training_batches
        if not isinstance(pl_module, Pretrain) or ((batch_idx + 1) % self.every and not last):
            return
        # A sum over the epoch so far: a NaN at any step since the start of the epoch is still seen.
        total, loss = float(pl_module.loss_sum), float(pl_module.last_loss)
        if not math.isfinite(total) or abs(loss) > self.threshold:
            shown = loss if math.isfinite(loss) else total
            pl_module.diverged = (
                f"training loss {shown:.4g} at step {trainer.global_step} is not finite or beyond ±{self.threshold:g}"
            )
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the weights that the epoch's last step left, and publish the epoch's mean training loss."""
        if not isinstance(pl_module, Pretrain):
            return
        if not pl_module.diverged and not all(bool(weight.isfinite().all()) for weight in pl_module.parameters()):
            pl_module.diverged = f"weights are not finite after step {trainer.global_step}"
            trainer.should_stop = True
        if not pl_module.diverged:
            steps = int(trainer.num_training_batches)
            mean = float(pl_module.loss_sum) / steps
            rows = steps * trainer.datamodule.batch_size  # type: ignore[attr-defined]
            publish(trainer, [Estimate("train/loss", mean, None, rows, trainer.current_epoch, trainer.global_step)])

"""Pretraining of a JEPA world model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from jepa_scale.records import Batch
from jepa_scale.training.world_model import WorldModel


class Pretrain(WorldModel):
    """Encoder f, predictor g and an objective, trained on windows of transitions."""

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch."""
        latents = self.observe(batch)
        loss = self.pretraining_loss(batch, latents)
        self.note(loss, latents)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Let the objective follow the encoder."""
        self.objective.after_step(self.encoder)

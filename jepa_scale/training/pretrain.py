"""Pretraining of a JEPA world model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from jepa_scale.records import Batch
from jepa_scale.training.optim import AdamWOneCycle


class Pretrain(L.LightningModule):
    """Encoder f, predictor g and an objective, trained on transitions (x, a, x⁺)."""

    loss_sum: Tensor
    last_loss: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module,
        objective: nn.Module,
        optimizer: AdamWOneCycle,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.objective = objective
        self.optimizer_settings = optimizer
        self.rates = rates
        """Factors on the learning rate by parameter; None: 1 for all."""
        self.register_buffer("loss_sum", torch.zeros(()), persistent=False)
        self.diverged = ""
        """One sentence once the run is lost, else empty."""

    def encode(self, observations: Tensor) -> Tensor:
        """f(x): (…, D) → (…, k)"""
        return self.encoder(observations)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """g(z, a): (…, k), (…,) → (…, k)"""
        return self.predictor(latents, actions)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch; x and x⁺ share one pass through the encoder."""
        latents = self.encode(torch.cat([batch.observations, batch.next_observations]))
        current, following = latents.chunk(2)
        loss = self.objective(self.predict(current, batch.actions), following, batch.actions)
        # A tensor attribute, not self.log: logging costs a third of a millisecond per step.
        self.last_loss = loss.detach()
        self.loss_sum += self.last_loss
        return loss

    def on_train_epoch_start(self) -> None:
        """Start the epoch's running loss."""
        self.loss_sum.zero_()

    def configure_optimizers(self) -> Any:
        """The injected optimiser over the trainer's whole budget."""
        steps = int(self.trainer.estimated_stepping_batches)
        return self.optimizer_settings.build(self.named_parameters(), steps, self.rates)

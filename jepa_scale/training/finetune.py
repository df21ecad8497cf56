"""Fine-tuning of a pretrained world model for planning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jepa_scale.models.policy import Policy
from jepa_scale.records import Batch
from jepa_scale.training.finetuning.base import FineTuning, step_generator
from jepa_scale.training.world_model import WorldModel


class FineTune(WorldModel):
    """The parts of a pretrained model, trained on in one of the ways of ``training.finetuning``.

    It takes the parts themselves, not copies: the pretrained weights stay in the pretrained checkpoint alone.
    """

    def __init__(self, pretrained: WorldModel, task: FineTuning, seed: int) -> None:
        super().__init__(
            pretrained.encoder,
            pretrained.predictor,
            pretrained.objective,
            pretrained.optimizer_settings.with_rate(task.schedule.lr),
            pretrained.rates,
            pretrained.step_axis,
            task.roll_out_horizon or pretrained.horizon,
        )
        self.task = task
        self.seed = seed
        task.schedule.freeze(self.encoder, self.predictor)
        if not task.schedule.trained:
            # Networks of an objective that is not looked at any more, or only measures distances, stay as they are.
            self.objective.requires_grad_(False)
        self.sees = any(parameter.requires_grad for parameter in self.encoder.parameters())
        """Whether gradients reach the encoder."""

    @property
    def policy(self) -> Policy | None:
        """π, where this way of fine-tuning trains one."""
        return self.task.policy

    def readout(self, latents: Tensor) -> Tensor:
        """Coordinates in which a planner measures distances: learned ones, if there are any."""
        learned = self.task.coordinates(latents)
        return super().readout(latents) if learned is None else learned

    def goal(self, observations: Tensor, latents: Tensor) -> Tensor:
        """The same coordinates of goals."""
        learned = self.task.coordinates(latents)
        return super().goal(observations, latents) if learned is None else learned

    def on_fit_start(self) -> None:
        """Let the way of fine-tuning look at model and data."""
        self.task.prepare(self, self.trainer.datamodule.windows, self.seed)  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch."""
        with torch.set_grad_enabled(self.sees):
            latents = self.observe(batch)
        loss = self.task(self, batch, latents, step_generator(self.seed, self.global_step))
        self.note(loss, latents)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Let what follows the optimiser follow it."""
        self.task.after_step()
        if self.sees:
            self.objective.after_step(self.encoder)

"""Roll-out consistency: the predictor learns to go on from its own outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from jepa_scale.records import Batch
from jepa_scale.training.finetuning.base import FineTuning, Schedule
from jepa_scale.training.world_model import WorldModel


class RollOutConsistency(FineTuning):
    """The pretraining objective over windows of ``horizon`` steps, mean over steps, predictor on its own outputs.

    A predictor that was trained on one step meets latents in a roll-out that no observation has, and its errors add
    up: the T of T5 (arXiv:2606.27014, theorem 4.2). The data are those of pretraining. With the pretraining horizon
    and all parts trained it is no more than longer pretraining: the control of every claim that roll-outs help.

    Raises
    ------
    ValueError
        If no part of the model is trained.
    """

    def __init__(self, schedule: Schedule, horizon: int | None = 4) -> None:
        super().__init__(schedule, horizon)
        if not schedule.trained:
            raise ValueError("expected parts of the model to train, for example trained: [predictor], got none")
        self.roll_out_horizon = horizon

    def forward(self, model: WorldModel, batch: Batch, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of a batch."""
        del generator
        return model.pretraining_loss(batch, latents)

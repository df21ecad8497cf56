"""Going on with the pretraining objective: over longer roll-outs, or as it was."""

from __future__ import annotations

import torch
from torch import Tensor

from jepa_scale.planners.base import DiscretePlanner, Planner
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import Batch
from jepa_scale.training.finetuning.base import FineTuning, Schedule
from jepa_scale.training.world_model import WorldModel


class LongerPretraining(FineTuning):
    """The pretraining objective as it was, for more steps: the control of every claim that fine-tuning helps.

    Raises
    ------
    ValueError
        If no part of the model is trained.
    """

    def __init__(self, schedule: Schedule, horizon: int | None = None) -> None:
        super().__init__(schedule, horizon)
        if not schedule.trained:
            raise ValueError("expected parts of the model to train, for example trained: [predictor], got none")

    def forward(self, model: WorldModel, batch: Batch, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of a batch."""
        del generator
        return model.pretraining_loss(batch, latents)


class RollOutConsistency(LongerPretraining):
    """The pretraining objective over windows of ``horizon`` steps, mean over steps, predictor on its own outputs.

    A predictor that was trained on one step meets latents in a roll-out that no observation has, and its errors add
    up: the T of T5 (arXiv:2606.27014, theorem 4.2). The data are those of pretraining.

    Raises
    ------
    ValueError
        If no part of the model is trained, or neither a horizon nor a planner is given.
    """

    def __init__(
        self, schedule: Schedule, planner: Planner | DiscretePlanner | NoPlanner, horizon: int | None = None
    ) -> None:
        if horizon is None:
            if isinstance(planner, NoPlanner):
                raise ValueError(
                    "expected a number of steps, as there is no planner whose horizon it could be, got null"
                )
            horizon = planner.horizon
        super().__init__(schedule, horizon)
        self.roll_out_horizon = horizon

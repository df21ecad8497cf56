"""Optimiser and learning-rate schedule as frozen settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import Parameter


@dataclass(frozen=True)
class AdamWOneCycle:
    """AdamW with a one-cycle schedule over the whole budget of steps.

    Raises
    ------
    ValueError
        If the learning rate is not positive or the weight decay is negative.
    """

    lr: float = 7e-3
    """Peak learning rate."""
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.weight_decay < 0:
            raise ValueError(
                f"expected lr > 0 and weight_decay ≥ 0, got lr={self.lr}, weight_decay={self.weight_decay}"
            )

    def build(self, parameters: Iterable[Parameter], total_steps: int) -> dict[str, Any]:
        """Return what ``configure_optimizers`` returns."""
        optimizer = torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

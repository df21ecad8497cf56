"""Optimiser and learning-rate schedule as frozen settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
        If the learning rate is not positive, the weight decay is negative, or the base width is below 1.
    """

    lr: float = 3.5e-3
    """Peak learning rate at the base width."""
    weight_decay: float = 1e-2
    base_k: int | None = 16
    """Latent width at which ``lr`` was chosen; initialisation and rate of other widths follow it
    (``training.width``). None: the same rate and PyTorch's own initialisation at every width."""

    def __post_init__(self) -> None:
        if not 0 < self.lr < float("inf") or not 0 <= self.weight_decay < float("inf"):
            raise ValueError(
                f"expected lr > 0 and weight_decay ≥ 0, got lr={self.lr}, weight_decay={self.weight_decay}"
            )
        if self.base_k is not None and self.base_k < 1:
            raise ValueError(f"expected base_k ≥ 1, or null for one rate at every width, got base_k={self.base_k}")

    def groups(
        self, parameters: Iterable[tuple[str, Parameter]], rates: Mapping[str, float] | None = None
    ) -> list[dict[str, Any]]:
        """Return one parameter group for each factor among ``rates`` (by name; 1 where it has none), in order of name.

        Parameters that take no gradient are left out.

        Decay is the product of the group's rate and its ``weight_decay``; the second is divided by the factor, so that
        weights are pulled to zero alike at every width.
        """
        by_factor: dict[float, list[Parameter]] = {}
        for name, parameter in parameters:
            if parameter.requires_grad:
                by_factor.setdefault(1.0 if rates is None else rates.get(name, 1.0), []).append(parameter)
        return [
            {"params": members, "lr": self.lr * factor, "weight_decay": self.weight_decay / factor}
            for factor, members in by_factor.items()
        ]

    def build(
        self, parameters: Iterable[tuple[str, Parameter]], total_steps: int, rates: Mapping[str, float] | None = None
    ) -> dict[str, Any]:
        """Return what ``configure_optimizers`` returns; ``rates`` are factors on the learning rate by name."""
        groups = self.groups(parameters, rates)
        optimizer = torch.optim.AdamW(groups, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        peaks = [group["lr"] for group in groups]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

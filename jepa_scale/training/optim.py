"""Optimisers and learning-rate schedules as frozen settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch.nn import Parameter

BUDGET = ("T_max", "total_steps", "total_iters")
"""Keywords of torch's schedulers that say how many steps there are."""


class OptimizerSettings(Protocol):
    """What a leaf of ``conf/optimizer`` is: it builds an optimiser for a model's parameters."""

    @property
    def lr(self) -> float:
        """Learning rate, for records and tuning."""

    @property
    def base_k(self) -> int | None:
        """Latent width at which the rate was chosen, which other widths follow; None: one rate for all."""

    def with_rate(self, lr: float) -> OptimizerSettings:
        """Return the same settings with another rate, for fine-tuning."""

    def build(
        self, parameters: Iterable[tuple[str, Parameter]], total_steps: int, rates: Mapping[str, float] | None = None
    ) -> dict[str, Any]:
        """Return what ``configure_optimizers`` returns; ``rates`` are factors on the learning rate by name."""


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

    def with_rate(self, lr: float) -> AdamWOneCycle:
        """Return the same settings with another peak rate."""
        return replace(self, lr=lr)

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


@dataclass(frozen=True)
class TorchOptimizer:
    """Any optimiser of torch, or of its form, with any scheduler: one rate at every width.

    Made of a leaf that names a class of parameters and keywords, such as ``optimizer._target_=torch.optim.SGD
    optimizer.lr=0.1``; with ``optimizer.scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR`` its scheduler
    is stepped after every optimiser step. ``T_max``, ``total_steps`` and ``total_iters`` are those of the whole budget
    unless they are given.
    """

    make: Callable[..., torch.optim.Optimizer]
    keywords: Mapping[str, Any]
    schedule: Callable[..., Any] | None = None
    schedule_keywords: Mapping[str, Any] | None = None
    base_k: int | None = None

    @property
    def lr(self) -> float:
        """The keyword ``lr``; NaN where the class has a default of its own."""
        return float(self.keywords.get("lr", float("nan")))

    def with_rate(self, lr: float) -> TorchOptimizer:
        """Return the same settings with another rate."""
        return replace(self, keywords={**self.keywords, "lr": lr})

    def build(
        self, parameters: Iterable[tuple[str, Parameter]], total_steps: int, rates: Mapping[str, float] | None = None
    ) -> dict[str, Any]:
        """Return what ``configure_optimizers`` returns; ``rates`` are those of widths, of which there are none here."""
        optimizer = self.make([one for _, one in parameters if one.requires_grad], **self.keywords)
        if self.schedule is None:
            return {"optimizer": optimizer}
        takes = inspect.signature(self.schedule).parameters
        keywords = {name: total_steps for name in BUDGET if name in takes} | dict(self.schedule_keywords or {})
        schedule = self.schedule(optimizer, **keywords)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

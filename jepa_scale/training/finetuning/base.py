"""What a way of fine-tuning is, and how long it is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jepa_scale import processes
from jepa_scale.data.windows import Windows
from jepa_scale.models.policy import Policy
from jepa_scale.objectives.base import gather
from jepa_scale.records import Batch
from jepa_scale.streams import stream_seed
from jepa_scale.training.world_model import WorldModel

PARTS = ("encoder", "encoder_last", "predictor")
"""What of the world model can be trained: the encoder whole, its last layer alone, the predictor."""


@dataclass(frozen=True)
class Schedule:
    """What of the world model is trained, and for how long; what a way of fine-tuning adds is always trained.

    Raises
    ------
    ValueError
        If a part is unknown, a number of steps is below 1, or the rate is not positive.
    """

    trained: tuple[str, ...] = ()
    """Of ``PARTS``; the rest is frozen."""
    epochs: int = 2
    steps_per_epoch: int = 250
    lr: float = 1e-3
    """Peak learning rate."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "trained", tuple(self.trained))
        unknown = [part for part in self.trained if part not in PARTS]
        if unknown:
            raise ValueError(f"expected trained parts from {', '.join(PARTS)}, got {unknown[0]!r}")
        if min(self.epochs, self.steps_per_epoch) < 1 or not 0 < self.lr < float("inf"):
            raise ValueError(
                f"expected epochs and steps_per_epoch ≥ 1 and lr > 0, got {self.epochs=}, {self.steps_per_epoch=}, "
                f"{self.lr=}"
            )

    def freeze(self, encoder: nn.Module, predictor: nn.Module) -> None:
        """Let only the trained parts take gradients."""
        encoder.requires_grad_("encoder" in self.trained)
        predictor.requires_grad_("predictor" in self.trained)
        if "encoder_last" in self.trained:
            last_layer(encoder).requires_grad_(True)


def last_layer(module: nn.Module) -> nn.Module:
    """The last submodule that has parameters of its own, in the order in which they were registered."""
    return [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))][-1]


class FineTuning(nn.Module):
    """One way of fine-tuning a pretrained world model."""

    roll_out_horizon: int | None = None
    """Steps that the predictor is trained to be rolled out over; None: as many as it was pretrained for."""

    def __init__(self, schedule: Schedule, horizon: int | None) -> None:
        super().__init__()
        if horizon is not None and horizon < 1:
            raise ValueError(f"expected a horizon ≥ 1, or null, got {horizon=}")
        self.schedule = schedule
        self.policy: Policy | None = None
        """Network that plans at once, where this way trains one."""
        self.horizon = horizon
        """Transitions of a training window; None: ``data.horizon``."""

    def forward(self, model: WorldModel, batch: Batch, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of a batch: windows with their latents (B, H+1, k); random numbers come from the generator alone."""
        raise NotImplementedError(f"{type(self).__name__} must say what it minimises")

    def prepare(self, model: WorldModel, windows: Windows, seed: int) -> None:
        """Look at the pretrained model and its training data before the first step."""
        del model, windows, seed

    def after_step(self) -> None:
        """Follow the optimiser, where a copy of a network is kept."""

    def coordinates(self, latents: Tensor) -> Tensor | None:
        """Where planners measure how far latents (…, k) are apart; None: where the pretraining objective does."""
        del latents
        return None


@dataclass(frozen=True)
class Goals:
    """A goal for each window of a batch."""

    observations: Tensor
    """(B, *shape)"""
    latents: Tensor
    """(B, k)"""


def goals_of(batch: Batch, latents: Tensor, far: float, generator: torch.Generator, shared: bool = False) -> Goals:
    """Draw goals: what the window itself reached after 1 … H steps, or, of a share ``far``, the end of another window.

    The first are known to be reached, in hindsight (Andrychowicz et al., arXiv:1707.01495); the second teach where to
    go when the goal is far. Of a batch that processes share, goals are drawn for the whole and each takes those of its
    rows: however many there are, they see what one sees.
    """
    device, steps = latents.device, latents.shape[1] - 1
    rows = len(latents) * (processes.world_size() if shared else 1)
    steps_taken = torch.randint(1, steps + 1, (rows,), generator=generator)
    others = torch.randperm(rows, generator=generator)
    away = torch.rand(rows, generator=generator) < far
    if shared:
        others = processes.gathered_place(others, rows)
        steps_taken, others, away = (processes.strided(drawn) for drawn in (steps_taken, others, away))
    steps_taken, others, away = (drawn.to(device) for drawn in (steps_taken, others, away))
    here = torch.arange(len(latents), device=device)

    def chosen(values: Tensor) -> Tensor:
        ends, within = values[:, -1], values[here, steps_taken]
        elsewhere = (gather(ends) if shared else ends)[others]
        return torch.where(away.view(-1, *[1] * (within.ndim - 1)), elsewhere, within)

    return Goals(chosen(batch.observations), chosen(latents))


def step_generator(seed: int, step: int) -> torch.Generator:
    """Numbers of one training step, whatever was drawn before: a resumed run draws the same."""
    return torch.Generator().manual_seed(stream_seed(seed, f"finetune/{step}"))

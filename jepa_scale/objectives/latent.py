"""Prediction of stop-gradient latents, of the encoder itself or of its moving average."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from jepa_scale.objectives.base import Objective, gather, mean_square
from jepa_scale.objectives.collapse import variance_hinge
from jepa_scale.records import View


class LatentPrediction(Objective):
    """MSE(ẑ, sg(f̄(x⁺))) + variance · V: latent-level prediction as in the paper (arXiv:2606.27014, section 5).

    sg stops the gradient. f̄ is the encoder itself at ``momentum`` 0, as in the paper, else its exponential moving
    average (BYOL, arXiv:2006.07733). MSE is the mean over rows, steps and coordinates; V = ``variance_hinge`` of the
    encoder's latents over the global batch, at each step of the window, averaged over steps.

    The hinge bounds the spread of latents from below only: without ``model.normalise`` the loss can grow without limit
    at small k, and such runs end as diverged. With ``variance`` 0 a constant encoder is a minimum.

    Raises
    ------
    ValueError
        If the weight is negative or the momentum outside [0, 1).
    """

    def __init__(self, encoder: nn.Module, variance: float = 1.0, momentum: float = 0.0) -> None:
        super().__init__()
        if variance < 0 or not 0 <= momentum < 1:
            raise ValueError(f"expected variance ≥ 0 and momentum in [0, 1), got {variance=}, {momentum=}")
        self.variance, self.momentum = variance, momentum
        self.target = copy.deepcopy(encoder).requires_grad_(False) if momentum else None

    def forward(self, view: View) -> Tensor:
        """Loss of a batch."""
        if self.target is None:
            observed = view.latents[:, 1:].detach()
        else:
            following = view.observations[:, 1:]
            with torch.no_grad():
                observed = self.target(following.flatten(0, 1)).unflatten(0, following.shape[:2])
        steps = gather(view.latents).unbind(1)
        spread = torch.stack([variance_hinge(rows) for rows in steps]).mean()
        return mean_square(view.predicted, observed) + self.variance * spread

    @torch.no_grad()
    def after_step(self, encoder: nn.Module) -> None:
        """f̄ ← momentum f̄ + (1 − momentum) f"""
        if self.target is None:
            return
        for slow, fast in zip(self.target.parameters(), encoder.parameters(), strict=True):
            # Of this form torch.vmap knows how to do all models of a stack at once.
            slow.copy_(torch.lerp(slow, fast, 1 - self.momentum))

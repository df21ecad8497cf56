"""A learned distance for planning: how many steps apart two latents are."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from jepa_scale import processes
from jepa_scale.objectives.base import Head, gather
from jepa_scale.records import Batch
from jepa_scale.training.finetuning.base import FineTuning, Schedule, goals_of
from jepa_scale.training.world_model import WorldModel


class ValueHead(FineTuning):
    """φ with V(z, z_g) = −‖φ(z) − φ(z_g)‖ ≈ −steps from z to z_g, by expectile temporal differences on transitions.

    V(x, x⁺) → −1, V(x, x_g) → −1 + γ V̄(x⁺, x_g), weighted |τ − 1[δ < 0]| δ² for errors δ of V below its target
    (Kostrikov et al., arXiv:2110.06169; as a distance: Park et al., arXiv:2402.15567). Random actions wander; an
    expectile τ near 1 asks for the quickest of what was seen. V̄ is a moving average. Planners then measure
    ‖φ(ẑ) − φ(z_g)‖², so that a wall between two places counts as the way around it. The world model is frozen unless
    parts are trained; then ``keep`` times the pretraining objective is added.

    Raises
    ------
    ValueError
        If τ is outside [0.5, 1), γ or the momentum outside (0, 1), ``keep`` negative or ``size`` below 1.
    """

    def __init__(
        self,
        schedule: Schedule,
        k: int,
        head: Head,
        horizon: int = 8,
        size: int = 16,
        expectile: float = 0.9,
        discount: float = 0.98,
        momentum: float = 0.99,
        far: float = 0.5,
        keep: float = 1.0,
    ) -> None:
        super().__init__(schedule, horizon)
        if not 0.5 <= expectile < 1 or not 0 < discount < 1 or not 0 < momentum < 1:
            raise ValueError(
                f"expected expectile in [0.5, 1), discount and momentum in (0, 1), got {expectile=}, {discount=}, "
                f"{momentum=}"
            )
        if size < 1 or keep < 0 or not 0 <= far <= 1:
            raise ValueError(f"expected size ≥ 1, keep ≥ 0 and far in [0, 1], got {size=}, {keep=}, {far=}")
        self.expectile, self.discount, self.momentum, self.far, self.keep = expectile, discount, momentum, far, keep
        self.embedding = head(k, size)
        self.target = copy.deepcopy(self.embedding).requires_grad_(False)

    def coordinates(self, latents: Tensor) -> Tensor:
        """φ(z): (…, k) → (…, size)"""
        return self.embedding(latents)

    def forward(self, model: WorldModel, batch: Batch, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of a batch."""
        goals = goals_of(batch, latents, self.far, generator, shared=True).latents
        here, following = latents[:, 0], latents[:, 1]
        # Goals that are the next observation are the only ones whose distance is known, one step.
        drawn = torch.rand(len(here) * processes.world_size(), generator=generator)
        next_is_goal = processes.strided(drawn).to(here.device) < _NEXT
        goals = torch.where(next_is_goal[:, None], following, goals)
        steps = _distance(self.embedding(here), self.embedding(goals))
        with torch.no_grad():
            rest = self.discount * _distance(self.target(following), self.target(goals))
            wanted = 1 + torch.where(next_is_goal, torch.zeros_like(rest), rest)
        # In steps, of which fewer are better: an error above 0 says that the goal was nearer than thought.
        error = steps - wanted
        weight = torch.where(error > 0, self.expectile, 1 - self.expectile)
        loss = gather(weight * error.square()).mean()
        if self.schedule.trained:
            loss = loss + self.keep * model.pretraining_loss(batch, latents)
        return loss

    @torch.no_grad()
    def after_step(self) -> None:
        """φ̄ ← momentum φ̄ + (1 − momentum) φ"""
        for slow, fast in zip(self.target.parameters(), self.embedding.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)


_NEXT = 0.2
"""Share of goals that are the next observation."""


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """‖·‖ over the last axis, with a gradient where both are the same."""
    return ((one - other).square().sum(-1) + 1e-6).sqrt()

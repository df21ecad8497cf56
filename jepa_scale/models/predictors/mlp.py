"""A predictor that reads the latent with the action's code beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jepa_scale.models.actions import ActionCode
from jepa_scale.models.layers import perceptron
from jepa_scale.records import ActionSpace


class MLPPredictor(nn.Module):
    """g(z, a) = MLP([z, e_a]) ∈ R^k, or z + MLP([z, e_a]) if ``residual``."""

    def __init__(self, k: int, action_space: ActionSpace, hidden: int, depth: int = 2, residual: bool = False) -> None:
        super().__init__()
        self.code = ActionCode(action_space)
        self.net = perceptron(k + self.code.size, hidden, k, depth)
        self.residual = residual

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """(…, k), (…,) integer or (…, size) → (…, k)"""
        step = self.net(torch.cat([latents, self.code(actions)], dim=-1))
        return latents + step if self.residual else step

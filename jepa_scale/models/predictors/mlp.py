"""A predictor that reads the latent with the action's one-hot code beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jepa_scale.models.layers import perceptron


class MLPPredictor(nn.Module):
    """g(z, a) = MLP([z, e_a]) ∈ R^k."""

    codes: Tensor

    def __init__(self, k: int, actions: int, hidden: int, depth: int = 2) -> None:
        super().__init__()
        self.net = perceptron(k + actions, hidden, k, depth)
        self.register_buffer("codes", torch.eye(actions), persistent=False)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """(…, k), (…,) integer → (…, k)"""
        return self.net(torch.cat([latents, self.codes[actions]], dim=-1))

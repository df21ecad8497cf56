"""Amortised planners: networks whose answer is a plan."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Policy(nn.Module):
    """π(z, z_g) → a_{0:H−1} inside the action limits: a plan by one pass through a network, no search."""

    def __init__(self, network: nn.Module, horizon: int, size: int, low: float, high: float) -> None:
        super().__init__()
        self.network = network
        self.horizon, self.size = horizon, size
        self.middle, self.reach = (low + high) / 2, (high - low) / 2

    def forward(self, latents: Tensor, goals: Tensor) -> Tensor:
        """(…, k), (…, k) → (…, H, size)"""
        raw = self.network(torch.cat([latents, goals], dim=-1))
        return self.middle + self.reach * torch.tanh(raw.unflatten(-1, (self.horizon, self.size)))

"""A predictor with one linear operator for each action."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BilinearPredictor(nn.Module):
    """g(z, a) = W_a z, the predictor of the spectral optimum wherever f spans an invariant subspace of every action.

    ``hidden`` is accepted for the sake of one constructor signature; there is no hidden layer.
    """

    def __init__(self, k: int, actions: int, hidden: int) -> None:
        super().__init__()
        del hidden
        self.operators = nn.Parameter(torch.randn(actions, k, k) / k**0.5)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """(…, k), (…,) integer → (…, k)"""
        return torch.einsum("...ij,...j->...i", self.operators[actions], latents)

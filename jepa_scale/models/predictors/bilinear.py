"""A predictor with one linear operator for each action."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jepa_scale.records import ActionSpace


class BilinearPredictor(nn.Module):
    """g(z, a) = W_a z, the predictor of the spectral optimum wherever f spans an invariant subspace of every action.

    Discrete actions only. ``hidden`` is accepted for the sake of one constructor signature; there is no hidden layer.

    Raises
    ------
    ValueError
        If actions are continuous.
    """

    def __init__(self, k: int, action_space: ActionSpace, hidden: int) -> None:
        super().__init__()
        del hidden
        if action_space.count is None:
            raise ValueError(
                "expected discrete actions, each with an operator of its own, got continuous ones: set "
                "predictor=residual_linear, mlp or gru"
            )
        self.operators = nn.Parameter(torch.randn(action_space.count, k, k) / k**0.5)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """(…, k), (…,) integer → (…, k)"""
        return torch.einsum("...ij,...j->...i", self.operators[actions], latents)

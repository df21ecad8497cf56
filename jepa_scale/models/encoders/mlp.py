"""An encoder of vector observations: a multilayer perceptron, or one linear map at depth 0."""

from __future__ import annotations

from torch import Tensor, nn

from jepa_scale.models.layers import perceptron


class MLPEncoder(nn.Module):
    """f(x) ∈ R^k. At depth 0 on one-hot observations it is the tabular encoder."""

    def __init__(self, observation_dim: int, k: int, hidden: int, depth: int = 2) -> None:
        super().__init__()
        self.net = perceptron(observation_dim, hidden, k, depth)

    def forward(self, observations: Tensor) -> Tensor:
        """(…, D) → (…, k)"""
        return self.net(observations)

"""An encoder of vector observations: a multilayer perceptron, or one linear map at depth 0."""

from __future__ import annotations

from torch import Tensor, nn

from jepa_scale.models.layers import perceptron


class MLPEncoder(nn.Module):
    """f(x) ∈ R^k. At depth 0 on one-hot observations it is the tabular encoder.

    Raises
    ------
    ValueError
        If observations are images.
    """

    def __init__(self, observation_shape: tuple[int, ...], k: int, hidden: int, depth: int = 2) -> None:
        super().__init__()
        if len(observation_shape) != 1:
            raise ValueError(
                f"expected vector observations (D,), got {observation_shape}: set encoder=cnn or encoder=vit_tiny"
            )
        self.net = perceptron(observation_shape[0], hidden, k, depth)

    def forward(self, observations: Tensor) -> Tensor:
        """(…, D) → (…, k)"""
        return self.net(observations)

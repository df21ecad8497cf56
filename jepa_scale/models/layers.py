"""Layers that encoders, predictors and decoders share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def perceptron(inputs: int, hidden: int, outputs: int, depth: int) -> nn.Sequential:
    """Return ``depth`` hidden ReLU layers and a linear output; depth 0 is one linear map.

    Raises
    ------
    ValueError
        If a size is below 1 or the depth is negative.
    """
    if min(inputs, hidden, outputs) < 1 or depth < 0:
        raise ValueError(f"expected sizes ≥ 1 and depth ≥ 0, got {inputs=}, {hidden=}, {outputs=}, {depth=}")
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def as_image(images: Tensor) -> Tensor:
    """(B, H, W, C) bytes or floats in [0, 1] → (B, C, H, W) floats about 0."""
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images
    # Stored with channels last, which is also the faster layout of convolutions on CPUs: no copy.
    return scaled.movedim(-1, -3) - 0.5


class Normalised(nn.Module):
    """A module whose outputs have mean 0 and variance 1 over their coordinates: LayerNorm without parameters.

    It bounds every latent, |z|² = k, whatever the objective does: without it a loss that bounds the spread of latents
    only from below can diverge.

    Raises
    ------
    ValueError
        If the width is 1: normalised, a single coordinate is always 0.
    """

    def __init__(self, module: nn.Module, k: int) -> None:
        super().__init__()
        if k < 2:
            raise ValueError(f"expected k ≥ 2 with model.normalise, got {k=}: one coordinate alone is normalised to 0")
        self.module = module
        self.context = getattr(module, "context", 1)
        """Of a predictor: steps that it can look back on."""
        self.norm = nn.LayerNorm(k, elementwise_affine=False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The module's output, normalised over its last axis."""
        return self.norm(self.module(*inputs))

    def following(self, latents: Tensor, actions: Tensor) -> Tensor:
        """The same of a predictor's windows: (…, c, k), (…, c) or (…, c, size) → (…, c, k)"""
        return self.norm(self.module.following(latents, actions))  # type: ignore[operator]

"""Layers that standardise what a model is given, by statistics of its training data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from jepa_scale.records import ActionSpace


class Standardise(nn.Module):
    """x ↦ (x − mean) / deviation along the last axis; both are buffers, so they are kept in a checkpoint.

    Raises
    ------
    ValueError
        If the shapes differ or a deviation is not positive.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        super().__init__()
        if mean.shape != deviation.shape or not (deviation > 0).all():
            raise ValueError(f"expected a positive deviation for each of {mean.shape} means, got {deviation}")
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.as_tensor(deviation, dtype=torch.float32))

    def forward(self, values: Tensor) -> Tensor:
        """(…, D) → (…, D)"""
        return (values - self.mean) / self.deviation


class StandardisedObservations(nn.Module):
    """An encoder of standardised observations."""

    def __init__(self, encoder: nn.Module, scale: Standardise) -> None:
        super().__init__()
        self.scale, self.encoder = scale, encoder

    def forward(self, observations: Tensor) -> Tensor:
        """f((x − mean) / deviation)"""
        return self.encoder(self.scale(observations))


class StandardisedActions(nn.Module):
    """A predictor of standardised continuous actions; whoever calls it keeps to their own units."""

    def __init__(self, predictor: nn.Module, scale: Standardise) -> None:
        super().__init__()
        self.scale, self.predictor = scale, predictor

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """g(z, (a − mean) / deviation)"""
        return self.predictor(latents, self.scale(actions))


def standardised_space(space: ActionSpace) -> ActionSpace:
    """The space of standardised actions, as a predictor is told of it: limits that it scales no further by."""
    return ActionSpace(None, space.size, -1.0, 1.0)

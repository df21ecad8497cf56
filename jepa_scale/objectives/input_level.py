"""Prediction of the next observation itself, through a decoder."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jepa_scale.objectives.base import Head, Objective, mean_square
from jepa_scale.records import View


class InputPrediction(Objective):
    """Mean over rows, steps and coordinates of w (d(ẑ) − x⁺)²: input-level prediction (arXiv:2606.27014, section 5).

    d is a decoder, R^k → observation space, which ``head`` makes; images are flattened, with bytes as numbers in [0,
    1]. Noise coordinates, where the world names them, have the weight w = ``noise_weight``, all others 1.

    Planners measure distances between observations. In this objective nothing makes ẑ agree with f(x), so that
    roll-outs longer than a training window decode and encode again.

    Raises
    ------
    ValueError
        If the weight is negative.
    """

    encodes_again = True
    weights: Tensor

    def __init__(
        self,
        k: int,
        head: Head,
        observation_shape: tuple[int, ...],
        noise_mask: np.ndarray | None,
        noise_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if noise_weight < 0:
            raise ValueError(f"expected a weight ≥ 0, got {noise_weight=}")
        self.observation_shape = tuple(observation_shape)
        size = int(np.prod(observation_shape))
        self.decoder = head(k, size)
        weights = np.ones(size) if noise_mask is None else np.where(noise_mask, noise_weight, 1.0)
        self.register_buffer("weights", torch.as_tensor(np.sqrt(weights), dtype=torch.float32), persistent=False)

    def forward(self, view: View) -> Tensor:
        """Loss of a batch."""
        observed = self._flat(view.observations[:, 1:])
        return mean_square(self.weights * self.decoder(view.predicted), self.weights * observed)

    def readout(self, latents: Tensor) -> Tensor:
        """d(ẑ), (…, D)"""
        return self.decoder(latents)

    def decoded(self, latents: Tensor) -> Tensor:
        """d(ẑ) in the shape of an observation, for the encoder."""
        return self.decoder(latents).unflatten(-1, self.observation_shape)

    def goal(self, observations: Tensor, latents: Tensor) -> Tensor:
        """The observation itself, (…, D)"""
        del latents
        return self._flat(observations)

    def _flat(self, observations: Tensor) -> Tensor:
        leading = observations.ndim - len(self.observation_shape)
        scaled = observations.float() / 255 if observations.dtype == torch.uint8 else observations
        return scaled.flatten(leading)

"""A small residual convolutional encoder of images."""

from __future__ import annotations

from torch import Tensor, nn

from jepa_scale.models.layers import as_image

_CHANNELS = (16, 32, 32)


class CNNEncoder(nn.Module):
    """f(x) ∈ R^k of an image: three strided convolutions, a residual block after each but the first, one linear map.

    After IMPALA's encoder (Espeholt et al., arXiv:1802.01561), with strides in place of pooling and without a block at
    the largest resolution, which together take a tenth of its time.

    Raises
    ------
    ValueError
        If observations are no images, or smaller than 8 pixels on a side.
    """

    def __init__(self, observation_shape: tuple[int, ...], k: int, hidden: int) -> None:
        super().__init__()
        height, width, channels = image_shape(observation_shape, 8)
        layers: list[nn.Module] = []
        for stage, wider in enumerate(_CHANNELS):
            layers.append(nn.Conv2d(channels, wider, 3, stride=2, padding=1))
            if stage:
                layers.append(_Residual(wider))
            channels, height, width = wider, -(-height // 2), -(-width // 2)
        self.convolutions = nn.Sequential(*layers, nn.ReLU())
        self.head = nn.Sequential(nn.Linear(channels * height * width, hidden), nn.ReLU(), nn.Linear(hidden, k))

    def forward(self, observations: Tensor) -> Tensor:
        """(…, H, W, C) bytes or floats in [0, 1] → (…, k)"""
        leading = observations.shape[:-3]
        images = as_image(observations.reshape(-1, *observations.shape[-3:]))
        return self.head(self.convolutions(images).flatten(1)).reshape(*leading, -1)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.body(features)


def image_shape(observation_shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """Return (H, W, C) of image observations.

    Raises
    ------
    ValueError
        If they are no images, smaller than ``smallest`` on a side, or have other than 1, 3 or 4 channels.
    """
    if len(observation_shape) != 3 or min(observation_shape[:2]) < smallest or observation_shape[2] not in (1, 3, 4):
        raise ValueError(
            f"expected images (H, W, C) of at least {smallest} pixels a side with 1, 3 or 4 channels last, got "
            f"{observation_shape}: vectors take encoder=mlp"
        )
    height, width, channels = observation_shape
    return height, width, channels

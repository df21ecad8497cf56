"""A small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jepa_scale.models.encoders.cnn import image_shape
from jepa_scale.models.layers import as_image


class ViTEncoder(nn.Module):
    """f(x) ∈ R^k of an image: patches, pre-norm transformer blocks, and one linear map from the class token.

    After ViT-Ti (Dosovitskiy et al., arXiv:2010.11929; Touvron et al., arXiv:2012.12877): 192 units in 3 heads; its 12
    blocks by ``depth=12``.

    Raises
    ------
    ValueError
        If observations are no images, or the patch does not divide them.
    """

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        k: int,
        hidden: int,
        patch: int = 8,
        units: int = 192,
        heads: int = 3,
        depth: int = 4,
    ) -> None:
        super().__init__()
        del hidden  # the transformer's own width does not follow the latent's
        height, width, channels = image_shape(observation_shape, patch)
        if height % patch or width % patch or units % heads or depth < 1:
            raise ValueError(
                f"expected a patch that divides {height} × {width}, heads that divide units, and depth ≥ 1, got "
                f"{patch=}, {units=}, {heads=}, {depth=}"
            )
        self.patches = nn.Conv2d(channels, units, patch, stride=patch)
        places = height // patch * (width // patch)
        self.class_token = nn.Parameter(torch.zeros(units))
        self.positions = nn.Parameter(0.02 * torch.randn(places + 1, units))
        block = nn.TransformerEncoderLayer(
            units, heads, 4 * units, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, depth, norm=nn.LayerNorm(units), enable_nested_tensor=False)
        self.head = nn.Linear(units, k)

    def forward(self, observations: Tensor) -> Tensor:
        """(…, H, W, C) bytes or floats in [0, 1] → (…, k)"""
        leading = observations.shape[:-3]
        images = as_image(observations.reshape(-1, *observations.shape[-3:]))
        tokens = self.patches(images).flatten(2).mT
        start = self.class_token.expand(len(tokens), 1, -1)
        tokens = torch.cat([start, tokens], dim=1) + self.positions
        return self.head(self.blocks(tokens)[:, 0]).reshape(*leading, -1)

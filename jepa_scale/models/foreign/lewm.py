"""LeWM as stable-worldmodel saves it: a vision transformer, an autoregressive predictor, weights by their names.

The class token of a ViT (with Hugging Face's names) goes through a projector to the latent, an action through a small
network; a causal transformer, modulated by the action (AdaLN-zero), predicts the next latent of up to ``history`` ones.
Sizes follow from the shapes of the weights; heads have 64 channels, as in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_HEAD = 64
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Weights = Mapping[str, Tensor]


class Vision(nn.Module):
    """Class token of a ViT: (B, 3, S, S) → (B, hidden)"""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        token = weights["embeddings.cls_token"]
        hidden, patch = token.shape[-1], weights["embeddings.patch_embeddings.projection.weight"].shape[-1]
        self.embeddings: Any = nn.Module()
        self.embeddings.cls_token = nn.Parameter(torch.empty_like(token))
        self.embeddings.position_embeddings = nn.Parameter(torch.empty_like(weights["embeddings.position_embeddings"]))
        self.embeddings.patch_embeddings = nn.Module()
        self.embeddings.patch_embeddings.projection = nn.Conv2d(3, hidden, patch, patch)
        inner = weights["encoder.layer.0.intermediate.dense.weight"].shape[0]
        self.encoder: Any = nn.Module()
        self.encoder.layer = nn.ModuleList(
            [_VisionBlock(hidden, inner) for _ in range(_count(weights, "encoder.layer"))]
        )
        self.layernorm = nn.LayerNorm(hidden, eps=1e-12)
        self.side = patch * round((weights["embeddings.position_embeddings"].shape[1] - 1) ** 0.5)
        """S, the side of the images that the positions are of."""

    def forward(self, images: Tensor) -> Tensor:
        """Of the last layer."""
        part = self.embeddings
        tokens = part.patch_embeddings.projection(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([part.cls_token.expand(len(images), -1, -1), tokens], dim=1) + part.position_embeddings
        for block in self.encoder.layer:
            tokens = block(tokens)
        return self.layernorm(tokens[:, 0])


class _VisionBlock(nn.Module):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.layernorm_before = nn.LayerNorm(hidden, eps=1e-12)
        self.layernorm_after = nn.LayerNorm(hidden, eps=1e-12)
        self.attention: Any = nn.Module()
        self.attention.attention = nn.Module()
        for name in ("query", "key", "value"):
            setattr(self.attention.attention, name, nn.Linear(hidden, hidden))
        self.attention.output = _Dense(hidden, hidden)
        self.intermediate, self.output = _Dense(hidden, inner), _Dense(inner, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        inside, part = self.layernorm_before(tokens), self.attention.attention
        heads = [_split(project(inside)) for project in (part.query, part.key, part.value)]
        tokens = tokens + self.attention.output.dense(_merged(_attention(heads)))
        inside = functional.gelu(self.intermediate.dense(self.layernorm_after(tokens)))
        return tokens + self.output.dense(inside)


class _Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)


class Projector(nn.Module):
    """Linear, batch normalisation, GELU, linear: (B, inputs) → (B, outputs); the identity where nothing was saved."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        if not weights:
            self.net: nn.Module = nn.Identity()
            return
        hidden, inputs = weights["net.0.weight"].shape
        norm = nn.BatchNorm1d(hidden) if "net.1.running_mean" in weights else nn.LayerNorm(hidden)
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden), norm, nn.GELU(), nn.Linear(hidden, weights["net.3.weight"].shape[0])
        )

    def forward(self, values: Tensor) -> Tensor:
        """Of rows."""
        return self.net(values)


class ActionEncoder(nn.Module):
    """Actions to what the predictor is modulated by: (…, size) → (…, k)"""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        smoothed, size, _ = weights["patch_embed.weight"].shape
        inner, outputs = weights["embed.0.weight"].shape[0], weights["embed.2.weight"].shape[0]
        self.patch_embed = nn.Conv1d(size, smoothed, 1)
        self.embed = nn.Sequential(nn.Linear(smoothed, inner), nn.SiLU(), nn.Linear(inner, outputs))

    def forward(self, actions: Tensor) -> Tensor:
        """A convolution of width 1 is a linear map."""
        return self.embed(functional.linear(actions, self.patch_embed.weight[..., 0], self.patch_embed.bias))


class Predictor(nn.Module):
    """Next latents of up to ``history`` latents and embedded actions: (B, t, k) twice → (B, t, hidden)"""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty_like(weights["pos_embedding"]))
        self.history = self.pos_embedding.shape[1]
        hidden = weights["transformer.norm.weight"].shape[0]
        self.transformer: Any = nn.Module()
        for name in ("input_proj", "cond_proj", "output_proj"):
            shape = weights.get(f"transformer.{name}.weight")
            part = nn.Identity() if shape is None else nn.Linear(shape.shape[1], shape.shape[0])
            setattr(self.transformer, name, part)
        inner = weights["transformer.layers.0.mlp.net.1.weight"].shape[0]
        width = weights["transformer.layers.0.attn.to_qkv.weight"].shape[0] // 3
        projects = "transformer.layers.0.attn.to_out.0.weight" in weights
        blocks = [_Modulated(hidden, width, inner, projects) for _ in range(_count(weights, "transformer.layers"))]
        self.transformer.layers = nn.ModuleList(blocks)
        self.transformer.norm = nn.LayerNorm(hidden)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Causal: what is predicted at t has seen 1 … t."""
        part = self.transformer
        tokens = part.input_proj(latents + self.pos_embedding[:, : latents.shape[1]])
        condition = part.cond_proj(actions)
        for block in part.layers:
            tokens = block(tokens, condition)
        return part.output_proj(part.norm(tokens))


class _Modulated(nn.Module):
    def __init__(self, hidden: int, width: int, inner: int, projects: bool) -> None:
        super().__init__()
        self.attn: Any = nn.Module()
        self.attn.norm, self.attn.to_qkv = nn.LayerNorm(hidden), nn.Linear(hidden, 3 * width, bias=False)
        self.attn.to_out = nn.Sequential(nn.Linear(width, hidden), nn.Identity()) if projects else nn.Identity()
        self.mlp: Any = nn.Module()
        self.mlp.net = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, inner),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(inner, hidden),
            nn.Identity(),
        )
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 6 * hidden))

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation(condition).chunk(6, dim=-1)
        inside = _normalised(tokens) * (1 + scale) + shift
        heads = [_split(part) for part in self.attn.to_qkv(self.attn.norm(inside)).chunk(3, dim=-1)]
        attended = _attention(heads, causal=True)
        tokens = tokens + gate * self.attn.to_out(_merged(attended))
        return tokens + gate_mlp * self.mlp.net(_normalised(tokens) * (1 + scale_mlp) + shift_mlp)


def _attention(heads: list[Tensor], causal: bool = False) -> Tensor:
    query, key, value = heads
    return functional.scaled_dot_product_attention(query, key, value, is_causal=causal)


def _normalised(tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)


def _split(values: Tensor) -> Tensor:
    """(B, t, heads × 64) → (B, heads, t, 64)"""
    return values.unflatten(-1, (-1, _HEAD)).transpose(1, 2)


def _merged(values: Tensor) -> Tensor:
    return values.transpose(1, 2).flatten(2)


def _count(weights: Weights, prefix: str) -> int:
    numbers = [int(found.group(1)) for name in weights if (found := re.match(rf"{re.escape(prefix)}\.(\d+)\.", name))]
    return 1 + max(numbers)


class LeWM(nn.Module):
    """A trained LeWM: observations are images of bytes, actions in the units of the recording.

    Parameters
    ----------
    weights
        The saved state dict.
    mean, deviation
        (size,) of the recorded actions: the model was trained on standardised ones, and its file does not hold them.

    Raises
    ------
    KeyError
        If a part is missing.
    RuntimeError
        If weights are left over or of another shape.
    """

    def __init__(self, weights: Weights, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.encoder, self.predictor = Vision(_under(weights, "encoder")), Predictor(_under(weights, "predictor"))
        self.action_encoder = ActionEncoder(_under(weights, "action_encoder"))
        self.projector = Projector(_under(weights, "projector"))
        self.pred_proj = Projector(_under(weights, "pred_proj"))
        # A pooling layer, which the class token does not pass through, is saved by some versions.
        known = {name: value for name, value in weights.items() if not name.startswith("encoder.pooler.")}
        self.load_state_dict(known, strict=True)
        size = self.action_encoder.patch_embed.in_channels
        if len(mean) != size or len(deviation) != size:
            raise ValueError(f"expected a scale of {size} coordinates of an action, got {len(mean)}")
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("deviation", deviation.float(), persistent=False)
        colours = torch.tensor(_IMAGENET)[:, :, None, None]
        self.register_buffer("colours", colours, persistent=False)

    @property
    def width(self) -> int:
        """k"""
        return self.predictor.pos_embedding.shape[-1]

    @property
    def history(self) -> int:
        """Latents that the predictor looks back on."""
        return self.predictor.history

    @property
    def action_size(self) -> int:
        """Coordinates of an action: of all recorded steps in one of the model."""
        return self.action_encoder.patch_embed.in_channels

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.predictor.pos_embedding.device

    policy = None
    horizon = 1
    """Steps of its training's roll-outs."""
    objective = SimpleNamespace(encodes_again=False)

    @property
    def context(self) -> int:
        """As of this package's models."""
        return self.history

    def readout(self, latents: Tensor) -> Tensor:
        """Distances are taken between latents."""
        return latents

    def goal(self, observations: Tensor, latents: Tensor) -> Tensor:
        """A goal's coordinates are its latent."""
        del observations
        return latents

    def encode(self, observations: Tensor) -> Tensor:
        """f(x): images (B, H, W, 3), 0 … 255 → (B, k)"""
        images = observations.movedim(-1, 1).float() / 255
        colours: Any = self.colours
        images = (images - colours[0]) / colours[1]
        if images.shape[-2:] != (self.encoder.side, self.encoder.side):
            size = (self.encoder.side, self.encoder.side)
            images = functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        return self.projector(self.encoder(images))

    def embed_action(self, actions: Tensor) -> Tensor:
        """(…, size) → (…, k)"""
        mean: Any = self.mean
        return self.action_encoder((actions - mean) / self.deviation)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """One step with no past: (…, k), actions (…, size) → (…, k)"""
        return self.roll_out(latents, actions[..., None, :])[..., 0, :]

    def roll_out(self, latents: Tensor, actions: Tensor) -> Tensor:
        """ẑ_1 … ẑ_T, each from the last ``history`` latents: (…, k), (…, T, size) → (…, T, k)"""
        shape = latents.shape[:-1]
        path = latents.reshape(-1, 1, latents.shape[-1])
        embedded = self.embed_action(actions).reshape(len(path), -1, path.shape[-1])
        for step in range(embedded.shape[1]):
            seen = slice(max(0, step + 1 - self.history), step + 1)
            ahead = self.predictor(path[:, seen], embedded[:, seen])[:, -1]
            path = torch.cat([path, self.pred_proj(ahead)[:, None]], dim=1)
        return path[:, 1:].reshape(*shape, -1, path.shape[-1])


def _under(weights: Weights, part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}

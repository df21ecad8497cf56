"""A causal transformer over the last few latents, each block conditioned on the actions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from jepa_scale.models.actions import ActionCode
from jepa_scale.records import ActionSpace


class TransformerPredictor(nn.Module):
    """ẑ_{t+1} = z_t + W (y_t − x_t), y the output of a causal transformer on tokens x_s = V z_s + p_s, s ≤ t.

    Every block is conditioned on the actions by adaptive layer norms (Peebles and Xie, arXiv:2212.09748): what a
    token's attention and perceptron read is scaled and shifted, and what they add is multiplied, by linear functions of
    a_s. These start at zero (AdaLN-zero): y = x, and the untrained predictor is the identity. So at the very first step
    only they learn; everything else does as soon as they have left zero.

    Windows are of 1 to ``context`` steps and their positions count from their first step, so that what follows a
    step does not depend on later ones. ``hidden`` is accepted for the sake of one constructor signature: the
    transformer's own width does not follow the latent's.

    Raises
    ------
    ValueError
        If a size is below 1, or the heads do not divide the units.
    """

    def __init__(
        self,
        k: int,
        action_space: ActionSpace,
        hidden: int,
        context: int = 3,
        units: int = 128,
        heads: int = 4,
        depth: int = 2,
    ) -> None:
        super().__init__()
        del hidden
        if min(context, units, heads, depth) < 1 or units % heads:
            raise ValueError(
                f"expected sizes ≥ 1 and heads that divide units, got {context=}, {units=}, {heads=}, {depth=}"
            )
        self.context = context
        """C, steps that a prediction can look back on."""
        self.code = ActionCode(action_space)
        self.embed = nn.Sequential(nn.Linear(self.code.size, units), nn.SiLU())
        self.tokens = nn.Linear(k, units)
        self.positions = nn.Parameter(0.02 * torch.randn(context, units))
        self.blocks = nn.ModuleList(_Block(units, heads) for _ in range(depth))
        self.head = nn.Linear(units, k, bias=False)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """One step without a past: (…, k), (…,) integer or (…, size) → (…, k)"""
        axis = -1 if self.code.space.discrete else -2
        return self.following(latents[..., None, :], actions.unsqueeze(axis))[..., 0, :]

    def following(self, latents: Tensor, actions: Tensor) -> Tensor:
        """What follows each step of a window: (…, c, k), (…, c) integer or (…, c, size) → (…, c, k), c ≤ C

        Raises
        ------
        ValueError
            If the window is longer than the context.
        """
        steps, k = latents.shape[-2:]
        if steps > self.context:
            raise ValueError(f"expected at most context={self.context} steps, got {steps}: pass the last ones only")
        flat = latents.reshape(-1, steps, k)
        conditions = self.embed(self.code(actions)).reshape(len(flat), steps, -1)
        start = self.tokens(flat) + self.positions[:steps]
        end = start
        for block in self.blocks:
            end = block(end, conditions)
        return latents + self.head(end - start).view_as(latents)


class _Block(nn.Module):
    """Pre-norm attention and perceptron, each scaled, shifted and gated by the action."""

    def __init__(self, units: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(units, elementwise_affine=False)
        self.inward = nn.Linear(units, 3 * units)
        self.outward = nn.Linear(units, units)
        self.perceptron = nn.Sequential(nn.Linear(units, 4 * units), nn.GELU(), nn.Linear(4 * units, units))
        self.modulation = nn.Linear(units, 6 * units)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, conditions: Tensor) -> Tensor:
        """(B, c, units), (B, c, units) → (B, c, units)"""
        shift, scale, gate, shift_after, scale_after, gate_after = self.modulation(conditions).chunk(6, dim=-1)
        tokens = tokens + gate * self._attend(self.norm(tokens) * (1 + scale) + shift)
        return tokens + gate_after * self.perceptron(self.norm(tokens) * (1 + scale_after) + shift_after)

    def _attend(self, tokens: Tensor) -> Tensor:
        parts = self.inward(tokens).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.outward(mixed.transpose(1, 2).flatten(2))

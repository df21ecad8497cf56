"""The one size dial: latent width k → hidden width, parameters, floating point operations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

HIDDEN_FLOOR = 128


@dataclass(frozen=True)
class ModelSize:
    """Sizes that follow from the latent width.

    Raises
    ------
    ValueError
        If k or the hidden width is below 1.
    """

    k: int
    """Latent width."""
    hidden: int
    """Width of hidden layers."""

    @classmethod
    def of(cls, k: int, hidden: int | None = None) -> ModelSize:
        """Resolve the hidden width: max(128, 2k) unless given, so that the latent is the bottleneck at every k."""
        if k < 1:
            raise ValueError(f"expected a latent width k ≥ 1, got model.k={k}")
        if hidden is not None and hidden < 1:
            raise ValueError(f"expected a hidden width ≥ 1 or null, got model.hidden={hidden}")
        return cls(k, max(HIDDEN_FLOOR, 2 * k) if hidden is None else hidden)


def parameters(*modules: nn.Module) -> int:
    """Count trainable parameters."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


def flops_per_step(encoder: nn.Module, predictor: nn.Module, batch_size: int) -> int:
    """Floating point operations of one optimiser step in the linear layers, forward and backward.

    2 per multiply-add, 3 passes (forward, gradient of inputs, gradient of weights); the encoder sees x and x⁺.
    """
    per_row = {
        module: sum(p.numel() for layer in module.modules() for p in layer.parameters(recurse=False) if p.dim() > 1)
        for module in (encoder, predictor)
    }
    return 6 * batch_size * (2 * per_row[encoder] + per_row[predictor])

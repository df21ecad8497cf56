"""The one size dial: latent width k → hidden width, parameters, floating point operations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

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
    """Count parameters, frozen ones included: the size of a model does not depend on what was trained last."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def flops_per_step(
    encoder: nn.Module, predictor: nn.Module, batch_size: int, horizon: int, observation: Tensor, action: Tensor
) -> int:
    """Floating point operations of one optimiser step in matrix products and convolutions, forward and backward.

    Counted by PyTorch on one row, given as ``observation`` (1, *shape) and ``action`` (1,) or (1, size): 2 per
    multiply-add. Times 3 for the gradients of inputs and of weights, times the rows of a batch: every window is encoded
    H + 1 times and predicted H times.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counted = []
    modes = [(module, module.training) for part in (encoder, predictor) for module in part.modules()]
    # In training a batch norm refuses a single row.
    encoder.eval()
    predictor.eval()
    try:
        with FlopCounterMode(display=False) as forward:
            latents = encoder(observation)
            counted.append(forward.get_total_flops())
            predictor(latents, action)
            counted.append(forward.get_total_flops() - counted[0])
    finally:
        for module, mode in modes:
            module.training = mode
    return 3 * batch_size * ((horizon + 1) * counted[0] + horizon * counted[1])

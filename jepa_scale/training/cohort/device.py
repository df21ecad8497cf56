"""State of torch on a device that a trial of a step depends on, or must leave as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def generators(device: torch.device) -> list[Tensor]:
    """States of torch's global generators, of the host and of a CUDA device."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_generators(device: torch.device, states: Sequence[Tensor]) -> None:
    """Put them back."""
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)


@contextlib.contextmanager
def in_full_precision(device: torch.device) -> Iterator[None]:
    """Let products and convolutions of float32 on a CUDA device round as float32 does, not to 10 bits (TF32).

    Stacked and alone they are done by different kernels, whose results are to be compared.
    """
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions

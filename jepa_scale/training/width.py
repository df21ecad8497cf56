"""Width-aware parametrisation: how initialisation and learning rate of a parameter follow the width of its axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from jepa_scale.models.size import ModelSize

Axis = Literal["latent", "hidden", "fixed"]
"""What sets the length of a parameter's axis: the latent width k, the hidden width, or neither."""


@dataclass(frozen=True)
class Factors:
    """What a parameter is multiplied with, against the same parameter at the base width."""

    initial: float
    """On its initial values, as the constructor draws them with variance ∝ 1 / fan-in."""
    rate: float
    """On its learning rate, for an optimiser whose steps do not depend on the gradient's size (Adam)."""


def factors(axes: tuple[Axis, ...], latent: float, hidden: float) -> Factors:
    """Return the factors of a parameter whose axes are (…, out, in), or (out,) for a bias.

    ``latent`` = k / k_base and ``hidden`` = H / H_base. In the limit of many hidden units every hidden unit stays of
    order 1 and moves by order 1 in a step, as in maximal-update parametrisation (Yang et al., arXiv:2203.03466). A
    latent differs: the loss sees it only through inner products over all k coordinates, so it is its norm that
    is to stay, each coordinate being of order k^-1/2:

    * from hidden units: H coherent steps add up, hence rate ∝ 1/H;
    * from a latent: k coordinates of order k^-1/2, hence rate ∝ k^-1/2 and initial values as if fan-in were fixed;
    * to a latent: initial values and rate ∝ k^-1/2.

    Raises
    ------
    ValueError
        If there are more than three axes: which of them are fan-in and fan-out is then not known.
    """
    if all(axis == "fixed" for axis in axes):
        # Convolutions and transformer blocks of a size of their own.
        return Factors(1.0, 1.0)
    if len(axes) > 3:
        raise ValueError(
            f"expected parameters with axes (out,), (out, in) or (…, out, in), got {len(axes)} axes: set "
            "optimizer.base_k=null, or say in training/width.py how such a parameter follows the width"
        )
    out, inward = (axes[-2], axes[-1]) if len(axes) > 1 else (axes[-1] if axes else "fixed", "fixed")
    initial = rate = 1.0
    if out == "latent":
        initial, rate = initial / math.sqrt(latent), rate / math.sqrt(latent)
    if inward == "latent":
        initial, rate = initial * math.sqrt(latent), rate / math.sqrt(latent)
    if inward == "hidden":
        rate /= hidden
    return Factors(initial, rate)


def axes_of(shape: Callable[[ModelSize], Mapping[str, torch.Size]], size: ModelSize) -> dict[str, tuple[Axis, ...]]:
    """Find what each axis follows by looking which lengths change with k, and which with the hidden width."""
    here = shape(size)
    wider, deeper = shape(ModelSize(size.k + 1, size.hidden)), shape(ModelSize(size.k, size.hidden + 1))

    def axis(name: str, position: int) -> Axis:
        length = here[name][position]
        if wider[name][position] != length:
            return "latent"
        return "hidden" if deeper[name][position] != length else "fixed"

    return {name: tuple(axis(name, position) for position in range(len(here[name]))) for name in here}


def width_factors(make: Callable[[ModelSize], nn.Module], size: ModelSize, base: ModelSize) -> dict[str, Factors]:
    """Return the factors of every parameter of ``make(size)`` against ``make(base)``, by name."""

    def shapes(probe: ModelSize) -> dict[str, torch.Size]:
        # On the meta device nothing is drawn and nothing is stored.
        with torch.device("meta"):
            return {name: parameter.shape for name, parameter in make(probe).named_parameters()}

    latent, hidden = size.k / base.k, size.hidden / base.hidden
    return {name: factors(axes, latent, hidden) for name, axes in axes_of(shapes, size).items()}


@torch.no_grad()
def scale_initial(module: nn.Module, by_name: Mapping[str, Factors]) -> None:
    """Multiply the freshly drawn parameters with their factors."""
    for name, parameter in module.named_parameters():
        parameter.mul_(by_name[name].initial)

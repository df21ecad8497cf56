"""The multilayer perceptron that encoders and predictors share."""

from __future__ import annotations

from torch import nn


def perceptron(inputs: int, hidden: int, outputs: int, depth: int) -> nn.Sequential:
    """Return ``depth`` hidden ReLU layers and a linear output; depth 0 is one linear map.

    Raises
    ------
    ValueError
        If a size is below 1 or the depth is negative.
    """
    if min(inputs, hidden, outputs) < 1 or depth < 0:
        raise ValueError(f"expected sizes ≥ 1 and depth ≥ 0, got {inputs=}, {hidden=}, {outputs=}, {depth=}")
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))

"""Rademacher complexity the slow way: every sign vector of every copy of every point."""

import itertools

import numpy as np


def finite_class(values, counts=None):
    """Mean over all 2ⁿ sign vectors of the largest (1/n) Σ σ_i h(x_i), points repeated as often as counted."""
    counts = [1] * len(values[0]) if counts is None else counts
    sample = [point for point, count in enumerate(counts) for _ in range(count)]
    total = 0.0
    for signs in itertools.product((-1, 1), repeat=len(sample)):
        total += max(sum(s * h[point] for s, point in zip(signs, sample, strict=True)) for h in values)
    return total / len(sample) / 2 ** len(sample)


def linear_class(features, norm_bound):
    total = 0.0
    for signs in itertools.product((-1, 1), repeat=len(features)):
        total += norm_bound * float(np.linalg.norm(sum(s * row for s, row in zip(signs, features, strict=True))))
    return total / len(features) / 2 ** len(features)


def relu_network(weights, biases, inputs):
    """Outputs (n, k), layer by layer, biases added as biases."""
    hidden = inputs
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = hidden @ weight.T + bias
        if layer < len(weights) - 1:
            hidden = np.maximum(hidden, 0)
    return hidden

"""A small basis of continuous actions, for an operator of contexts and actions together."""

from __future__ import annotations

import itertools
import math

import numpy as np

from jepa_scale.shapes import Float, Float64

MOST_DEGREE = 5


class ActionBasis:
    """Products of Legendre polynomials of an action's coordinates, of total degree ≤ D; the first is 1.

    Each coordinate is mapped to [−1, 1] by the range of a sample and clipped to it; polynomials are scaled to a mean
    square of 1 under the uniform law. D is the largest up to 5 of which no more than ``most`` functions exist.

    Raises
    ------
    ValueError
        If not even the coordinates themselves fit.
    """

    def __init__(self, sample: Float64[np.ndarray, "n d"], most: int) -> None:
        low, high = sample.min(0), sample.max(0)
        kept = high > low
        self._kept, self._middle, self._half = kept, (low + high)[kept] / 2, (high - low)[kept] / 2
        dimension = int(kept.sum())
        degrees = [degree for degree in range(1, MOST_DEGREE + 1) if math.comb(dimension + degree, degree) <= most]
        if dimension == 0 or not degrees:
            raise ValueError(
                f"expected room for {dimension + 1} functions of an action, got {most}: project with --components"
            )
        self.degree = max(degrees)
        self._powers = [
            np.bincount(np.array(chosen, dtype=np.int64), minlength=dimension)
            for degree in range(self.degree + 1)
            for chosen in itertools.combinations_with_replacement(range(dimension), degree)
        ]

    def __len__(self) -> int:
        return len(self._powers)

    def __call__(self, actions: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n m"]:
        """Values of all functions."""
        place = np.clip((actions[:, self._kept] - self._middle) / self._half, -1, 1)
        every = np.polynomial.legendre.legvander(place, self.degree) * np.sqrt(2 * np.arange(self.degree + 1) + 1)
        dimensions = np.arange(place.shape[1])
        return np.stack([every[:, dimensions, power].prod(1) for power in self._powers], axis=1)


def with_actions(
    contexts: Float[np.ndarray, "n p"], functions: Float64[np.ndarray, "n m"]
) -> Float[np.ndarray, "n features"]:
    """[1, h] ⊗ φ(a) without the constant, which is always there: m (p + 1) − 1 features."""
    contexts = np.hstack([np.ones((len(contexts), 1), contexts.dtype), contexts])
    product = functions.astype(contexts.dtype)[:, :, None] * contexts[:, None, :]
    return product.reshape(len(contexts), -1)[:, 1:]

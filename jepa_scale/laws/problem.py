"""One least-squares problem of a law on cells, in coordinates centred on the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.base import Cells, Law
from jepa_scale.shapes import Float64

_STEP = 1e-5
"""Step of the central differences in the shapes: truncation and rounding are both about 1e-10 of φ."""
_TINY = 1e-24
"""Smallest Σ c φ whose root is taken: the derivative of a root at 0 is infinite."""


@dataclass(frozen=True)
class Problem:
    """min_θ Σ_i w_i (R_θ(k_i, n_i) − y_i)² over bounded θ.

    Internally a coefficient c_j is measured as the size of its term at the centre of the grid (geometric means of k and
    n, mean tail): c̃_j = c_j φ_j(centre; ψ). For power laws this is centring of ln k and ln n; without it A and α
    have correlation .999. It also makes the problem independent of the units of k and n. Parameters leave this
    class in the formula's natural units only.
    """

    law: Law
    cells: Cells

    @property
    def free(self) -> np.ndarray:
        """(parameters,) boolean: which parameters are fitted."""
        return np.array([True] * len(self.law.terms) + [shape.fixed is None for shape in self.law.shapes])

    @property
    def low(self) -> Float64[np.ndarray, " parameters"]:
        """Lower bounds: 0 for coefficients."""
        shapes = [shape.low if shape.fixed is None else shape.fixed for shape in self.law.shapes]
        return np.array([0.0] * len(self.law.terms) + shapes)

    @property
    def high(self) -> Float64[np.ndarray, " parameters"]:
        """Upper bounds: none for coefficients."""
        shapes = [shape.high if shape.fixed is None else shape.fixed for shape in self.law.shapes]
        return np.array([np.inf] * len(self.law.terms) + shapes)

    def centre(self, shape: Float64[np.ndarray, "*draws shapes"]) -> Float64[np.ndarray, "*draws terms"]:
        """Return φ_j at the centre of the grid."""
        positive = self.cells.tail[self.cells.tail > 0]
        tail = np.array([positive.mean() if len(positive) else 1.0])
        k, n = np.exp(np.log(self.cells.k).mean(keepdims=True)), np.exp(np.log(self.cells.n).mean(keepdims=True))
        return self.law.basis(shape, k, n, tail)[..., 0, :]

    def basis(self, shape: Float64[np.ndarray, "*draws shapes"]) -> Float64[np.ndarray, "*draws cells terms"]:
        """Return φ_j at the cells divided by φ_j at the centre."""
        cells = self.cells
        return self.law.basis(shape, cells.k, cells.n, cells.tail) / self.centre(shape)[..., None, :]

    def natural(self, theta: Float64[np.ndarray, "*draws parameters"]) -> Float64[np.ndarray, "*draws parameters"]:
        """Return centred parameters in the units of the formula."""
        terms = len(self.law.terms)
        return np.concatenate([theta[..., :terms] / self.centre(theta[..., terms:]), theta[..., terms:]], axis=-1)

    def predict(self, theta: Float64[np.ndarray, "draws parameters"]) -> Float64[np.ndarray, "draws cells"]:
        """Return R at the cells for centred parameters."""
        terms = len(self.law.terms)
        total = np.einsum("dct,dt->dc", self.basis(theta[:, terms:]), theta[:, :terms])
        power = self.law.power(self.cells.target)
        return total if power == 1.0 else np.maximum(total, _TINY) ** power

    def jacobian(self, theta: Float64[np.ndarray, "draws parameters"]) -> Float64[np.ndarray, "draws cells parameters"]:
        """Return ∂R/∂θ in centred coordinates: exact in the coefficients, central differences in the shapes."""
        terms = len(self.law.terms)
        coefficients, shape = theta[:, :terms], theta[:, terms:]
        basis = self.basis(shape)
        jacobian = np.zeros((*basis.shape[:2], theta.shape[1]))
        jacobian[..., :terms] = basis
        for column in np.flatnonzero(self.free[terms:]):
            step = _STEP * np.eye(shape.shape[1])[column]
            slope = (self.basis(shape + step) - self.basis(shape - step)) / (2 * _STEP)
            jacobian[..., terms + column] = np.einsum("dct,dt->dc", slope, coefficients)
        power = self.law.power(self.cells.target)
        if power != 1.0:
            total = np.maximum(np.einsum("dct,dt->dc", basis, coefficients), _TINY)
            jacobian *= (power * total ** (power - 1.0))[..., None]
        return jacobian

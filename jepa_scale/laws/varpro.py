"""Starting values by variable projection: the shapes on a grid, the coefficients solved for."""

from __future__ import annotations

import itertools

import numpy as np

from jepa_scale.laws.problem import Problem
from jepa_scale.shapes import Float64

_RIDGE = 1e-12
"""Relative ridge on a Gram matrix: two terms can be proportional on a small resample of cells."""


def grid_starts(
    problem: Problem, weights: Float64[np.ndarray, "draws cells"], count: int
) -> Float64[np.ndarray, "draws starts parameters"]:
    """Return the ``count`` best grid points of each draw, best first, in centred coordinates.

    For fixed shapes the law is linear on the scale R^(1/m), so its coefficients follow from non-negative least
    squares, with weights w (dR^(1/m)/dR)^(−2). The grid's Gram matrices are one matrix product for all draws together.
    For m ≠ 1 this objective is only close to the real one, which is why every start is polished on the latter.
    """
    law = problem.law
    target = problem.cells.mean
    power = law.power(problem.cells.target)
    shapes = np.array(list(itertools.product(*(shape.starts() for shape in law.shapes))))
    basis = problem.basis(shapes)
    if power != 1.0:
        # Below its own noise a regret says nothing about its slope; at 0 the weight would be infinite.
        floor = 1.0 / np.sqrt(np.where(weights > 0, weights, np.inf))
        slope = np.maximum(target, np.where(np.isfinite(floor), floor, 0.0)) ** (1.0 / power - 1.0) / power
        weights = weights / np.maximum(slope, 1e-150) ** 2
        target = target ** (1.0 / power)
    terms = len(law.terms)
    products = np.einsum("gci,gcj->cgij", basis, basis).reshape(len(target), -1)
    gram = (weights @ products).reshape(len(weights), len(shapes), terms, terms)
    moment = (weights * target) @ basis.transpose(1, 0, 2).reshape(len(target), -1)
    moment = moment.reshape(len(weights), len(shapes), terms)
    coefficients, gain = nonnegative_least_squares(gram, moment)
    best = np.argsort(-gain, axis=1, kind="stable")[:, : min(count, len(shapes))]
    chosen = np.take_along_axis(coefficients, best[..., None], axis=1)
    return np.concatenate([chosen, shapes[best]], axis=-1)


def nonnegative_least_squares(
    gram: Float64[np.ndarray, "draws grid terms terms"], moment: Float64[np.ndarray, "draws grid terms"]
) -> tuple[Float64[np.ndarray, "draws grid terms"], Float64[np.ndarray, "draws grid"]]:
    """Minimise cᵀGc − 2bᵀc over c ≥ 0 for a whole batch; return c and the decrease 2bᵀc − cᵀGc.

    The minimum solves the normal equations on its own support, so with two or three terms it is cheapest to solve on
    every support and to keep the best non-negative solution.
    """
    terms = moment.shape[-1]
    best = np.zeros_like(moment)
    gain = np.zeros(moment.shape[:-1])
    diagonal = np.einsum("...ii->...i", gram)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled_gram = gram / (scale[..., :, None] * scale[..., None, :])
    scaled_moment = moment / scale
    for size in range(1, terms + 1):
        for support in itertools.combinations(range(terms), size):
            index = list(support)
            block = scaled_gram[..., index, :][..., :, index] + _RIDGE * np.eye(size)
            right = scaled_moment[..., index]
            solution = np.linalg.solve(block, right[..., None])[..., 0]
            decrease = 2 * np.einsum("...i,...i->...", right, solution)
            decrease -= np.einsum("...i,...ij,...j->...", solution, block, solution)
            better = (solution >= 0).all(axis=-1) & (decrease > gain)
            gain = np.where(better, decrease, gain)
            padded = np.zeros_like(moment)
            padded[..., index] = solution
            best = np.where(better[..., None], padded, best)
    return best / scale, gain

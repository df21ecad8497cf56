"""Starting values by variable projection: shapes on a grid, coefficients solved for."""

from __future__ import annotations

import itertools

import numpy as np

from jepa_scale.laws.problem import Problem
from jepa_scale.shapes import Float64

_RIDGE = 1e-12
"""Relative ridge on a Gram matrix: two terms can be proportional on a small resample of rows."""
_FLOORS = (0.0, 0.5, 0.9)
"""Floors outside the power to try, as shares of the smallest target."""


class Grid:
    """Grid of all combinations of shapes, with the products that all draws share.

    For given shapes, m and floor the law is linear in its coefficients on the scale z = (S⁻¹(R) − C)^(1/m), S the
    link, so they follow from non-negative least squares with weights w (dR/dz)², or w R² (d ln R/dz)² for relative
    losses. The Gram matrices of the grid are one matrix product for all draws. The true objective is only close to
    this one, so every start is polished on the latter.
    """

    def __init__(self, problem: Problem, points: int) -> None:
        self.problem = problem
        shapes = problem.law.shapes
        each = _points_each(problem, points)
        floors = (0.0,) if problem.floor_index is None else _FLOORS
        combinations = list(itertools.product(*(shape.grid(each) for shape in shapes)))
        self.shapes = np.array(combinations, dtype=np.float64).reshape(len(combinations), len(shapes))
        theta = np.zeros((len(self.shapes), len(problem.law.names)))
        theta[:, len(problem.law.terms) :] = self.shapes
        self.basis = problem.basis(theta)
        self.theta = theta
        # For one m (the usual case) the observations are transformed once; a free m has few grid values.
        self.powers = np.unique(problem.powers(theta))
        self.floors = floors

    def starts(
        self, weights: Float64[np.ndarray, "draws rows"], target: np.ndarray, count: int, judged: bool = False
    ) -> Float64[np.ndarray, "draws starts parameters"]:
        """Return the ``count`` best grid points of each draw, best first, no two neighbours, in centred coordinates.

        Best by the least-squares stand-in, or by the loss itself where ``judged``: with outliers the two disagree.
        """
        best, gains = [], []
        powers = np.broadcast_to(self.problem.powers(self.theta)[:, 0], (len(self.theta),))
        for m, share in itertools.product(self.powers, self.floors):
            chosen = powers == m
            theta, gain = self._solve(chosen, float(m), share, weights, target)
            best.append(theta)
            gains.append(gain)
        theta, gain = np.concatenate(best, axis=1), np.concatenate(gains, axis=1)
        order = np.argsort(-gain, axis=1, kind="stable")
        if judged:
            # The worst two thirds by least squares are bad by any loss.
            kept = order[:, : max(len(order[0]) // 3, count)]
            theta = np.take_along_axis(theta, kept[..., None], axis=1)
            order = np.argsort(self._true_objective(theta, weights, target), axis=1, kind="stable")
        if count < theta.shape[1] and count > 1:
            order = self._spread(theta, order, count)
        return np.take_along_axis(theta, order[:, :count, None], axis=1)

    def _true_objective(self, theta: np.ndarray, weights: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the loss at every grid point of every draw."""
        draws, points, size = theta.shape
        flat = self.problem.state(theta.reshape(-1, size))
        every = np.repeat(np.broadcast_to(weights, (draws, weights.shape[1])), points, axis=0)
        targets = target if len(target) == 1 else np.repeat(target, points, axis=0)
        return self.problem.objective(flat, every, targets).reshape(draws, points)

    def _solve(
        self, chosen: np.ndarray, m: float, share: float, weights: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        problem, basis = self.problem, self.basis[chosen]
        floor = share * max(float(problem.rows.target.min()), 0.0)
        z, slope = self._straighten(weights, target, m, floor)
        weights = np.broadcast_to(weights * slope**2, np.broadcast_shapes(weights.shape, z.shape))
        inner, grid, rows = problem.inner, len(basis), len(problem.rows)
        pairs = [(i, j) for i in range(inner) for j in range(i + 1)]
        products = np.stack([basis[:, i] * basis[:, j] for i, j in pairs], axis=-1)
        flat = weights @ products.transpose(1, 0, 2).reshape(rows, -1)
        flat = flat.reshape(len(weights), grid, len(pairs))
        gram = np.empty((len(weights), grid, inner, inner))
        for index, (i, j) in enumerate(pairs):
            gram[..., i, j] = gram[..., j, i] = flat[..., index]
        moment = ((weights * z) @ basis.transpose(2, 0, 1).reshape(rows, -1)).reshape(len(weights), grid, inner)
        coefficients, gain = nonnegative_least_squares(gram, moment)
        theta = np.broadcast_to(self.theta[chosen], (len(weights), grid, self.theta.shape[1])).copy()
        theta[..., :inner] = coefficients
        if problem.floor_index is not None:
            theta[..., problem.floor_index] = floor
        # What is left of Σ w z², so that different m, whose z differ, can be compared.
        return theta, gain - (weights * z**2).sum(axis=1)[:, None]

    def _straighten(
        self, weights: np.ndarray, target: np.ndarray, m: float, floor: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the linearised observations z and |d residual / dz| there."""
        relative = self.problem.loss.relative
        level = np.atleast_2d(target)
        link = np.ones_like(level)
        if self.problem.ceiling is not None:
            inside = np.minimum(level / self.problem.ceiling, 0.98)
            level, link = inside * self.problem.ceiling / (1 - inside), (1 - inside) ** 2
        # Below its own noise an observation says nothing about its slope; at 0 the weight would be infinite.
        least = 1e-12 * np.abs(level).max() if relative else _noise(weights, level)
        raised = np.maximum(level - floor, least)
        z = raised ** (1.0 / m)
        slope = m * raised / z * link
        return z, slope / np.maximum(np.atleast_2d(target), 1e-300) if relative else slope

    def _spread(self, theta: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
        """Reorder grid points: the best, then the best that is no neighbour of those already chosen, and so on."""
        shape = theta[..., len(self.problem.law.terms) :]
        span = np.maximum(np.ptp(self.shapes, axis=0), 1e-12) if len(self.shapes) > 1 else np.ones(shape.shape[-1])
        result = np.empty((len(theta), count), dtype=order.dtype)
        for draw in range(len(theta)):
            ranked = order[draw, : 40 * count]
            taken: list[int] = []
            points = shape[draw, ranked] / span
            open_ = np.ones(len(ranked), dtype=bool)
            while len(taken) < count:
                left = np.flatnonzero(open_)
                if len(left) == 0:
                    left = np.setdiff1d(np.arange(len(ranked)), taken)
                    taken += left[: count - len(taken)].tolist()
                    break
                taken.append(int(left[0]))
                open_ &= np.abs(points - points[left[0]]).max(axis=1) > 0.06
            result[draw] = np.concatenate([ranked[taken], np.resize(ranked[taken], count)])[:count]
        return result


def _noise(weights: np.ndarray, level: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        noise = 1.0 / np.sqrt(np.where(weights > 0, weights, np.inf))
    # Without a noise model weights are counts, and their root is no noise.
    return np.minimum(np.maximum(noise, 1e-9 * np.abs(level).max()), 0.02 * np.abs(level).max())


def _points_each(problem: Problem, points: int) -> int:
    """Return grid points for each free shape so that their product is about ``points``."""
    free = sum(shape.fixed is None for shape in problem.law.shapes)
    return max(4, round(points ** (1 / max(free, 1)))) if free else 1


def nonnegative_least_squares(
    gram: Float64[np.ndarray, "draws grid terms terms"], moment: Float64[np.ndarray, "draws grid terms"]
) -> tuple[Float64[np.ndarray, "draws grid terms"], Float64[np.ndarray, "draws grid"]]:
    """Minimise cᵀGc − 2bᵀc over c ≥ 0 for a whole batch; return c and the decrease 2bᵀc − cᵀGc.

    The minimum solves the normal equations on its own support, so with a few terms it is cheapest to solve on every
    support and to keep the best non-negative solution. Up to two terms are solved by hand.
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
            right = scaled_moment[..., index]
            solution = _small_solve(scaled_gram, right, index)
            # At the solution of the normal equations the decrease is bᵀc.
            decrease = (right * solution).sum(axis=-1)
            better = (solution >= 0).all(axis=-1) & (decrease > gain)
            gain = np.where(better, decrease, gain)
            padded = np.zeros_like(moment)
            padded[..., index] = solution
            best = np.where(better[..., None], padded, best)
    return best / scale, gain


def _small_solve(gram: np.ndarray, right: np.ndarray, index: list[int]) -> np.ndarray:
    """Solve the block of a unit-diagonal Gram matrix."""
    if len(index) == 1:
        return right / (1 + _RIDGE)
    if len(index) == 2:
        r, d = gram[..., index[0], index[1]], 1 + _RIDGE
        determinant = np.maximum(d * d - r * r, _RIDGE)
        first = (d * right[..., 0] - r * right[..., 1]) / determinant
        return np.stack([first, (d * right[..., 1] - r * right[..., 0]) / determinant], axis=-1)
    block = gram[..., index, :][..., :, index] + _RIDGE * np.eye(len(index))
    return np.linalg.solve(block, right[..., None])[..., 0]

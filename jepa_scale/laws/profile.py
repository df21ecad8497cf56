"""Profile likelihoods: how much worse a law fits with one parameter held fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.distributions import f_quantile, normal_quantile
from jepa_scale.laws.newton import minimise
from jepa_scale.laws.problem import Problem
from jepa_scale.shapes import Float64

_ROUNDS = 3


@dataclass(frozen=True)
class Profile:
    """Profile likelihood of one parameter of a fit."""

    name: str
    values: Float64[np.ndarray, " points"]
    rise: Float64[np.ndarray, " points"]
    """(N − q) (objective/minimum − 1): χ² with one degree of freedom for Gaussian residuals."""
    low: float
    high: float
    """Ends of the interval, where the rise passes the F quantile of the level; ends of the range if it does not."""
    open_ends: tuple[bool, bool]
    """Whether the interval reaches the lower and the upper end of the range that was searched."""


def profile(
    problem: Problem,
    weights: Float64[np.ndarray, " rows"],
    theta: Float64[np.ndarray, " parameters"],
    name: str,
    *,
    level: float = 0.9,
    points: int = 41,
    reach: float = 3.0,
) -> Profile:
    """Hold the parameter ``name`` at values around its fit and minimise over all others.

    A coefficient is held in units of the formula only where its term has no columns; elsewhere as the size of the
    term at the centre of the rows, in which it is not tied to its exponent. The range is ``reach`` times the
    curvature's interval. Each value starts from the fit and from both neighbours' ends, so that a ridge is followed.

    Raises
    ------
    ValueError
        If the parameter is not free.
    """
    place = problem.law.names.index(name)
    if not problem.free[place]:
        raise ValueError(f"expected a free parameter of {problem.law.formula!r}, got {name}")
    least = float(problem.objective(problem.state(theta[None]), weights[None], problem.rows.target[None])[0])
    freedom = max(len(problem.rows) - int(problem.free.sum()), 1)
    values = _range(problem, weights, theta, place, least, freedom, points, reach)
    start = np.tile(theta, (len(values), 1))
    start[:, place] = values
    held = np.zeros_like(start, dtype=bool)
    held[:, place] = True
    best = minimise(problem, weights[None], start, held=held)
    ends, objective = best.theta, best.objective
    for _ in range(_ROUNDS):
        for shift in (1, -1):
            neighbour = np.roll(ends, shift, axis=0)
            neighbour[:, place] = values
            again = minimise(problem, weights[None], neighbour, held=held)
            better = again.objective < objective
            ends, objective = np.where(better[:, None], again.theta, ends), np.where(better, again.objective, objective)
    rise = freedom * (objective / max(least, 1e-300) - 1)
    low, high, opened = _crossings(values, rise, theta[place], f_quantile(level, 1, freedom))
    return Profile(name, values, np.maximum(rise, 0.0), low, high, opened)


def _range(
    problem: Problem,
    weights: np.ndarray,
    theta: np.ndarray,
    place: int,
    least: float,
    freedom: int,
    points: int,
    reach: float,
) -> Float64[np.ndarray, " points"]:
    state = problem.state(theta[None])
    target = problem.rows.target[None]
    hessian = problem.smooth.curvature(state, weights[None], target, np.array([False]))[1][0]
    inside = np.flatnonzero(problem.free & (theta > problem.low) & (theta < problem.high))
    width = 0.3 * max(abs(theta[place]), 0.1)
    if place in inside:
        block = hessian[np.ix_(inside, inside)]
        # To a unit diagonal first: what is small and what is flat must not depend on the unit of the target.
        scale = np.sqrt(np.maximum(np.diag(block), 1e-300))
        inverse = np.linalg.pinv(block / np.outer(scale, scale), rcond=1e-12, hermitian=True)
        own = int(np.flatnonzero(inside == place)[0])
        variance = inverse[own, own] / scale[own] ** 2 * 2 * least / freedom
        if np.isfinite(variance) and variance > 0:
            width = float(np.sqrt(variance)) * normal_quantile(0.975)
    low = max(theta[place] - reach * width, problem.low[place])
    high = min(theta[place] + reach * width, problem.high[place])
    grid = np.linspace(low, high, points)
    # The fit itself belongs to the curve.
    grid[np.abs(grid - theta[place]).argmin()] = theta[place]
    return grid


def _crossings(
    values: np.ndarray, rise: np.ndarray, centre: float, threshold: float
) -> tuple[float, float, tuple[bool, bool]]:
    ends, opened = [], []
    middle = int(np.abs(values - centre).argmin())
    for direction in (-1, 1):
        index = middle
        while 0 <= index + direction < len(values) and rise[index + direction] <= threshold:
            index += direction
        nearest = index + direction
        if not 0 <= nearest < len(values):
            ends.append(float(values[index]))
            opened.append(True)
            continue
        share = (threshold - rise[index]) / max(rise[nearest] - rise[index], 1e-300)
        ends.append(float(values[index] + share * (values[nearest] - values[index])))
        opened.append(False)
    return ends[0], ends[1], (opened[0], opened[1])

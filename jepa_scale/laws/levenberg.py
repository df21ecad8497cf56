"""Bounded non-linear least squares for many weightings of the same cells at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.problem import Problem
from jepa_scale.shapes import Float64

_MAX_ITERATIONS = 500
_REDUCTION = 1e-9
"""Relative decrease of the objective by an accepted step that counts as none. In the flat valleys of a law that does
not hold, a thousand more steps follow, which together gain 4e-8 (measured)."""
_QUIET = 3
"""Accepted steps in a row without a decrease after which a draw has converged."""
_MAX_DAMPING = 1e10


@dataclass(frozen=True)
class Minima:
    """End points of the polish, one per draw, in centred coordinates."""

    theta: Float64[np.ndarray, "draws parameters"]
    objective: Float64[np.ndarray, " draws"]
    converged: np.ndarray
    """(draws,) boolean"""


def polish(
    problem: Problem,
    weights: Float64[np.ndarray, "draws cells"],
    start: Float64[np.ndarray, "draws parameters"],
) -> Minima:
    """Minimise Σ_i w_i (R_θ(i) − y_i)² within bounds by projected Levenberg–Marquardt steps.

    A parameter at a bound whose gradient points outwards is held; the others take a damped Gauss–Newton step, which is
    clipped to the bounds and kept only if the objective falls. Bounds are thus reached exactly, which an interior
    method does not do, and "A = 0" can be told from "A is small". The damping follows the ratio of the decrease to what
    the linear model promised: where the residuals are far larger than the noise, as for a law that does not hold,
    plain Gauss–Newton steps overshoot to and fro across a valley and creep along it. All draws advance together: one
    iteration costs a few array operations, so hundreds of refits cost about as much as ten calls of a scalar one.
    """
    theta = np.clip(start, problem.low, problem.high)
    objective = _objective(problem, weights, theta)
    # A perfect fit has no relative decrease left to measure.
    negligible = 1e-28 * (weights * problem.cells.mean**2).sum(axis=1)
    damping = np.full(len(theta), 1e-3)
    quiet = np.zeros(len(theta), dtype=int)
    for _ in range(_MAX_ITERATIONS):
        live = np.flatnonzero((quiet < _QUIET) & (damping < _MAX_DAMPING) & (objective > negligible))
        if len(live) == 0:
            break
        step, promised = _step(problem, weights[live], theta[live], damping[live])
        trial = np.clip(theta[live] + step, problem.low, problem.high)
        value = _objective(problem, weights[live], trial)
        accepted = value < objective[live]
        small = objective[live] - value <= _REDUCTION * objective[live]
        quiet[live] = np.where(accepted, np.where(small, quiet[live] + 1, 0), quiet[live])
        gain = np.clip((objective[live] - value) / np.maximum(promised, 1e-300), 0.0, 1.0)
        eased = damping[live] * np.maximum(1 / 5, 1 - (2 * gain - 1) ** 3)
        damping[live] = np.where(accepted, np.maximum(eased, 1e-12), damping[live] * 4)
        theta[live] = np.where(accepted[:, None], trial, theta[live])
        objective[live] = np.where(accepted, value, objective[live])
    converged = (quiet >= _QUIET) | (damping >= _MAX_DAMPING) | (objective <= negligible)
    return Minima(theta, objective, converged & np.isfinite(objective))


def _objective(problem: Problem, weights: np.ndarray, theta: np.ndarray) -> Float64[np.ndarray, " draws"]:
    """Return Σ w (R − y)²; infinite where a prediction overflows, so that such a step is never kept."""
    with np.errstate(over="ignore", invalid="ignore"):
        value = (weights * (problem.predict(theta) - problem.cells.mean) ** 2).sum(axis=1)
    return np.where(np.isfinite(value), value, np.inf)


def _step(
    problem: Problem, weights: np.ndarray, theta: np.ndarray, damping: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the damped Gauss–Newton step, 0 in parameters that are held, and the decrease that it promises."""
    jacobian = problem.jacobian(theta)
    weighted = jacobian * weights[..., None]
    residual = problem.predict(theta) - problem.cells.mean
    gradient = np.einsum("dcp,dc->dp", weighted, residual)
    normal = np.einsum("dcp,dcq->dpq", weighted, jacobian)
    held = ~problem.free | ((theta <= problem.low) & (gradient > 0)) | ((theta >= problem.high) & (gradient < 0))
    diagonal = np.einsum("dpp->dp", normal)
    damped = normal + (damping[:, None] * diagonal)[:, :, None] * np.eye(theta.shape[1])
    step = _solve(damped, -gradient, held, np.zeros_like(theta))
    # The others must know that a parameter stops at its bound: steps that assume it went on zigzag along the bound.
    stopped = np.clip(step, problem.low - theta, problem.high - theta)
    step = _solve(damped, -gradient, held | (stopped != step), stopped)
    promised = -2 * (gradient * step).sum(axis=1) - np.einsum("dp,dpq,dq->d", step, normal, step)
    return step, promised


def _solve(normal: np.ndarray, right: np.ndarray, known: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Solve normal · step = right for the unknown entries of ``step``, the ``known`` ones staying as they are."""
    known_step = np.where(known, step, 0.0)
    right = right - np.einsum("dpq,dq->dp", normal, known_step)
    diagonal = np.einsum("dpp->dp", normal)
    # An exponent whose coefficient is 0 has no gradient and no curvature: it stays where it is.
    known = known | (diagonal <= 0)
    scale = np.sqrt(np.where(known, 1.0, diagonal))
    unknown = ~known[:, :, None] & ~known[:, None, :]
    normal = np.where(unknown, normal / (scale[:, :, None] * scale[:, None, :]), 0.0)
    normal = normal + known[:, :, None] * np.eye(right.shape[1])
    solution = np.linalg.solve(normal, np.where(known, 0.0, right / scale)[..., None])[..., 0] / scale
    return np.where(known, known_step, solution)

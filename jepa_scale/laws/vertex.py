"""Final step for losses with kinks: solve for the rows through which the law passes exactly."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from jepa_scale.laws.losses import Absolute
from jepa_scale.laws.problem import Problem
from jepa_scale.shapes import Float64

_ROUNDS = 40


def settle(
    problem: Problem, weights: Float64[np.ndarray, " rows"], theta: Float64[np.ndarray, " parameters"], objective: float
) -> tuple[Float64[np.ndarray, " parameters"], float]:
    """Return the minimum of an absolute loss near ``theta``; for other losses return the input.

    At the minimum of a sum of absolute deviations the law passes through as many rows as it has free parameters, and
    the gradient jumps there, so rounding never ends. The linearised problem is a linear program whose solution is
    that vertex; its steps converge quadratically, and are kept only if the objective falls.
    """
    loss = problem.loss
    if not isinstance(loss, Absolute):
        return theta, objective
    for _ in range(_ROUNDS):
        state = problem.state(theta[None])
        residual, slope = loss.residual(state.y, problem.rows.target[None])
        jacobian = (problem.sensitivity(state)[0] * slope).T[:, problem.free]
        step = _linear_step(jacobian, residual[0], weights, loss, problem, theta)
        if step is None:
            break
        improved = False
        for share in (1.0, 0.3, 0.1):
            trial = theta.copy()
            trial[problem.free] += share * step
            trial = np.clip(trial, problem.low, problem.high)
            value = float(problem.objective(problem.state(trial[None]), weights[None], problem.rows.target[None])[0])
            if value < objective:
                gain, theta, objective, improved = objective - value, trial, value, True
                break
        if not improved or gain < 1e-15 * objective:
            break
    return theta, objective


def _linear_step(
    jacobian: np.ndarray, residual: np.ndarray, weights: np.ndarray, loss: Absolute, problem: Problem, theta: np.ndarray
) -> np.ndarray | None:
    """Minimise Σ w (over u + under v) with residual + J d = u − v, u, v ≥ 0, and θ + d within bounds."""
    rows, free = jacobian.shape
    cost = np.concatenate([np.zeros(free), weights * loss.over, weights * loss.under])
    equal = np.hstack([jacobian, -np.eye(rows), np.eye(rows)])
    # A hundredth of each parameter: the linearisation holds no further.
    reach = 0.01 * np.abs(theta[problem.free]) + 1e-6
    low = np.maximum(problem.low[problem.free] - theta[problem.free], -reach)
    high = np.minimum(problem.high[problem.free] - theta[problem.free], reach)
    bounds = [*zip(low, high, strict=True), *[(0.0, None)] * (2 * rows)]
    solution = linprog(cost, A_eq=equal, b_eq=-residual, bounds=bounds, method="highs")
    return solution.x[:free] if solution.status == 0 else None

"""The linear-quadratic regulator over finitely many steps: the least cost that any controller can reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float64
from jepa_scale.theory.gaussian import LinearGaussian


@dataclass(frozen=True)
class Regulator:
    """a_t = −K_t [x_t, g] towards a goal g, and the expected cost from there on, [x, g]ᵀ P_t [x, g] + c_t."""

    gains: Float64[np.ndarray, "H m s"]
    """K_t; s = 2 d, of the state and the goal."""
    values: Float64[np.ndarray, "H1 s s"]
    """P_t for t = 0 … H; P_H = 0, as the cost of a state is paid on the step that leads there."""
    noise_costs: Float64[np.ndarray, " H1"]
    """c_t, what the noise of the steps from t on costs."""

    def action(self, t: int, states: Float64[np.ndarray, "B d"], goals: Float64[np.ndarray, "B d"]) -> np.ndarray:
        """The best action at step t: (B, m)."""
        return np.asarray(-np.hstack([states, goals]) @ self.gains[t].T)

    def cost(self, states: Float64[np.ndarray, "B d"], goals: Float64[np.ndarray, "B d"]) -> np.ndarray:
        """Expected cost of all steps under the best controller: (B,)."""
        both = np.hstack([states, goals])
        return np.asarray(np.einsum("bi,ij,bj->b", both, self.values[0], both) + self.noise_costs[0])


def regulator(
    model: LinearGaussian, steps: int, final: float = 1.0, path: float = 0.0, effort: float = 0.0
) -> Regulator:
    """Minimise E[final ‖x_H − g‖² + path Σ_{t=1}^H ‖x_t − g‖² + effort Σ_t ‖a_t‖²] without limits on actions.

    Riccati's recursion from the end, on the state s = [x, g] whose goal stays. With Q_t of the state that a step leads
    to, S = Q_{t+1} + P_{t+1}, F = diag(A, 1) and G = [B, 0]:
    K_t = (effort 1 + Gᵀ S G)⁻¹ Gᵀ S F, P_t = Fᵀ S (F − G K_t), c_t = c_{t+1} + tr(S_xx W).
    By certainty equivalence the gains are those without noise, which only adds c.

    Raises
    ------
    ValueError
        If there is no step, a weight is negative, or the best action is not unique.
    """
    if steps < 1 or min(final, path, effort) < 0:
        raise ValueError(f"expected steps ≥ 1 and weights ≥ 0, got {steps=}, {final=}, {path=}, {effort=}")
    size, actions = model.control.shape
    move = np.block([[model.transition, np.zeros((size, size))], [np.zeros((size, size)), np.eye(size)]])
    push = np.vstack([model.control, np.zeros((size, actions))])
    apart = np.kron(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.eye(size))
    value, spent = np.zeros((2 * size, 2 * size)), 0.0
    gains, values, costs = [], [value], [spent]
    for t in reversed(range(steps)):
        after = value + (path + (final if t == steps - 1 else 0.0)) * apart
        curvature = effort * np.eye(actions) + push.T @ after @ push
        if np.linalg.cond(curvature) > _SINGULAR:
            raise ValueError(f"expected one best action at step {t}, got a flat cost: give {effort=} above 0")
        gain = np.linalg.solve(curvature, push.T @ after @ move)
        value = move.T @ after @ (move - push @ gain)
        # Symmetric but for rounding, which the recursion would amplify.
        value = (value + value.T) / 2
        spent += float(np.trace(after[:size, :size] @ model.noise_covariance))
        gains.append(gain)
        values.append(value)
        costs.append(spent)
    return Regulator(np.stack(gains[::-1]), np.stack(values[::-1]), np.array(costs[::-1]))


_SINGULAR = 1e12
"""Condition number of the quadratic form in an action above which its minimum is lost to rounding."""

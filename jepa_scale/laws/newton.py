"""Bounded minimisation for many weightings of the same rows at once, by damped Newton steps with exact Hessians."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from jepa_scale.laws.problem import Problem, State
from jepa_scale.shapes import Float64

if TYPE_CHECKING:
    from jepa_scale.laws.general import GeneralProblem

_MAX_ITERATIONS = 400
_MAJORANT = 6
"""Number of steps with the majorant before the exact Hessian: far from a robust loss's minimum most rows are flat."""
_REDUCTION = 1e-13
"""Relative decrease of the objective below which an accepted step counts as no decrease."""
_QUIET = 2
"""Number of consecutive accepted steps without a decrease after which a draw has converged."""
_MAX_DAMPING = 1e12
_CHUNK = 96
"""Number of draws that advance together: their arrays stay in the cache of one core."""


@dataclass(frozen=True)
class Minima:
    """End points of the minimisation, one per draw, in centred coordinates."""

    theta: Float64[np.ndarray, "draws parameters"]
    objective: Float64[np.ndarray, " draws"]
    converged: np.ndarray
    """(draws,) boolean"""

    def best_of(self, groups: int) -> Minima:
        """Return the lowest converged minimum of each of ``groups`` equal blocks of draws."""
        objective = np.where(self.converged, self.objective, np.inf).reshape(groups, -1)
        best = objective.argmin(axis=1) + np.arange(groups) * objective.shape[1]
        return Minima(self.theta[best], self.objective[best], self.converged[best])


def minimise(
    problem: Problem | GeneralProblem,
    weights: Float64[np.ndarray, "draws rows"],
    start: Float64[np.ndarray, "draws parameters"],
    target: Float64[np.ndarray, "draws rows"] | None = None,
    held: np.ndarray | None = None,
    limit: int = _MAX_ITERATIONS,
) -> Minima:
    """Minimise Σ_i w_i ℓ_i within bounds, each draw from its own start.

    A parameter at a bound whose gradient points outwards is held; the others take a Newton step, damped after
    Levenberg and Marquardt, which is clipped to the bounds and kept only if the objective falls. Bounds are thus
    reached exactly, so that "E = 0" can be told from "E is small". A loss with kinks is rounded ever less.

    ``weights`` and ``target`` may have one row for all draws. ``held``, (draws, parameters) boolean: what not to move.
    ``limit``: steps at most, of each stage; what has not converged then is said to have not.
    """
    draws = len(start)
    weights = np.broadcast_to(weights, (draws, len(problem.rows)))
    targets = problem.rows.target[None] if target is None else target
    fixed = np.broadcast_to(~problem.free if held is None else held | ~problem.free, start.shape)
    parts = [slice(first, first + _CHUNK) for first in range(0, draws, _CHUNK)]
    chunks = [_staged(problem, weights[part], start[part], _of(targets, part), fixed[part], limit) for part in parts]
    return Minima(
        *(np.concatenate([getattr(minima, name) for minima in chunks]) for name in ("theta", "objective", "converged"))
    )


def _of(target: np.ndarray, draws: slice | np.ndarray) -> np.ndarray:
    """Return the targets of some draws; a single row is for all draws, so that its logarithm is taken once."""
    return target if len(target) == 1 else target[draws]


def _staged(
    problem: Problem | GeneralProblem,
    weights: np.ndarray,
    theta: np.ndarray,
    target: np.ndarray,
    held: np.ndarray,
    limit: int,
) -> Minima:
    minima = Minima(theta, np.full(len(theta), np.inf), np.zeros(len(theta), bool))
    stages = problem.loss.stages(float(np.median(np.abs(problem.rows.target))))
    for stage in stages:
        minima = _descend(replace(problem, loss=stage), weights, minima.theta, target, held, limit)
    if stages[-1] == problem.loss:
        return minima
    return replace(minima, objective=problem.objective(problem.state(minima.theta), weights, target))


def _descend(
    problem: Problem | GeneralProblem,
    weights: np.ndarray,
    start: np.ndarray,
    target: np.ndarray,
    held: np.ndarray,
    limit: int,
) -> Minima:
    theta = np.clip(start, problem.low, problem.high)
    draws = len(theta)
    objective = problem.objective(problem.state(theta), weights, target)
    damping, quiet, steps = np.full(draws, 1e-3), np.zeros(draws, dtype=int), np.zeros(draws, dtype=int)
    live = np.flatnonzero(np.isfinite(objective))
    state = problem.state(theta[live])
    for _ in range(limit):
        if len(live) == 0:
            break
        gradient, hessian, diagonal = problem.curvature(
            state, weights[live], _of(target, live), steps[live] >= _MAJORANT
        )
        step, promised = _step(problem, theta[live], held[live], gradient, hessian, diagonal, damping[live])
        trial = problem.state(np.clip(theta[live] + step, problem.low, problem.high))
        value = problem.objective(trial, weights[live], _of(target, live))
        accepted = value < objective[live]
        small = objective[live] - value <= _REDUCTION * np.abs(objective[live])
        quiet[live] = np.where(accepted & ~small, 0, quiet[live] + (accepted & small))
        with np.errstate(over="ignore"):
            gain = np.clip((objective[live] - value) / np.maximum(promised, 1e-300), 0.0, 1.0)
        eased = np.maximum(damping[live] * np.maximum(0.1, 1 - (2 * gain - 1) ** 3), 1e-15)
        damping[live] = np.where(accepted, eased, damping[live] * 5)
        steps[live] += 1
        # Where the majorant cannot descend either, no step can.
        stuck = ~accepted & (np.abs(promised) <= 1e-15 * np.abs(objective[live]) + 1e-300)
        objective[live] = np.where(accepted, value, objective[live])
        theta[live] = np.where(accepted[:, None], trial.theta, theta[live])
        state = _merge(accepted, trial, state)
        quiet[live] = np.where(stuck, quiet[live] + 1, quiet[live])
        keep = (quiet[live] < _QUIET) & (damping[live] < _MAX_DAMPING)
        live, state = live[keep], _take(state, keep)
    converged = ((quiet >= _QUIET) | (damping >= _MAX_DAMPING)) & np.isfinite(objective)
    return Minima(theta, objective, converged)


_FIELDS = ("theta", "basis", "total", "raised", "level", "y")


def _merge(mask: np.ndarray, new: State, old: State) -> State:
    if mask.all():
        return new
    parts = {}
    for name in _FIELDS:
        fresh, stale = getattr(new, name), getattr(old, name)
        parts[name] = np.where(mask.reshape(-1, *[1] * (fresh.ndim - 1)), fresh, stale)
    return State(**parts)


def _take(state: State, mask: np.ndarray) -> State:
    return state if mask.all() else State(*(getattr(state, name)[mask] for name in _FIELDS))


def _step(
    problem: Problem | GeneralProblem,
    theta: np.ndarray,
    fixed: np.ndarray,
    gradient: np.ndarray,
    hessian: np.ndarray,
    diagonal: np.ndarray,
    damping: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the damped step, 0 in parameters that are held, and its predicted decrease."""
    held = fixed | ((theta <= problem.low) & (gradient > 0)) | ((theta >= problem.high) & (gradient < 0))
    # An exponent whose coefficient is 0 has no gradient and no curvature: it stays where it is.
    held = held | (diagonal <= 1e-200)
    scale = np.sqrt(np.where(held, 1.0, diagonal))
    normal = hessian / (scale[:, :, None] * scale[:, None, :])
    normal = normal + damping[:, None, None] * np.eye(theta.shape[1])
    step = _solve(normal, -gradient / scale, held, np.zeros_like(theta)) / scale
    # The others must know that a parameter stops at its bound: steps that assume it went on zigzag along the bound.
    stopped = np.clip(step, problem.low - theta, problem.high - theta)
    if (stopped != step).any():
        step = _solve(normal, -gradient / scale, held | (stopped != step), stopped * scale) / scale
    promised = -(gradient * step).sum(axis=1) - 0.5 * np.einsum("dp,dpq,dq->d", step, hessian, step)
    return step, promised


def _solve(normal: np.ndarray, right: np.ndarray, known: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Solve normal · step = right for the unknown entries of ``step``, the ``known`` ones staying as they are."""
    known_step = np.where(known, step, 0.0)
    right = right - np.einsum("dpq,dq->dp", normal, known_step)
    unknown = ~known[:, :, None] & ~known[:, None, :]
    blocked = np.where(unknown, normal, 0.0) + known[:, :, None] * np.eye(right.shape[1])
    try:
        solution = np.linalg.solve(blocked, np.where(known, 0.0, right)[..., None])[..., 0]
    except np.linalg.LinAlgError:
        solution = np.where(known, 0.0, right)
    return np.where(known, known_step, solution)

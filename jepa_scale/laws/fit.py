"""Fit a law to a run table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.base import Cells, Law, cells_from_table
from jepa_scale.laws.bootstrap import Bootstrap, cluster_bootstrap
from jepa_scale.laws.diagnostics import (
    at_bound,
    corrected_akaike,
    fit_warnings,
    lack_of_fit,
    weight_warnings,
    why_not_identified,
)
from jepa_scale.laws.levenberg import polish
from jepa_scale.laws.noise import mean_variance, noise_floor, residual_noise, seed_noise
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.varpro import grid_starts
from jepa_scale.records import LawFit, Parameter, RunTable
from jepa_scale.shapes import Float64

STARTS = 32
"""Grid points polished for the fit; the best few usually end in one and the same minimum."""

_UNREPLICATED = 0.1
"""Relative noise assumed in the first pass where no cell has two seeds; the second pass estimates it."""


@dataclass(frozen=True)
class Solution:
    """The minimum of one weighted problem."""

    theta: Float64[np.ndarray, " parameters"]
    """Centred coordinates."""
    objective: float
    converged: bool
    fitted: Float64[np.ndarray, " cells"]


def fit(
    law: Law,
    table: RunTable,
    target: str,
    *,
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
    saturation: float = 0.9,
) -> LawFit:
    """Fit ``law`` to the cell means of ``target`` by weighted least squares.

    min_θ Σ_i (ȳ_i − R_θ(k_i, n_i))² / Var(ȳ_i), Var(ȳ_i) = (s0² + (c·R_i)²)/m_i, on the scale of R itself: a regret of
    exactly 0 is common and legitimate (B5) and has no logarithm. (s0, c) is pooled over replicate seeds once, with
    R = ȳ, as it must not depend on the law; the weights are taken at R = ȳ, then at the fitted values (feasible
    generalised least squares), so that a cell which came out low by chance does not earn weight by it. Intervals are
    percentiles of the cluster bootstrap at ``level``.

    What must hold for the parameters to mean anything: an interior optimum in k for p, at least two levels of k
    and n, cells below saturation. What does not hold is in ``warnings``, ``excluded`` or ``status``.

    Parameters
    ----------
    law, table, target
        ``target`` is "risk" or "regret", a column of ``table``.
    level
        Probability content of the intervals.
    draws, seed
        Bootstrap resamples and the seed that decides them.
    saturation
        Share of ``regret_random`` from which a cell's mean regret is left out; infinity keeps every cell.

    Raises
    ------
    ValueError
        If ``target`` is unknown, ``level`` is not inside (0, 1), ``draws`` < 1 or ``saturation`` ≤ 0.
    """
    if not 0 < level < 1:
        raise ValueError(f"expected a level inside (0, 1), for example 0.9, got {level=}")
    cells = cells_from_table(table, target, saturation)
    reason = why_not_identified(law, cells)
    if reason:
        return _without_fit(law, cells, level, "not_identified", reason)
    problem = Problem(law, cells)
    noise, solution = _two_passes(problem)
    if not solution.converged:
        return _without_fit(law, cells, level, "failed", f"no start of {STARTS} converged: look for outlying cells")
    variance = mean_variance(cells, solution.fitted, noise)
    final = solve(problem, 1.0 / variance, solution.theta)
    bootstrap = cluster_bootstrap(problem, 1.0 / variance, final.theta, draws, seed)
    return _report(problem, final, variance, bootstrap, level, noise, solution)


def solve(
    problem: Problem, weights: Float64[np.ndarray, " cells"], warm: Float64[np.ndarray, " parameters"] | None = None
) -> Solution:
    """Minimise Σ_i w_i (ȳ_i − R_i)²: the best grid points, and ``warm`` if given, are polished and the lowest kept."""
    starts = grid_starts(problem, weights[None], STARTS)[0]
    if warm is not None:
        starts = np.concatenate([starts, warm[None]])
    minima = polish(problem, np.tile(weights, (len(starts), 1)), starts)
    best = int(np.where(minima.converged, minima.objective, np.inf).argmin())
    return Solution(
        theta=minima.theta[best],
        objective=float(minima.objective[best]),
        converged=bool(minima.converged[best]),
        fitted=problem.predict(minima.theta[best : best + 1])[0],
    )


def _two_passes(problem: Problem) -> tuple[tuple[float, float], Solution]:
    """Return the noise model, and the fit with weights at R = cell means."""
    cells = problem.cells
    noise = seed_noise(cells)
    first = noise or (noise_floor(cells), _UNREPLICATED)
    solution = solve(problem, 1.0 / mean_variance(cells, cells.mean, first))
    return noise or residual_noise(cells, solution.fitted, int(problem.free.sum())), solution


def _report(
    problem: Problem,
    solution: Solution,
    variance: Float64[np.ndarray, " cells"],
    bootstrap: Bootstrap,
    level: float,
    noise: tuple[float, float],
    first_pass: Solution,
) -> LawFit:
    law, cells = problem.law, problem.cells
    free = int(problem.free.sum())
    theta = problem.natural(solution.theta)
    lack = lack_of_fit(cells, solution.fitted, variance, free)
    warnings = fit_warnings(problem, theta, bootstrap.draws, lack)
    warnings += weight_warnings(problem, first_pass.theta, solution.theta)
    if bootstrap.failed:
        warnings += (f"{bootstrap.failed} bootstrap refits failed and are not in the intervals",)
    return LawFit(
        law=law.name,
        formula=law.formula(cells.target),
        target=cells.target,
        status="converged",
        reason="",
        parameters=_parameters(problem, theta, bootstrap.draws, level),
        level=level,
        objective=solution.objective,
        aicc=corrected_akaike(solution.objective, variance, free),
        cells=len(cells),
        runs=cells.runs,
        lack_of_fit_p=lack,
        excluded=cells.excluded,
        warnings=warnings,
        bootstrap_draws=bootstrap.draws,
        failed_refits=bootstrap.failed,
        noise=noise,
    )


def _parameters(
    problem: Problem,
    theta: Float64[np.ndarray, " parameters"],
    draws: Float64[np.ndarray, "draws parameters"],
    level: float,
) -> tuple[Parameter, ...]:
    law = problem.law
    theory = [None] * len(law.terms) + [shape.theory for shape in law.shapes]
    ends = [(1 - level) / 2, (1 + level) / 2]
    interval = np.quantile(draws, ends, axis=0) if len(draws) else np.full((2, len(theta)), np.nan)
    interval = np.where(problem.free, interval, np.nan)
    return tuple(
        Parameter(
            name,
            float(theta[i]),
            float(interval[0, i]),
            float(interval[1, i]),
            not problem.free[i],
            theory[i],
            bool(at),
        )
        for i, (name, at) in enumerate(zip(law.names, at_bound(problem, theta), strict=True))
    )


def _without_fit(law: Law, cells: Cells, level: float, status: str, reason: str) -> LawFit:
    """Return the record of a law that could not be fitted: every number in it is missing."""
    nan = float("nan")
    theory = [None] * len(law.terms) + [shape.theory for shape in law.shapes]
    fixed = [None] * len(law.terms) + [shape.fixed for shape in law.shapes]
    return LawFit(
        law=law.name,
        formula=law.formula(cells.target),
        target=cells.target,
        status="not_identified" if status == "not_identified" else "failed",
        reason=reason,
        parameters=tuple(
            Parameter(name, nan if value is None else value, nan, nan, value is not None, predicted)
            for name, value, predicted in zip(law.names, fixed, theory, strict=True)
        ),
        level=level,
        objective=nan,
        aicc=nan,
        cells=len(cells),
        runs=cells.runs,
        lack_of_fit_p=None,
        excluded=cells.excluded,
        warnings=(),
        bootstrap_draws=np.empty((0, len(law.names))),
        failed_refits=0,
        noise=(nan, nan),
    )

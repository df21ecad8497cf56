"""Records of fits, from their minimum and their bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.bootstrap import Bootstrap
from jepa_scale.laws.cells import Cells
from jepa_scale.laws.diagnostics import at_bound, curvature
from jepa_scale.laws.general import GeneralLaw, GeneralProblem
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import Loss
from jepa_scale.laws.noise import mean_variance
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.rows import Rows
from jepa_scale.records import Finding, LawFit, Parameter
from jepa_scale.shapes import Float64

KEPT = 24
"""Number of starts that are followed to their minimum."""
UNREPLICATED = 0.1
"""Relative noise assumed in the first pass if no cell has two seeds; the second pass estimates it."""


@dataclass(frozen=True)
class Solution:
    """The minimum of one weighted problem."""

    theta: Float64[np.ndarray, " parameters"]
    """Parameters in centred coordinates."""
    objective: float
    converged: bool
    fitted: Float64[np.ndarray, " rows"]
    optima: int
    """Number of distinct minima within χ² of one of the lowest, itself included."""
    hits: int
    """Number of starts that ended in the lowest minimum."""


def no_draws(law: Law | GeneralLaw) -> Bootstrap:
    """Return an empty bootstrap, for fits without intervals."""
    return Bootstrap(np.empty((0, len(law.names))), 0, "none")


def residual_spread(problem: Problem | GeneralProblem, solution: Solution) -> float:
    """Return a robust sd of the residuals, 1.4826 × their median size, corrected for the fitted parameters."""
    rows = problem.rows
    with np.errstate(divide="ignore"):
        residual = (
            np.log(rows.target) - np.log(solution.fitted) if problem.loss.relative else rows.target - solution.fitted
        )
    freedom = max(len(rows) - int(problem.free.sum()), 1)
    return float(1.4826 * np.median(np.abs(residual)) * np.sqrt(len(rows) / freedom))


def fit_record(
    problem: Problem | GeneralProblem,
    solution: Solution,
    resamples: Bootstrap,
    level: float,
    noise: tuple[float, float],
    lack: float | None,
    aicc: float,
    excluded: tuple[str, ...],
    warnings: tuple[Finding, ...],
    cells: Cells | None = None,
) -> LawFit:
    """Return the record of a fit: its minimum with intervals."""
    law, rows = problem.law, problem.rows
    if resamples.failed:
        warnings += (Finding("refits_failed", values={"failed": resamples.failed}),)
    if solution.optima > 1:
        warnings += (Finding("several_minima", values={"minima": solution.optima}),)
    weights = rows.weight if cells is None else 1.0 / mean_variance(cells, solution.fitted, noise)
    bent = curvature(problem, weights, solution.theta)
    return LawFit(
        law=law.name,
        formula=law.formula,
        target=law.target,
        status="converged",
        reason=None,
        parameters=_parameters(problem, problem.natural(solution.theta), resamples.draws, level),
        level=level,
        objective=solution.objective * (1.0 if cells is None else 2.0),
        aicc=aicc,
        cells=rows.clusters,
        runs=len(rows) if cells is None else cells.runs,
        lack_of_fit_p=lack,
        excluded=excluded,
        warnings=warnings,
        bootstrap_draws=resamples.draws,
        failed_refits=resamples.failed,
        noise=noise,
        loss=problem.loss.name,
        bootstrap=resamples.kind,
        optima=solution.optima,
        starts=(solution.hits, KEPT),
        condition=bent.condition,
        correlations=bent.correlations,
    )


def _parameters(
    problem: Problem | GeneralProblem,
    theta: Float64[np.ndarray, " parameters"],
    draws: Float64[np.ndarray, "draws parameters"],
    level: float,
) -> tuple[Parameter, ...]:
    law = problem.law
    theory = [None] * len(law.terms) + [shape.theory for shape in law.shapes]
    ends = [(1 - level) / 2, (1 + level) / 2]
    interval = np.quantile(draws, ends, axis=0) if len(draws) else np.full((2, len(theta)), np.nan)
    interval = np.where(problem.free, interval, np.nan)
    ends_of_range = at_bound(problem, theta / problem.scale if isinstance(problem, GeneralProblem) else theta)
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
        for i, (name, at) in enumerate(zip(law.names, ends_of_range, strict=True))
    )


def without_fit(
    law: Law | GeneralLaw,
    rows: Rows,
    loss: Loss,
    level: float,
    status: str,
    reason: Finding,
    cells: Cells | None = None,
) -> LawFit:
    """Return the record of a law that could not be fitted; all its numbers are missing."""
    nan = float("nan")
    theory = [None] * len(law.terms) + [shape.theory for shape in law.shapes]
    fixed = [None] * len(law.terms) + [shape.fixed for shape in law.shapes]
    return LawFit(
        law=law.name,
        formula=law.formula,
        target=law.target,
        status="not_identified" if status == "not_identified" else "failed",
        reason=reason,
        parameters=tuple(
            Parameter(name, nan if value is None else value, nan, nan, value is not None, predicted)
            for name, value, predicted in zip(law.names, fixed, theory, strict=True)
        ),
        level=level,
        objective=nan,
        aicc=nan,
        cells=rows.clusters,
        runs=len(rows) if cells is None else cells.runs,
        lack_of_fit_p=None,
        excluded=() if cells is None else cells.excluded,
        warnings=(),
        bootstrap_draws=np.empty((0, len(law.names))),
        failed_refits=0,
        noise=(nan, nan),
        loss=loss.name,
    )

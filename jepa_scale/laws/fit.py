"""Fits of a law to the runs of a study or to any table of runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jepa_scale.laws.bootstrap import bootstrap
from jepa_scale.laws.cells import Cells, cells_from_table
from jepa_scale.laws.diagnostics import (
    fit_warnings,
    interior_warnings,
    lack_of_fit,
    rows_warnings,
    weight_warnings,
    why_not_identified,
)
from jepa_scale.laws.fit_general import fit_general
from jepa_scale.laws.general import GeneralLaw
from jepa_scale.laws.law import Law, LawFamily
from jepa_scale.laws.likelihood import corrected_akaike, scaled_deviance
from jepa_scale.laws.losses import HuberLog, Loss, Squares
from jepa_scale.laws.newton import minimise
from jepa_scale.laws.noise import mean_variance, noise_floor, residual_noise, seed_noise
from jepa_scale.laws.outcome import KEPT, UNREPLICATED, Solution, fit_record, no_draws, residual_spread, without_fit
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.rows import Rows
from jepa_scale.laws.varpro import Grid
from jepa_scale.laws.vertex import settle
from jepa_scale.records import Finding, LawFit, RunTable
from jepa_scale.shapes import Float64

STARTS = 64
"""Number of grid points polished for a fit, few of them neighbours: half best by least squares, half by the loss."""
_ROUGH = 30
"""Number of steps of every start, enough to tell basins apart before the lowest ``KEPT`` converge."""
_PATIENT = 5000
POINTS = 1800
"""Number of grid points of the shapes that are compared."""


def solve(
    problem: Problem,
    weights: Float64[np.ndarray, " rows"],
    warm: Float64[np.ndarray, " parameters"] | None = None,
) -> Solution:
    """Minimise Σ_i w_i ℓ_i: polish the best grid points, and ``warm`` if given, and keep the lowest minimum."""
    grid, target = Grid(problem, POINTS), problem.rows.target[None]
    halves = [grid.starts(weights[None], target, STARTS // 2, judged)[0] for judged in (False, True)]
    if warm is not None:
        halves.append(warm[None])
    rough = minimise(problem, weights[None], np.concatenate(halves), limit=_ROUGH)
    kept = np.argsort(rough.objective)[:KEPT]
    minima = minimise(problem, weights[None], rough.theta[kept])
    if not minima.converged.any():
        # An exponent may creep towards its bound along a flat valley: that takes long, and is no failure.
        lowest_yet = minima.theta[[int(minima.objective.argmin())]]
        minima = minimise(problem, weights[None], lowest_yet, limit=_PATIENT)
    objective = np.where(minima.converged, minima.objective, np.inf)
    best = int(objective.argmin())
    theta, lowest = minima.theta[best], float(minima.objective[best])
    again = _switched_on(problem, theta)
    if len(again):
        more = minimise(problem, weights[None], again).best_of(1)
        if more.converged[0] and more.objective[0] < lowest:
            theta, lowest = more.theta[0], float(more.objective[0])
    theta, lowest = settle(problem, weights, theta, lowest)
    freedom = max(len(problem.rows) - int(problem.free.sum()), 1)
    near = objective <= lowest * (1 + 0.5 / freedom) + 1e-300
    return Solution(
        theta=theta,
        objective=lowest,
        converged=bool(minima.converged[best]),
        fitted=np.exp(problem.state(theta[None]).y[0]),
        optima=_distinct(problem, minima.theta[near]) if near.any() else 1,
        hits=int((objective <= lowest * (1 + 1e-7)).sum()),
    )


def _switched_on(
    problem: Problem, theta: Float64[np.ndarray, " parameters"]
) -> Float64[np.ndarray, "starts parameters"]:
    """Return starts from the minimum with each zero coefficient set to 1/20 of the largest, at several exponents.

    At 0 its exponents have no slope, so no step from there finds where they would have helped.
    """
    terms = len(problem.law.terms)
    starts = []
    for off in np.flatnonzero(theta[:terms] <= 0):
        shapes = {q for j, q, _ in problem.slots if j == off and problem.free[q]}
        for share in np.linspace(0.02, 0.98, 6) if shapes else (0.5,):
            candidate = theta.copy()
            candidate[off] = 0.05 * max(theta[:terms].max(), 1e-12)
            for q in shapes:
                candidate[q] = problem.low[q] + share * (problem.high[q] - problem.low[q])
            starts.append(candidate)
    return np.array(starts).reshape(-1, len(theta))


def _distinct(problem: Problem, theta: Float64[np.ndarray, "minima parameters"]) -> int:
    """Count minima whose predictions differ by more than 1 % somewhere."""
    y = problem.state(theta).y
    kept: list[np.ndarray] = []
    for row in y:
        if all(np.abs(row - previous).max() > 0.01 for previous in kept):
            kept.append(row)
    return max(len(kept), 1)


def fit_table(
    law: Law | GeneralLaw,
    columns: Mapping[str, np.ndarray],
    loss: Loss | None = None,
    *,
    cluster: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    episodes: np.ndarray | None = None,
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
    kind: str = "auto",
) -> LawFit:
    """Fit ``law`` to any table of runs, one row for each run.

    min_θ Σ_i w_i ℓ(R_θ(x_i); R_i) over every combination of exponents within bounds; intervals are percentiles of a
    bootstrap of configurations, rows that agree in all columns of the law unless ``cluster`` names them.

    Parameters
    ----------
    law, columns
        The law names its columns and its target.
    loss
        Default: Huber of log residuals with δ = 10⁻³, that of published fits.
    cluster, weight, episodes
        One entry for each row: rows that belong together, counts, and trials behind a rate.
    level, draws, seed, kind
        Of the bootstrap; ``draws = 0`` gives no intervals. ``kind``: see ``bootstrap.bootstrap``.

    Raises
    ------
    ValueError
        If a column is missing or has values that the law or loss cannot use, or ``level`` or ``draws`` is out of range.
    """
    _check_level(level, draws)
    loss = HuberLog() if loss is None else loss
    rows = Rows.of(law, columns, cluster=cluster, weight=weight, episodes=episodes)
    loss.check(rows)
    if isinstance(law, GeneralLaw):
        return fit_general(law, rows, loss, level, draws, seed)
    reason = why_not_identified(law, rows)
    if reason is not None:
        return without_fit(law, rows, loss, level, "not_identified", reason)
    problem = Problem(law, rows, loss)
    solution = solve(problem, rows.weight)
    if not solution.converged:
        return without_fit(law, rows, loss, level, "failed", Finding("not_converged", values={"starts": STARTS}))
    resamples = bootstrap(problem, rows.weight, solution.theta, draws, seed, kind) if draws else no_draws(law)
    spread = residual_spread(problem, solution)
    noise = (0.0, spread) if loss.relative else (spread, 0.0)
    lack = lack_of_fit(rows, solution.fitted, int(problem.free.sum()), loss.relative)
    natural = problem.natural(solution.theta)
    warnings = fit_warnings(problem, natural, lack) + rows_warnings(law, rows)
    return fit_record(
        problem, solution, resamples, level, noise, lack, scaled_deviance(loss, solution.objective, rows), (), warnings
    )


def fit(
    family: LawFamily,
    table: RunTable,
    target: str,
    *,
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
    saturation: float = 0.9,
) -> LawFit:
    """Fit a law to the cell means of ``target`` of a study by weighted least squares.

    min_θ Σ_i (ȳ_i − R_θ(k_i, n_i))² / Var(ȳ_i), Var(ȳ_i) = (s0² + (c·R_i)²)/m_i, on the scale of R itself: a regret of
    exactly 0 is common and legitimate (B5) and has no logarithm. (s0, c) is pooled over replicate seeds once, with
    R = ȳ, as it must not depend on the law; the weights are taken at R = ȳ, then at the fitted values (feasible
    generalised least squares), so that a cell which came out low by chance does not earn weight by it. Intervals are
    percentiles of the cluster bootstrap at ``level``.

    What must hold for the parameters to mean anything: an interior optimum in k for p, at least two levels of k
    and n, cells below saturation unless the law has a ceiling. What does not hold is in ``warnings``, ``excluded`` or
    ``status``.

    Parameters
    ----------
    family, table, target
        ``target`` is "risk" or "regret", a column of ``table``.
    level
        Probability content of the intervals.
    draws, seed
        Bootstrap resamples and the seed that decides them.
    saturation
        Share of ``regret_random`` from which a cell's mean regret is left out; infinity keeps every cell, and so does a
        law that saturates itself.

    Raises
    ------
    ValueError
        If ``target`` is unknown, ``level`` is not inside (0, 1), ``draws`` < 1 or ``saturation`` ≤ 0.
    """
    _check_level(level, draws, 1)
    law = family.on(target)
    if isinstance(law, GeneralLaw):
        cells = cells_from_table(table, target, saturation)
        return fit_general(law, rows_of_cells(law, cells), Squares(), level, draws, seed, cells)
    cells = cells_from_table(table, target, np.inf if law.parsed.ceiling is not None else saturation)
    rows = rows_of_cells(law, cells)
    reason = why_not_identified(law, rows)
    if len(cells) == 0 and cells.excluded:
        reason = Finding("no_cell_left", target, {"first": cells.excluded[0]})
    if reason is not None:
        return without_fit(law, rows, Squares(), level, "not_identified", reason, cells)
    problem = Problem(law, rows, Squares())
    noise, first = _two_passes(problem, cells)
    if not first.converged:
        reason = Finding("not_converged", values={"starts": STARTS})
        return without_fit(law, rows, Squares(), level, "failed", reason, cells)
    variance = mean_variance(cells, first.fitted, noise)
    final = solve(problem, 1.0 / variance, first.theta)
    resamples = bootstrap(problem, 1.0 / variance, final.theta, draws, seed)
    lack = lack_of_fit(rows, final.fitted, int(problem.free.sum()), False, cells, variance)
    natural = problem.natural(final.theta)
    warnings = fit_warnings(problem, natural, lack)
    warnings += interior_warnings(problem, cells, resamples.draws)
    warnings += weight_warnings(problem, first.theta, final.theta)
    akaike = corrected_akaike(2 * final.objective, variance, int(problem.free.sum()))
    return fit_record(problem, final, resamples, level, noise, lack, akaike, cells.excluded, warnings, cells)


def rows_of_cells(law: Law | GeneralLaw, cells: Cells) -> Rows:
    """Return the cells as rows, each its own cluster; columns that are not known stay NaN."""
    columns = {name: cells.columns[name] for name in law.columns if name in cells.columns}
    missing = [name for name in law.columns if name not in columns]
    if missing:
        raise ValueError(f"{law.formula!r} needs {', '.join(missing)}; a study has {', '.join(cells.columns)}")
    return Rows(columns, cells.mean, np.ones(len(cells)), np.arange(len(cells)))


def _check_level(level: float, draws: int, least: int = 0) -> None:
    if not 0 < level < 1:
        raise ValueError(f"expected a level inside (0, 1), for example 0.9, got {level=}")
    if draws < least:
        raise ValueError(f"expected at least {least} bootstrap draws, got {draws=}")


def _two_passes(problem: Problem, cells: Cells) -> tuple[tuple[float, float], Solution]:
    """Return the noise model, and the fit with weights at R = cell means."""
    noise = seed_noise(cells)
    first = noise or (noise_floor(cells), UNREPLICATED)
    solution = solve(problem, 1.0 / mean_variance(cells, cells.mean, first))
    return noise or residual_noise(cells, solution.fitted, int(problem.free.sum())), solution

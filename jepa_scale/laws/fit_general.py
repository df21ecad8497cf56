"""Fits of laws of any formula: starts by variable projection, then the same Newton steps as for other laws."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from jepa_scale.laws.bootstrap import Bootstrap
from jepa_scale.laws.cells import Cells
from jepa_scale.laws.diagnostics import lack_of_fit, nothing_to_explain, rows_warnings
from jepa_scale.laws.general import GeneralLaw, GeneralProblem
from jepa_scale.laws.likelihood import corrected_akaike, scaled_deviance
from jepa_scale.laws.losses import Loss
from jepa_scale.laws.newton import Minima, minimise
from jepa_scale.laws.noise import mean_variance, noise_floor, seed_noise
from jepa_scale.laws.outcome import UNREPLICATED, Solution, fit_record, no_draws, residual_spread, without_fit
from jepa_scale.laws.rows import Rows
from jepa_scale.records import Finding, LawFit
from jepa_scale.shapes import Float64

_EXPONENTS = (0.05, 0.12, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 2.5)
_COMBINATIONS = 3000
"""Number of grid points of the parameters in which a law is not linear."""
_KEPT = 24
_RANK = 1e-7
"""Ratio of smallest to largest singular value of the scaled Jacobian above which all parameters are identified."""


def fit_general(
    law: GeneralLaw,
    rows: Rows,
    loss: Loss,
    level: float,
    draws: int,
    seed: int,
    cells: Cells | None = None,
) -> LawFit:
    """Fit a law of any formula to rows, or to cells with the noise of their seeds."""
    reason = why_not_general(law, rows)
    if reason is not None:
        return without_fit(law, rows, loss, level, "not_identified", reason, cells)
    noise = None if cells is None else seed_noise(cells) or (noise_floor(cells), UNREPLICATED)
    weights = rows.weight if cells is None or noise is None else 1.0 / mean_variance(cells, cells.mean, noise)
    problem, minima, best = solve_general(law, rows, loss, weights)
    if not minima.converged[best]:
        reason = Finding("not_converged", values={"starts": len(minima.theta)})
        return without_fit(law, rows, loss, level, "failed", reason, cells)
    if cells is not None and noise is not None:
        weights = 1.0 / mean_variance(cells, np.exp(problem.state(minima.theta[[best]]).y[0]), noise)
        minima, best = minimise(problem, weights[None], minima.theta[[best]]), 0
    theta = minima.theta[best]
    reason = rank_finding(problem, theta, weights)
    if reason is not None:
        return without_fit(law, rows, loss, level, "not_identified", reason, cells)
    objective = np.where(minima.converged, minima.objective, np.inf)
    fitted = np.exp(problem.state(theta[None]).y[0])
    solution = Solution(
        theta=theta,
        objective=float(minima.objective[best]),
        converged=True,
        fitted=fitted,
        optima=1,
        hits=int((objective <= objective[best] * (1 + 1e-7) + 1e-300).sum()),
    )
    resamples = bootstrap_general(problem, weights, theta, draws, seed) if draws else no_draws(law)
    free = len(law.names)
    if cells is None or noise is None:
        spread = residual_spread(problem, solution)
        noise = (0.0, spread) if loss.relative else (spread, 0.0)
        lack = lack_of_fit(rows, fitted, free, loss.relative)
        akaike = scaled_deviance(loss, solution.objective, rows)
        warnings = general_warnings(problem, theta, lack) + rows_warnings(law, rows)
    else:
        variance = mean_variance(cells, fitted, noise)
        lack = lack_of_fit(rows, fitted, free, False, cells, variance)
        akaike = corrected_akaike(2 * solution.objective, variance, free)
        warnings = general_warnings(problem, theta, lack)
    excluded = () if cells is None else cells.excluded
    return fit_record(problem, solution, resamples, level, noise, lack, akaike, excluded, warnings, cells)


def starts(law: GeneralLaw, rows: Rows, weights: np.ndarray, seed: int = 0) -> Float64[np.ndarray, "starts parameters"]:
    """Return starting points in natural units: nonlinear parameters on a grid, linear ones solved for.

    Exponents are tried between 0.05 and 2.5; any other parameter over the range of the columns and about 1.
    """
    names, linear = law.names, list(law.linear)
    others = [name for name in names if name not in linear]
    ends = [(float(column.min()), float(column.max())) for column in rows.columns.values()]
    wide = np.concatenate([np.geomspace(max(low, 1e-12) / 3, high * 3, 6) for low, high in ends])
    each = []
    for name in others:
        grid = _EXPONENTS if name in law.exponents else (0.1, 1.0, 10.0, *wide.tolist())
        each.append([value for value in grid if _inside(law, name, value)] or [_middle(law, name)])
    every = list(itertools.product(*each))
    if len(every) > _COMBINATIONS:
        chosen = np.random.default_rng(seed).choice(len(every), _COMBINATIONS, replace=False)
        every = [every[index] for index in chosen]
    theta = np.zeros((len(every), len(names)))
    for place, name in enumerate(others):
        theta[:, names.index(name)] = [values[place] for values in every]
    if not linear:
        return theta
    places = [names.index(name) for name in linear]
    base = law.values(theta, rows.columns)
    basis = []
    for place in places:
        shifted = theta.copy()
        shifted[:, place] = 1.0
        basis.append(law.values(shifted, rows.columns) - base)
    # Relative residuals: what is small counts as well.
    root = np.sqrt(weights) / np.maximum(np.abs(rows.target), 1e-12 * np.abs(rows.target).max() + 1e-300)
    design = np.nan_to_num(np.stack(basis, axis=-1) * root[:, None], nan=0.0, posinf=0.0, neginf=0.0)
    size = np.maximum(np.linalg.norm(design, axis=1, keepdims=True), 1e-300)
    right = np.nan_to_num((rows.target - base) * root, nan=0.0, posinf=0.0, neginf=0.0)
    coefficients = np.linalg.pinv(design / size, rcond=1e-9) @ right[..., None]
    theta[:, places] = coefficients[..., 0] / size[:, 0]
    return theta


def _inside(law: GeneralLaw, name: str, value: float) -> bool:
    low, high = law.bounds.get(name, (-np.inf, np.inf))
    return low <= value <= high


def _middle(law: GeneralLaw, name: str) -> float:
    low, high = law.bounds[name]
    return (low + high) / 2


def solve_general(law: GeneralLaw, rows: Rows, loss: Loss, weights: np.ndarray) -> tuple[GeneralProblem, Minima, int]:
    """Return the problem in units of its minimum, the minima of the best starts and the index of the lowest one."""
    unit = GeneralProblem(law, rows, loss, np.ones(len(law.names)))
    points = starts(law, rows, weights)
    value = unit.objective(unit.state(points), weights[None], rows.target[None])
    order = np.argsort(value, kind="stable")[:_KEPT]
    order = order[np.isfinite(value[order])]
    best: tuple[GeneralProblem, Minima] | None = None
    for group in np.array_split(order, max(len(order) // 8, 1)) if len(order) else ():
        scale = np.maximum(np.abs(points[group[0]]), 1e-6 * np.abs(points[group[0]]).max() + 1e-12)
        problem = replace(unit, scale=scale)
        minima = minimise(problem, weights[None], points[group] / scale)
        if best is None or minima.objective.min() < best[1].objective.min():
            best = problem, minima
    if best is None:
        nothing = Minima(np.full((1, len(law.names)), np.nan), np.array([np.inf]), np.zeros(1, dtype=bool))
        return unit, nothing, 0
    problem, minima = best
    objective = np.where(minima.converged, minima.objective, np.inf)
    return problem, minima, int(objective.argmin())


def rank_finding(problem: GeneralProblem, theta: np.ndarray, weights: np.ndarray) -> Finding | None:
    """Return a finding if the Jacobian at a minimum lacks rank, so that not all parameters are identified."""
    slope = problem.sensitivity(problem.state(theta[None]))[0] * np.sqrt(weights)
    size = np.linalg.norm(slope, axis=1, keepdims=True)
    if (size <= 0).any():
        return Finding("no_influence", problem.law.names[int(size.argmin())])
    values = np.linalg.svd(slope / size, compute_uv=False)
    if len(values) < len(problem.law.names) or values[-1] < _RANK * values[0]:
        return Finding("rank_deficient", values={"parameters": ", ".join(problem.law.names)})
    return None


def why_not_general(law: GeneralLaw, rows: Rows) -> Finding | None:
    """Return why the rows cannot identify a law of any formula; None if no reason is known before the fit."""
    nothing = nothing_to_explain(law.target, rows)
    if nothing is not None:
        return nothing
    for name in law.columns:
        column = rows.columns[name]
        missing = int((~np.isfinite(column)).sum())
        if missing:
            values = {"law": law.name, "what": name, "missing": missing, "rows": len(rows)}
            return Finding("column_missing", name, values)
        if len(np.unique(column)) < 2:
            return Finding("too_few_levels", name, {"levels": 1})
    free = len(law.names)
    if rows.clusters < free + 2:
        values = {"cells": rows.clusters, "free": free, "least": free + 2, "dials": " or ".join(law.columns)}
        return Finding("too_few_cells", values=values)
    return None


def general_warnings(problem: GeneralProblem, theta: np.ndarray, lack_of_fit_p: float | None) -> tuple[Finding, ...]:
    """Return the reasons to distrust a fit; ``theta`` in units of the problem."""
    bound = (theta <= problem.low) | (theta >= problem.high)
    values = problem.natural(theta)
    warnings = [
        Finding("at_bound", name, {"value": float(value)})
        for name, value, at in zip(problem.law.names, values, bound, strict=True)
        if at
    ]
    if lack_of_fit_p is None:
        warnings.append(Finding("lack_of_fit_untested"))
    elif lack_of_fit_p < 0.01:
        warnings.append(Finding("lack_of_fit", values={"p": lack_of_fit_p}))
    return tuple(warnings)


def bootstrap_general(
    problem: GeneralProblem, weights: np.ndarray, theta: np.ndarray, draws: int, seed: int
) -> Bootstrap:
    """Resample configurations with replacement and refit from the full fit; see ``bootstrap.cluster_pairs``."""
    rows = problem.rows
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(rows.clusters, np.full(rows.clusters, 1 / rows.clusters), size=draws)
    usable = counts[(counts > 0).sum(axis=1) >= len(theta)]
    if not len(usable):
        return Bootstrap(np.empty((0, len(theta))), draws, "cluster pairs")
    start = np.broadcast_to(theta, (len(usable), len(theta)))
    minima = minimise(problem, usable[:, rows.cluster] * weights, start)
    natural = problem.natural(minima.theta)
    good = minima.converged & np.isfinite(natural).all(axis=1)
    return Bootstrap(natural[good], draws - int(good.sum()), "cluster pairs")

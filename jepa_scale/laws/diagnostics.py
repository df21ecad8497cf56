"""Diagnostics of a fit: what the rows cannot identify, and what the fitted law cannot explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jepa_scale.laws.cells import Cells
from jepa_scale.laws.copies import first_rows
from jepa_scale.laws.distributions import f_above
from jepa_scale.laws.law import Law
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.rows import Rows
from jepa_scale.records import Finding
from jepa_scale.shapes import Float64

if TYPE_CHECKING:
    from jepa_scale.laws.general import GeneralLaw, GeneralProblem

MAX_P_SD = 0.3
"""Largest bootstrap sd of p at which a grid is said to test it: the rival p = 0 and p = 1 are then 3 sd apart."""

MAX_MOVE = 0.3
"""Change of an exponent between the two passes of a fit above which there is a warning."""

_RANK = 1e-7
"""Smallest singular value of a Jacobian with columns of length 1, over its largest, that counts as rank."""

_RISES = 0.5
"""Rank correlation of a target with a column above which it is said to rise with it."""

MAX_COLLINEAR = 0.9
"""Largest correlation of the logarithms of two columns: beyond it, two exponents cannot be told apart."""


def why_not_identified(law: Law, rows: Rows) -> Finding | None:
    """Return why the rows cannot identify the law, with what to run; None if they can."""
    nothing = nothing_to_explain(law.target, rows)
    if nothing is not None:
        return nothing
    for name in law.columns:
        column = rows.columns[name]
        if not np.isfinite(column).all():
            missing = int((~np.isfinite(column)).sum())
            what = "the measured tail" if name == "tail" else name
            values = {"law": law.name, "what": what, "missing": missing, "rows": len(rows)}
            return Finding("column_missing", name, values)
        if name == "tail" and not (column > 0).any():
            return Finding("tail_zero", name, {"rows": len(rows)})
    exponents: dict[str, set[str]] = {}
    for term in law.parsed.terms:
        for power in term.powers:
            exponents.setdefault(power.column, set())
            if isinstance(power.exponent, str):
                exponents[power.column].add(power.exponent)
    for name in exponents:
        levels = len(np.unique(rows.columns[name]))
        if levels < 2 and name != "tail":
            return Finding("too_few_levels", name, {"levels": levels})
    collinear = _collinear(law, rows)
    if collinear is not None:
        return collinear
    free = int(law.free.sum())
    if rows.clusters < free + 2:
        dials = " or ".join(name for name in exponents if name != "tail")
        values = {"cells": rows.clusters, "free": free, "least": free + 2, "dials": dials}
        return Finding("too_few_cells", values=values)
    if not _distinguishable(law, rows):
        for name, found in exponents.items():
            levels = len(np.unique(rows.columns[name]))
            if levels == 2 and found - law.fixed.keys():
                return Finding("two_levels", name, {"levels": levels})
        return Finding("rank_deficient", values={"parameters": ", ".join(law.names)})
    return None


def _distinguishable(law: Law, rows: Rows) -> bool:
    """Return whether the Jacobian of ln R by the free parameters has full rank somewhere, which no data can change.

    Two levels of a column are two numbers: they cannot hold a coefficient and an exponent beside a constant. Tried at a
    few parameters, each column divided by its geometric mean, which coefficients take up.
    """
    columns = {}
    for name in law.columns:
        column = np.asarray(rows.columns[name], float)
        # A tail of 1e-60 is a zero, and no measure of size.
        counted = column[column > 1e-9 * column.max()]
        plain = name == law.parsed.ceiling or (column < 0).any() or not len(counted)
        columns[name] = column if plain else column / np.exp(np.log(counted).mean())
    generator, free = np.random.default_rng(5), law.free
    for _ in range(4):
        # Small where the law levels off: on the plateau no parameter has an influence.
        size = 1.0 if law.parsed.ceiling is None else 0.01
        theta = np.append(size * generator.uniform(0.5, 2, len(law.terms)), generator.uniform(0.3, 1, len(law.shapes)))
        theta[~free] = [shape.fixed for shape in law.shapes if shape.fixed is not None]
        steps = 1e-5 * np.eye(len(theta))[free]
        with np.errstate(all="ignore"):
            ends = [np.log(law.predict(theta * np.exp(sign * steps), columns)) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / 2e-5
        lengths = np.linalg.norm(slope, axis=1, keepdims=True)
        if not np.isfinite(slope).all() or (lengths <= 0).any():
            continue
        values = np.linalg.svd(slope / lengths, compute_uv=False)
        if len(values) == len(slope) and values[-1] > _RANK * values[0]:
            return True
    return False


def nothing_to_explain(target: str, rows: Rows) -> Finding | None:
    """Return a finding if there are no rows, or if all have the same target; else None."""
    if len(rows) == 0:
        return Finding("no_rows")
    if np.ptp(rows.target) <= 1e-12 * np.abs(rows.target).max():
        return Finding("constant_target", target, {"value": float(rows.target[0])})
    return None


def _collinear(law: Law, rows: Rows) -> Finding | None:
    """Return a finding if two columns with free exponents are collinear, whatever the law; else None."""
    free = {
        power.column
        for term in law.parsed.terms
        for power in term.powers
        if isinstance(power.exponent, str) and power.exponent not in law.fixed and rows.columns[power.column].min() > 0
    }
    names = sorted(free)
    for i, second in enumerate(names):
        for first in names[:i]:
            correlation = float(np.corrcoef(np.log(rows.columns[second]), np.log(rows.columns[first]))[0, 1])
            if abs(correlation) > 0.995:
                return Finding("columns_move_together", first, {"other": second, "correlation": correlation})
    return None


def rows_warnings(law: Law | GeneralLaw, rows: Rows) -> tuple[Finding, ...]:
    """Return warnings about the rows themselves."""
    warnings = []
    table = np.column_stack([*rows.columns.values(), rows.target])
    copies = len(table) - len(first_rows(table.tolist()))
    if copies:
        warnings.append(Finding("copied_rows", law.target, {"copies": copies, "rows": len(table)}))
    rising = _rising(law, rows) if isinstance(law, Law) else ()
    if rising:
        warnings.append(Finding("rises_with_scale", law.target, {"columns": ", ".join(rising), "first": rising[0]}))
    top = law.parsed.ceiling if isinstance(law, Law) else None
    ceiling = rows.columns[top] if isinstance(top, str) else top
    above = 0 if ceiling is None else int((rows.target > ceiling).sum())
    if above:
        warnings.append(Finding("above_ceiling", law.target, {"above": above, "rows": len(rows)}))
    if (rows.target < 0).any():
        warnings.append(Finding("negative_target", law.target, {"negative": int((rows.target < 0).sum())}))
    logs = {name: np.log(column) for name, column in rows.columns.items() if column.min() > 0 and np.ptp(column) > 0}
    names = list(logs)
    for i, second in enumerate(names):
        for first in names[:i]:
            correlation = float(np.corrcoef(logs[second], logs[first])[0, 1])
            if abs(correlation) > MAX_COLLINEAR:
                values = {"other": second, "correlation": correlation}
                warnings.append(Finding("exponents_trade_off", first, values))
    return tuple(warnings)


def _rising(law: Law, rows: Rows) -> tuple[str, ...]:
    """Return the columns with which the law only falls, if the target rises with every one of them."""
    signs: dict[str, set[float]] = {}
    for term in law.parsed.terms:
        for power in term.powers:
            signs.setdefault(power.column, set()).add(power.sign)
    falling = tuple(name for name, found in signs.items() if found == {-1} and np.ptp(rows.columns[name]) > 0)
    if len(rows) < 4 or not falling or np.ptp(rows.target) == 0:
        return ()
    from scipy.stats import spearmanr

    ranks = [float(spearmanr(rows.columns[name], rows.target).statistic) for name in falling]
    return falling if min(ranks) >= 0 and max(ranks) > _RISES else ()


def interior_optimum(means: Float64[np.ndarray, " widths"]) -> bool:
    """Whether a row, sorted by k, is lower somewhere inside than at both ends.

    A row that reaches its lowest value and stays there (zeros of regret) shows no rise, hence no interior optimum.
    """
    return len(means) > 2 and bool(means[1:-1].min() < min(means[0], means[-1]))


def shows_interior_optimum(cells: Cells) -> bool:
    """Whether the row of any n has an interior optimum in k."""
    rows = (cells.mean[cells.n == n][np.argsort(cells.k[cells.n == n])] for n in np.unique(cells.n))
    return any(interior_optimum(row) for row in rows)


def lack_of_fit(
    rows: Rows,
    fitted: Float64[np.ndarray, " rows"],
    free: int,
    relative: bool,
    cells: Cells | None = None,
    variance: Float64[np.ndarray, " rows"] | None = None,
) -> float | None:
    """Return the p value of F = [Σ w_i m_i (ȳ_i − R_i)²/(G − q)] / [Σ_i w_i Σ_s (y_is − ȳ_i)²/Σ(m_i − 1)].

    G configurations, m_i runs each, w_i the precision of one run: the noise model sets the weights and the replicates
    set the scale. Residuals are of logarithms where ``relative``. None without replicates, or if they do not differ.
    """
    if cells is not None and variance is not None:
        values, weight = list(cells.values), 1.0 / (variance * cells.seeds)
        level = fitted
    else:
        scaled = np.log(rows.target) if relative else rows.target
        values = [scaled[rows.cluster == index] for index in range(rows.clusters)]
        weight = np.array([rows.weight[rows.cluster == index].mean() for index in range(rows.clusters)])
        smooth = np.log(fitted) if relative else fitted
        level = np.array([smooth[rows.cluster == index].mean() for index in range(rows.clusters)])
    counts = np.array([len(value) for value in values])
    pure_degrees, fit_degrees = int((counts - 1).sum()), len(values) - free
    if pure_degrees <= 0 or fit_degrees <= 0:
        return None
    means = np.array([value.mean() for value in values])
    pure = float((weight * [((value - value.mean()) ** 2).sum() for value in values]).sum()) / pure_degrees
    if pure <= 0:
        return None
    misfit = float((weight * counts * (means - level) ** 2).sum()) / fit_degrees
    return f_above(misfit / pure, fit_degrees, pure_degrees)


def fit_warnings(
    problem: Problem, theta: Float64[np.ndarray, " parameters"], lack_of_fit_p: float | None
) -> tuple[Finding, ...]:
    """Return the reasons to distrust a fit; ``theta`` in natural units."""
    law, rows = problem.law, problem.rows
    values = dict(zip(law.names, theta.tolist(), strict=True))
    warnings = [
        Finding("at_bound", name, {"value": values[name]})
        for name, bound in zip(law.names, at_bound(problem, theta), strict=True)
        if bound
    ]
    for term in law.parsed.terms:
        for power in term.powers:
            exponent = power.exponent
            if isinstance(exponent, str) and exponent not in law.fixed and values[term.coefficient] == 0:
                warnings.append(Finding("coefficient_zero", exponent, {"coefficient": term.coefficient}))
    if lack_of_fit_p is None:
        warnings.append(Finding("lack_of_fit_untested"))
    elif lack_of_fit_p < 0.01:
        warnings.append(Finding("lack_of_fit", values={"p": lack_of_fit_p}))
    zeros = int((rows.target == 0).sum())
    if zeros:
        warnings.append(Finding("exact_zeros", law.target, {"zeros": zeros, "rows": len(rows)}))
    return tuple(warnings)


def interior_warnings(
    problem: Problem, cells: Cells, draws: Float64[np.ndarray, "draws parameters"]
) -> tuple[Finding, ...]:
    """Return warnings that the grid does not test the growth p of the sample term in k, which only a U-turn shows."""
    law = problem.law
    warnings = []
    for shape in (shape for shape in law.shapes if shape.name == "p"):
        spread = float(draws[:, law.names.index("p")].std()) if len(draws) else np.inf
        if not shows_interior_optimum(cells):
            warnings.append(Finding("no_interior_optimum", "p"))
        if shape.fixed is None and spread > MAX_P_SD:
            warnings.append(Finding("wide_spread", "p", {"sd": spread, "most": MAX_P_SD}))
    if not (cells.seeds > 1).any():
        warnings.append(Finding("one_seed"))
    return tuple(warnings)


def weight_warnings(
    problem: Problem, first: Float64[np.ndarray, " parameters"], second: Float64[np.ndarray, " parameters"]
) -> tuple[Finding, ...]:
    """Return a warning for each shape that moved by more than 0.3 between the two passes of the fit.

    If the law holds, weights change the precision of its parameters; if it does not, they decide their values.
    """
    names = problem.law.names
    return tuple(
        Finding("moved_with_weights", names[i], {"first": float(first[i]), "second": float(second[i])})
        for i in range(len(problem.law.terms), len(names))
        if abs(second[i] - first[i]) > MAX_MOVE
    )


def at_bound(problem: Problem | GeneralProblem, theta: Float64[np.ndarray, " parameters"]) -> np.ndarray:
    """Return which free parameters lie at a bound, as booleans (parameters,)."""
    return problem.free & ((theta <= problem.low) | (theta >= problem.high))


@dataclass(frozen=True)
class Curvature:
    """The Hessian of a fit in centred coordinates, scaled to a unit diagonal."""

    condition: float
    """Condition number; infinite if a direction is flat, NaN if no parameter lies inside its bounds."""
    correlations: Float64[np.ndarray, "parameters parameters"]
    """Correlations of the parameters inside their bounds, from the inverse Hessian; NaN elsewhere."""


def curvature(
    problem: Problem | GeneralProblem, weights: Float64[np.ndarray, " rows"], theta: Float64[np.ndarray, " parameters"]
) -> Curvature:
    """Return condition number and correlations at a minimum; those of the majorant if the loss has no curvature."""
    inside = np.flatnonzero(problem.free & (theta > problem.low) & (theta < problem.high))
    correlations = np.full((len(theta), len(theta)), np.nan)
    if len(inside) == 0:
        return Curvature(float("nan"), correlations)
    state = problem.state(theta[None])
    target = problem.rows.target[None]
    hessian = problem.smooth.curvature(state, weights[None], target, np.array([False]))[1][0]
    block = hessian[np.ix_(inside, inside)]
    if not np.isfinite(block).all():
        return Curvature(float("nan"), correlations)
    scale = np.sqrt(np.maximum(np.diag(block), 1e-300))
    values, vectors = np.linalg.eigh(block / np.outer(scale, scale))
    values = np.maximum(values, 0.0)
    if values[0] <= 1e-14 * values[-1]:
        return Curvature(float("inf"), correlations)
    inverse = (vectors / values) @ vectors.T
    spread = np.sqrt(np.diag(inverse))
    correlations[np.ix_(inside, inside)] = inverse / np.outer(spread, spread)
    return Curvature(float(values[-1] / values[0]), correlations)

"""Reasons to distrust a fit: what the rows cannot identify, and what the fitted law cannot explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from jepa_scale.laws.cells import Cells
from jepa_scale.laws.law import Law
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.rows import Rows
from jepa_scale.shapes import Float64

MAX_P_SD = 0.3
"""Largest bootstrap sd of p at which a grid is said to test it: the rival p = 0 and p = 1 are then 3 sd apart."""

MAX_MOVE = 0.3
"""Largest change of an exponent between the two passes of a fit that goes unmentioned."""

MAX_COLLINEAR = 0.9
"""Largest correlation of the logarithms of two columns: beyond it, two exponents cannot be told apart."""


def why_not_identified(law: Law, rows: Rows) -> str:
    """Return one sentence, with what to run, if the rows cannot identify the law; else an empty string."""
    if len(rows) == 0:
        return "there is no row to fit"
    if np.ptp(rows.target) <= 1e-12 * np.abs(rows.target).max():
        return f"{law.target} is {rows.target[0]:g} in every row: there is nothing that a law could explain"
    for name in law.columns:
        column = rows.columns[name]
        if not np.isfinite(column).all():
            missing = int((~np.isfinite(column)).sum())
            what = "the measured tail" if name == "tail" else name
            return f"{law.name} needs {what}, which is missing in {missing} of {len(rows)} cells"
        if name == "tail" and not (column > 0).any():
            return f"the tail is 0 in all {len(rows)} cells: its coefficient cannot be fitted"
    exponents: dict[str, set[str]] = {}
    for term in law.parsed.terms:
        for power in term.powers:
            exponents.setdefault(power.column, set())
            if isinstance(power.exponent, str):
                exponents[power.column].add(power.exponent)
    for name in exponents:
        levels = len(np.unique(rows.columns[name]))
        if levels < 2 and name != "tail":
            return f"{levels} level of {name}: at least 2 are needed; run other values of {name}"
    collinear = _collinear(law, rows)
    if collinear:
        return collinear
    free = int(law.free.sum())
    if rows.clusters < free + 2:
        dials = " or ".join(name for name in exponents if name != "tail")
        return (
            f"{rows.clusters} cells for {free} free parameters: at least {free + 2} are needed; run more values of "
            f"{dials}"
        )
    return ""


def _collinear(law: Law, rows: Rows) -> str:
    """Say which two columns with free exponents move together, whatever the law."""
    free = {
        power.column
        for term in law.parsed.terms
        for power in term.powers
        if isinstance(power.exponent, str) and power.exponent not in law.fixed and rows.columns[power.column].min() > 0
    }
    names = sorted(free)
    for i, one in enumerate(names):
        for other in names[:i]:
            correlation = np.corrcoef(np.log(rows.columns[one]), np.log(rows.columns[other]))[0, 1]
            if abs(correlation) > 0.995:
                return (
                    f"{other} and {one} move together (correlation of logarithms {correlation:.3f}): their exponents "
                    f"cannot be told apart; run cells with large {other} and small {one}, and the other way round"
                )
    return ""


def rows_warnings(law: Law, rows: Rows) -> tuple[str, ...]:
    """Return one sentence for each peculiarity of the rows themselves."""
    warnings = []
    table = np.column_stack([*rows.columns.values(), rows.target])
    repeated = len(table) - len(np.unique(table, axis=0))
    if repeated:
        warnings.append(
            f"{repeated} of {len(table)} rows repeat another row exactly, target included: copies, not runs"
        )
    top = law.parsed.ceiling
    ceiling = rows.columns[top] if isinstance(top, str) else top
    above = 0 if ceiling is None else int((rows.target > ceiling).sum())
    if above:
        warnings.append(f"{above} of {len(rows)} targets lie above the ceiling, which the law never reaches")
    if (rows.target < 0).any():
        warnings.append(f"{int((rows.target < 0).sum())} targets are negative, which a law of this form never is")
    logs = {name: np.log(column) for name, column in rows.columns.items() if column.min() > 0 and np.ptp(column) > 0}
    names = list(logs)
    for i, one in enumerate(names):
        for other in names[:i]:
            correlation = float(np.corrcoef(logs[one], logs[other])[0, 1])
            if abs(correlation) > MAX_COLLINEAR:
                warnings.append(
                    f"ln {other} and ln {one} have correlation {correlation:.2f}: their exponents trade off"
                )
    return tuple(warnings)


def interior_optimum(means: Float64[np.ndarray, " widths"]) -> bool:
    """Whether a row, sorted by k, is lower somewhere inside than at both ends.

    A row that reaches its lowest value and stays there (zeros of regret) shows no rise, hence no interior optimum.
    """
    return len(means) > 2 and bool(means[1:-1].min() < min(means[0], means[-1]))


def shows_interior_optimum(cells: Cells) -> bool:
    """Whether any n has an interior optimum in k."""
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
    return float(stats.f.sf(misfit / pure, fit_degrees, pure_degrees))


def fit_warnings(
    problem: Problem, theta: Float64[np.ndarray, " parameters"], lack_of_fit_p: float | None
) -> tuple[str, ...]:
    """Return one sentence for each reason to distrust the fit; ``theta`` in natural units."""
    law, rows = problem.law, problem.rows
    values = dict(zip(law.names, theta, strict=True))
    warnings = [
        f"{name} = {values[name]:.3g} lies at the bound of its range"
        for name, bound in zip(law.names, at_bound(problem, theta), strict=True)
        if bound
    ]
    for term in law.parsed.terms:
        for power in term.powers:
            named = isinstance(power.exponent, str) and power.exponent not in law.fixed
            if named and values[term.coefficient] == 0:
                warnings.append(
                    f"{power.exponent} is not identified: the coefficient {term.coefficient} of its term is 0"
                )
    if lack_of_fit_p is None:
        warnings.append("no replicate runs that differ: the lack of fit was not tested")
    elif lack_of_fit_p < 0.01:
        warnings.append(f"lack of fit: p = {lack_of_fit_p:.1g}, the law misses cell means by more than runs scatter")
    zeros = int((rows.target == 0).sum())
    if zeros:
        warnings.append(f"{law.target} is exactly 0 in {zeros} of {len(rows)} cells, a value that no power law reaches")
    return tuple(warnings)


def interior_warnings(
    problem: Problem, cells: Cells, draws: Float64[np.ndarray, "draws parameters"]
) -> tuple[str, ...]:
    """Return why this grid does not test the growth p of the sample term in k, which only a U-turn shows."""
    law = problem.law
    warnings = []
    for shape in (shape for shape in law.shapes if shape.name == "p"):
        spread = float(draws[:, law.names.index("p")].std()) if len(draws) else np.inf
        if not shows_interior_optimum(cells):
            warnings.append("this grid does not test p: no n has an interior optimum in k")
        if shape.fixed is None and spread > MAX_P_SD:
            warnings.append(f"this grid does not test p: sd(p) = {spread:.2g} is above {MAX_P_SD}")
    if not (cells.seeds > 1).any():
        warnings.append("one seed per cell: the noise was estimated from the residuals, lack of fit included")
    return tuple(warnings)


def weight_warnings(
    problem: Problem, first: Float64[np.ndarray, " parameters"], second: Float64[np.ndarray, " parameters"]
) -> tuple[str, ...]:
    """Return one sentence for each shape that moved by more than 0.3 between the two passes of the fit.

    If the law holds, weights change the precision of its parameters; if it does not, they decide their values.
    """
    names = problem.law.names
    return tuple(
        f"{names[i]} moved from {first[i]:.2f} to {second[i]:.2f} as the weights were updated: "
        "the law does not follow the cells, its value depends on how they are weighted"
        for i in range(len(problem.law.terms), len(names))
        if abs(second[i] - first[i]) > MAX_MOVE
    )


def at_bound(problem: Problem, theta: Float64[np.ndarray, " parameters"]) -> np.ndarray:
    """Return which free parameters lie at a bound, (parameters,) boolean."""
    return problem.free & ((theta <= problem.low) | (theta >= problem.high))


@dataclass(frozen=True)
class Curvature:
    """The Hessian of a fit in centred coordinates, scaled to a unit diagonal."""

    condition: float
    """Infinite where a direction is flat; NaN where nothing is free inside its bounds."""
    correlations: Float64[np.ndarray, "parameters parameters"]
    """Of the parameters inside their bounds, from the inverse Hessian; NaN elsewhere."""


def curvature(
    problem: Problem, weights: Float64[np.ndarray, " rows"], theta: Float64[np.ndarray, " parameters"]
) -> Curvature:
    """Return condition and correlations at a minimum; of the majorant where the loss has no curvature."""
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

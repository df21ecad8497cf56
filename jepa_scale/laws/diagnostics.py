"""Reasons to distrust a fit: what the cells cannot identify, and what the fitted law cannot explain."""

from __future__ import annotations

import numpy as np
from scipy import stats

from jepa_scale.laws.base import Cells, Law
from jepa_scale.laws.problem import Problem
from jepa_scale.shapes import Float64

MAX_P_SD = 0.3
"""Largest bootstrap sd of p at which a grid is said to test it: the rival p = 0 and p = 1 are then 3 sd apart."""

MAX_MOVE = 0.3
"""Largest change of an exponent between the two passes of a fit that goes unmentioned."""


def why_not_identified(law: Law, cells: Cells) -> str:
    """Return one sentence if the cells cannot identify the law, else an empty string."""
    for axis, values in (("k", cells.k), ("n", cells.n)):
        levels = len(np.unique(values))
        if levels < 2:
            return f"{levels} level of {axis}: at least 2 are needed"
    free = len(law.terms) + sum(shape.fixed is None for shape in law.shapes)
    if len(cells) < free + 2:
        return f"{len(cells)} cells for {free} free parameters: at least {free + 2} are needed"
    if law.uses_tail and not np.isfinite(cells.tail).all():
        missing = int((~np.isfinite(cells.tail)).sum())
        return f"{law.name} needs the measured tail, which is missing in {missing} of {len(cells)} cells"
    if law.uses_tail and not (cells.tail > 0).any():
        return f"the tail is 0 in all {len(cells)} cells: its coefficient cannot be fitted"
    return ""


def interior_optimum(means: Float64[np.ndarray, " widths"]) -> bool:
    """Whether a row, sorted by k, is lower somewhere inside than at both ends.

    A row that reaches its lowest value and stays there (zeros of regret) shows no rise, hence no interior optimum.
    """
    return len(means) > 2 and bool(means[1:-1].min() < min(means[0], means[-1]))


def shows_interior_optimum(cells: Cells) -> bool:
    """Whether any n has an interior optimum in k."""
    rows = (cells.mean[cells.n == n][np.argsort(cells.k[cells.n == n])] for n in np.unique(cells.n))
    return any(interior_optimum(row) for row in rows)


def corrected_akaike(objective: float, variance: Float64[np.ndarray, " cells"], free: int) -> float:
    """Return AICc = N ln(χ²/N) + Σ ln v_i + 2 q + 2 q (q+1)/(N − q − 1), q counting the scale.

    The Gaussian −2 ln L with Var(mean_i) = τ² v_i, τ² fitted and N(1 + ln 2π) dropped. A common scale is fitted because
    no law is exact: with τ = 1 the lack of fit would count as evidence as if it were independent noise, and weights
    would be 0 or 1 always. Infinite where N ≤ q + 1.
    """
    cells, q = len(variance), free + 1
    if cells <= q + 1:
        return float("inf")
    # A perfect fit has an unbounded likelihood; the smallest positive scale keeps the number finite.
    scale = max(objective / cells, 1e-300)
    return float(cells * np.log(scale) + np.log(variance).sum() + 2 * q + 2 * q * (q + 1) / (cells - q - 1))


def lack_of_fit(
    cells: Cells, fitted: Float64[np.ndarray, " cells"], variance: Float64[np.ndarray, " cells"], free: int
) -> float | None:
    """Return the p value of F = [Σ w_i (ȳ_i − R_i)²/(N − q)] / [Σ_i w'_i Σ_s (y_is − ȳ_i)²/Σ(m_i − 1)].

    w_i is the precision of a cell's mean, w'_i = w_i/m_i that of one seed, so the noise model sets the weights and
    the replicate seeds set the scale. None without replicates, or if the replicates do not differ at all.
    """
    pure_degrees = int((cells.seeds - 1).sum())
    fit_degrees = len(cells) - free
    if pure_degrees == 0 or fit_degrees <= 0:
        return None
    spread = np.array([((values - values.mean()) ** 2).sum() for values in cells.values])
    pure = float((spread / (variance * cells.seeds)).sum()) / pure_degrees
    if pure == 0:
        return None
    misfit = float(((cells.mean - fitted) ** 2 / variance).sum()) / fit_degrees
    return float(stats.f.sf(misfit / pure, fit_degrees, pure_degrees))


def fit_warnings(
    problem: Problem,
    theta: Float64[np.ndarray, " parameters"],
    draws: Float64[np.ndarray, "draws parameters"],
    lack_of_fit_p: float | None,
) -> tuple[str, ...]:
    """Return one sentence for each reason to distrust the fit; ``theta`` and ``draws`` in natural units."""
    law, cells = problem.law, problem.cells
    values = dict(zip(law.names, theta, strict=True))
    warnings = [
        f"{name} = {values[name]:.3g} lies at the bound of its range"
        for name, bound in zip(law.names, at_bound(problem, theta), strict=True)
        if bound
    ]
    for shape in law.shapes:
        column = law.names.index(shape.name)
        if shape.fixed is None and values[shape.term] == 0:
            warnings.append(f"{shape.name} is not identified: the coefficient {shape.term} of its term is 0")
        if shape.needs_interior_optimum and not shows_interior_optimum(cells):
            warnings.append(f"this grid does not test {shape.name}: no n has an interior optimum in k")
        spread = float(draws[:, column].std()) if len(draws) else np.inf
        if shape.needs_interior_optimum and shape.fixed is None and spread > MAX_P_SD:
            warnings.append(
                f"this grid does not test {shape.name}: sd({shape.name}) = {spread:.2g} is above {MAX_P_SD}"
            )
    if lack_of_fit_p is None:
        warnings.append("no replicate seeds that differ: the lack of fit was not tested")
    elif lack_of_fit_p < 0.01:
        warnings.append(f"lack of fit: p = {lack_of_fit_p:.1g}, the law misses cell means by more than seeds scatter")
    if not (cells.seeds > 1).any():
        warnings.append("one seed per cell: the noise was estimated from the residuals, lack of fit included")
    zeros = int((cells.mean == 0).sum())
    if zeros:
        warnings.append(
            f"{cells.target} is exactly 0 in {zeros} of {len(cells)} cells, a value that no power law reaches"
        )
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

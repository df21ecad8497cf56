"""Comparison of laws on the same cells, and its meaning for the theory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jepa_scale.laws.cells import Cells
from jepa_scale.laws.diagnostics import MAX_P_SD
from jepa_scale.laws.distributions import chi_square_above, normal_above, student_quantile
from jepa_scale.laws.law import Law
from jepa_scale.laws.likelihood import bayes
from jepa_scale.laws.noise import mean_variance
from jepa_scale.laws.u_turn import established_u_turns
from jepa_scale.records import Comparison, LawFit, Parameter, TheoryVerdict, Vuong

_PAIRS = (("theory_free", "generic"), ("theory_fixed", "generic"), ("theory_free", "nested"))
"""Pairs of laws that are not nested: the theory against its rival, and the measured tail against a power of k in its
place (the tail substitution)."""


def akaike_weights(fits: Sequence[LawFit]) -> dict[str, float]:
    """Return exp(−ΔAICc/2), normalised, by law: relative evidence among laws fitted to the same cells.

    Laws that did not converge are left out. The weights rank the laws of the list and do not say whether any of
    them holds: read ``lack_of_fit_p`` first. Without an interior optimum in k the theory's exponents win by AICc in
    70–83 % of simulations where they are wrong, so a weight is evidence for the theory only if p is identified.

    Raises
    ------
    ValueError
        If no fit converged, two fits have one name, or the fits differ in target, cells or exclusions.
    """
    return _weights(_same_cells(fits), lambda fit: fit.aicc)


def bayes_weights(fits: Sequence[LawFit]) -> dict[str, float]:
    """Return exp(−ΔBIC/2), normalised, by law; like ``akaike_weights``, with a larger penalty per parameter."""
    return _weights(_same_cells(fits), information)


def information(fit: LawFit) -> float:
    """Return the BIC of a fit, from its AICc and the number of fitted parameters."""
    return bayes(fit.aicc, fit.cells, sum(not parameter.fixed for parameter in fit.parameters))


def _same_cells(fits: Sequence[LawFit]) -> list[LawFit]:
    usable = [fit for fit in fits if fit.status == "converged"]
    if not usable:
        raise ValueError(f"expected at least one converged fit, got {[(fit.law, fit.status) for fit in fits]}")
    kinds = {(fit.target, fit.cells, fit.runs, fit.excluded) for fit in usable}
    if len(kinds) > 1:
        seen = [(fit.law, fit.target, fit.cells) for fit in usable]
        raise ValueError(f"expected fits of one target on the same cells, got (law, target, cells) = {seen}")
    names = [fit.law for fit in usable]
    if len(set(names)) < len(names):
        raise ValueError(f"expected one fit per law, got {names}")
    return usable


def _weights(fits: Sequence[LawFit], criterion: Callable[[LawFit], float]) -> dict[str, float]:
    values = np.array([criterion(fit) for fit in fits])
    if not np.isfinite(values).any():
        raise ValueError("expected a finite AICc for at least one law: there are too few cells for its correction")
    weights = np.exp(-0.5 * (values - values.min()))
    return dict(zip((fit.law for fit in fits), (weights / weights.sum()).tolist(), strict=True))


def log_likelihoods(law: Law, fit: LawFit, cells: Cells) -> np.ndarray:
    """Return each cell's Gaussian ln L at the fit, with a common factor on the variances at its maximum; (cells,)"""
    theta = np.array([parameter.value for parameter in fit.parameters])
    fitted = law.predict(theta, cells.columns)
    variance = mean_variance(cells, fitted, fit.noise)
    squares = (cells.mean - fitted) ** 2 / variance
    scale = max(float(squares.mean()), 1e-300)
    return -0.5 * (np.log(2 * np.pi * scale * variance) + squares / scale)


def vuong(one: tuple[Law, LawFit], other: tuple[Law, LawFit], cells: Cells) -> Vuong:
    """Test whether one of two laws, neither a case of the other, is closer to the truth (Vuong 1989).

    z = (Σ_i d_i − ½ (q₁ − q₂) ln N)/(√N sd(d)), d_i the difference of the cells' log likelihoods; positive for ``one``.
    """
    difference = log_likelihoods(*one, cells) - log_likelihoods(*other, cells)
    count = len(difference)
    freedom = [sum(not parameter.fixed for parameter in fit.parameters) for _, fit in (one, other)]
    spread = float(difference.std()) * np.sqrt(count)
    corrected = float(difference.sum()) - 0.5 * (freedom[0] - freedom[1]) * np.log(count)
    z = corrected / spread if spread > 0 else 0.0
    return Vuong(one[1].law, other[1].law, float(z), float(2 * normal_above(abs(z))))


def likelihood_ratio(free: LawFit, fixed: LawFit) -> float:
    """Return the p value of the fixed exponents inside the free law, from N ln(χ²) differences as χ².

    Raises
    ------
    ValueError
        If ``fixed`` has no fewer parameters than ``free``.
    """
    degrees = sum(not parameter.fixed for parameter in free.parameters) - sum(
        not parameter.fixed for parameter in fixed.parameters
    )
    if degrees <= 0:
        raise ValueError(f"expected {fixed.law} to have fewer free parameters than {free.law}")
    # Undo the penalties: −2 ln L of either law.
    deviance = [_deviance(fit) for fit in (free, fixed)]
    return chi_square_above(max(deviance[1] - deviance[0], 0.0), degrees)


def _deviance(fit: LawFit) -> float:
    q = sum(not parameter.fixed for parameter in fit.parameters) + 1
    return fit.aicc - 2 * q - 2 * q * (q + 1) / (fit.cells - q - 1)


def horizon_slope(horizon: np.ndarray, regret: np.ndarray, level: float = 0.95) -> Parameter:
    """Return d ln R/d ln T with its t interval: T5 and T6 are linear in the horizon, a slope of 1.

    ``horizon``, ``regret``: one entry for each cell, everything else equal.

    Raises
    ------
    ValueError
        If there are fewer than three cells, two horizons, or a regret is not positive.
    """
    horizon, regret = np.asarray(horizon, dtype=float), np.asarray(regret, dtype=float)
    if len(horizon) < 3 or len(np.unique(horizon)) < 2 or (regret <= 0).any():
        raise ValueError(
            f"expected at least three cells with positive regrets at two horizons or more, got T = {horizon.tolist()} "
            f"and regrets {regret.tolist()}: run other values of planner.horizon"
        )
    from scipy.stats import linregress

    regression = linregress(np.log(horizon), np.log(regret))
    half = float(student_quantile((1 + level) / 2, len(horizon) - 2) * regression.stderr)
    slope = float(regression.slope)
    return Parameter("d ln R / d ln T", slope, slope - half, slope + half, False, 1.0)


def comparable(fits: Sequence[LawFit]) -> list[LawFit]:
    """Return the largest group of converged fits to the same cells: a law with a ceiling keeps more of them."""
    groups: dict[tuple[object, ...], list[LawFit]] = {}
    for fit in fits:
        if fit.status == "converged" and np.isfinite(fit.aicc):
            groups.setdefault((fit.cells, fit.runs, fit.excluded), []).append(fit)
    return max(groups.values(), key=len, default=[])


def compare(fits: Sequence[LawFit], laws: Mapping[str, Law], cells: Cells) -> Comparison:
    """Rank the laws of one target on the same cells, and test the theory's exponents."""
    usable = comparable(fits)
    if len(usable) < 2:
        reason = f"laws not compared: {len(usable)} law with a finite AICc on the same cells"
        return Comparison(cells.target, {}, {}, (), None, (), TheoryVerdict("refused", reason))
    by_name = {fit.law: fit for fit in usable}
    tests = tuple(
        vuong((laws[first], by_name[first]), (laws[second], by_name[second]), cells)
        for first, second in _PAIRS
        if first in by_name and second in by_name
    )
    ratio = None
    if {"theory_free", "theory_fixed"} <= by_name.keys():
        ratio = likelihood_ratio(by_name["theory_free"], by_name["theory_fixed"])
    turns = established_u_turns(cells)
    return Comparison(
        target=cells.target,
        akaike=akaike_weights(usable),
        bayes=bayes_weights(usable),
        vuong=tests,
        fixed_exponents_p=ratio,
        u_turns=turns,
        verdict=theory_verdict(usable, turns),
    )


def theory_verdict(fits: Sequence[LawFit], u_turns: Sequence[int]) -> TheoryVerdict:
    """Return whether these cells speak for the theory's law, against it, or not at all.

    The growth of the sample term in k is seen only where the regret turns up again. Without such a row, or with
    sd(p) ≥ 0.3, the theory's exponents win by AICc over their rivals also where they are wrong: no verdict then.
    """
    if not u_turns:
        return TheoryVerdict(
            "refused",
            "at no n is a width inside the grid better than both ends beyond chance: run larger k at the smaller n, or "
            "more seeds",
        )
    free = next(
        (fit for fit in fits if any(parameter.name == "p" and not parameter.fixed for parameter in fit.parameters)),
        None,
    )
    if free is None:
        return TheoryVerdict("refused", "no law with a free exponent p was fitted: add theory_free or nested to laws")
    place = [parameter.name for parameter in free.parameters].index("p")
    p = free.parameters[place]
    spread = float(free.bootstrap_draws[:, place].std()) if len(free.bootstrap_draws) else float("inf")
    if not spread < MAX_P_SD or p.at_boundary:
        bound = " and p lies at its bound" if p.at_boundary else ""
        return TheoryVerdict(
            "refused",
            f"sd(p) = {spread:.2g} where the exponents are free{bound}, expected below "
            f"{MAX_P_SD}: run large k at small n, where the regret still lies below that of random plans",
        )
    best = min(fits, key=information)
    second = min((information(fit) for fit in fits if fit is not best), default=np.inf)
    margin = f"BIC prefers {best.law} by {second - information(best):.1f}" if np.isfinite(second) else best.law
    if p.low <= 0.0:
        return TheoryVerdict(
            "against", f"p = {p.value:.2f} [{p.low:.2f}, {p.high:.2f}] does not exclude 0; {margin}", best.law
        )
    if best.law == "generic":
        return TheoryVerdict("against", f"{margin}, a law without a best width", best.law)
    inside = p.theory is not None and p.low <= p.theory <= p.high
    word = "contains" if inside else "does not contain"
    return TheoryVerdict(
        "for",
        f"{margin}; p = {p.value:.2f} [{p.low:.2f}, {p.high:.2f}] excludes 0 and {word} the theorem's 2",
        best.law,
    )

"""B5: no regret where the errors are smaller than the margin."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.shapes import Float64
from jepa_scale.theory.bounds.base import BoundCase, goals_are_interchangeable


def hypotheses(case: BoundCase) -> tuple[Hypothesis, ...]:
    """Plans ranked by the model's estimate of V: the density score for T = 1, the operator roll-out for T > 1."""
    one = case.constants.problem.horizon == 1
    ranked = Hypothesis(
        "plans ranked by the model's P̂_T",
        (one and case.score == "density") or case.roll_out == "operator",
        f"{case.roll_out} roll-out, score {case.score}",
    )
    return (ranked, goals_are_interchangeable(case))


def margin(values: Float64[np.ndarray, "plans N N"]) -> Float64[np.ndarray, "N N"]:
    """V(best) − the largest V strictly below it; ∞ where all plans are equally good, as no error can cost anything.

    Taken to the second best *value*, not the second best plan: two best plans would make it 0 and the statement empty.
    Values within rounding of the best count as best.
    """
    best = values.max(0)
    below = np.where(values < best[None] - 1e-12, values, -np.inf).max(0)
    return best - below


def value(case: BoundCase) -> BoundValue:
    """E(ã) ≤ E_{x₀, x_g}[1{2 e ≥ margin} min(2 e, V(best) − V(worst))], e = max over plans |P̂ − P|.

    r > 0 needs P̂(ã) ≥ P̂(a*) with V(a*) − V(ã) ≥ margin, hence 2 e ≥ margin. Never above B1″, and 0 as soon as
    every margin is wider than twice the error: why regret vanishes while R does not.
    """
    constants = case.constants
    doubled, values = 2 * case.largest_error, constants.values
    if np.isnan(constants.multiplicity):
        # Every comparison with NaN is false, which would read as "no regret anywhere".
        return BoundValue("b5", "B5 (margin)", float("nan"), hypotheses(case))
    # A margin equal to twice the error is inside: the planner breaks ties as it likes; rounding must not decide that.
    lost = np.where(doubled >= margin(values) - 1e-12, np.minimum(doubled, values.max(0) - values.min(0)), 0.0)
    return BoundValue("b5", "B5 (margin)", float((constants.weights * lost).sum()), hypotheses(case))

"""B1′: the dimension-free one-step bound for the density score."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds.base import BoundCase, goals_are_interchangeable, horizon_is_one, score_is_density


def hypotheses(case: BoundCase) -> tuple[Hypothesis, ...]:
    """T = 1 and the density score; nothing on q_a."""
    return (horizon_is_one(case), score_is_density(case), goals_are_interchangeable(case))


def value(case: BoundCase) -> BoundValue:
    """E(ã) ≤ 2 √(ω Σ_a R(a)), ω = max_{x₀, x_g, a} μ(x_g|x₀) q_a(x_g); counted by goal group, times M.

    From r ≤ 2 max_a √(q_a/p) |δ_a| by Jensen over p·μ and max_a δ_a² ≤ Σ_a δ_a².
    """
    constants = case.constants
    omega = float((constants.goals * constants.negatives_law.max(0)[None]).max())
    bound = 2 * constants.multiplicity * float(np.sqrt(omega * case.risk.sum()))
    return BoundValue("b1_prime", "B1′ (dimension-free)", bound, hypotheses(case))

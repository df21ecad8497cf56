"""B1′: the dimension-free one-step bound for the density score."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds import b1
from jepa_scale.theory.bounds.base import BoundCase


def hypotheses(case: BoundCase) -> tuple[Hypothesis, ...]:
    """Those of B1."""
    return b1.hypotheses(case)


def value(case: BoundCase) -> BoundValue:
    """E(ã) ≤ 2 √(ω Σ_a R(a)), ω = max_{x₀, x_g, a} μ(x_g|x₀) q_a(x_g); counted by goal group, times M.

    From r ≤ 2 max_a √(q_a/p) |δ_a| by Jensen over p·μ and max_a δ_a² ≤ Σ_a δ_a².
    """
    constants = case.constants
    bound = 2 * constants.multiplicity * float(np.sqrt(constants.omega * case.risk.sum()))
    return BoundValue("b1_prime", "B1′ (dimension-free)", bound, hypotheses(case))

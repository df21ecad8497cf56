"""B1″: the sharpest one-step bound that looks at the residual only."""

from __future__ import annotations

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds import b1
from jepa_scale.theory.bounds.base import BoundCase


def hypotheses(case: BoundCase) -> tuple[Hypothesis, ...]:
    """Those of B1."""
    return b1.hypotheses(case)


def value(case: BoundCase) -> BoundValue:
    """E(ã) ≤ 2 E_{x₀, x_g} max_a √(q_a(x_g)/p(x_0)) |δ_a(x_0, x_g)|; counted by goal group, times M.

    Never above B1′ (Jensen) nor above T4 (|δ_a| ≤ √R(a)).
    """
    constants = case.constants
    # largest_error counts M already.
    bound = 2 * float((constants.weights * case.largest_error).sum())
    return BoundValue("b1_double_prime", "B1″ (mean largest error)", bound, hypotheses(case))

"""T4: the one-step bound (arXiv:2606.27014, Theorem 4.1)."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds.base import (
    BoundCase,
    goals_are_interchangeable,
    horizon_is_one,
    next_law_ignores_action,
    score_ranks_as_inner_product,
)


def hypotheses(case: BoundCase) -> tuple[Hypothesis, ...]:
    """T = 1; q_a independent of a unless the density score is used (B1 needs no such assumption); E3 for `distance`."""
    law = next_law_ignores_action(case)
    if case.score == "density":
        law = Hypothesis(law.statement, True, "not needed with the density score (B1)")
    return (horizon_is_one(case), law, score_ranks_as_inner_product(case), goals_are_interchangeable(case))


def value(case: BoundCase) -> BoundValue:
    """E(ã) ≤ 2 c₀ max_a √R(a), c₀ = E_{x₀, x_g} √(max_a q_a(x_g)/p(x₀)); counted by goal group, times M."""
    constants = case.constants
    weights = constants.world.context_law[:, None] * constants.goals
    c0 = float((weights * constants.ratio.max(0)).sum())
    bound = 2 * constants.multiplicity * c0 * float(np.sqrt(case.risk.max()))
    return BoundValue("t4", "T4 (Theorem 4.1)", bound, hypotheses(case))

"""T4: the one-step bound (arXiv:2606.27014, Theorem 4.1), as published and repaired."""

from __future__ import annotations

from typing import Literal

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds.base import (
    BoundCase,
    goals_are_interchangeable,
    horizon_is_one,
    mean_next_law_ignores_action,
    next_law_ignores_action,
    score_ranks_as_inner_product,
)

Form = Literal["repaired", "published"]


def hypotheses(case: BoundCase, form: Form = "repaired") -> tuple[Hypothesis, ...]:
    """T = 1, E3 for `distance`, and on q_a: equal for all actions (repaired), or equal on average (published).

    The published assumption is not enough: with uniform goals it always holds, and exact factors (R = 0) can still plan
    badly where the q_a differ (E2). The density score needs neither (B1).
    """
    if form == "published":
        law = mean_next_law_ignores_action(case)
    elif case.score == "density":
        law = Hypothesis(next_law_ignores_action(case).statement, True, "not needed with the density score (B1)")
    else:
        law = next_law_ignores_action(case)
    return (horizon_is_one(case), law, score_ranks_as_inner_product(case), goals_are_interchangeable(case))


def value(case: BoundCase, form: Form = "repaired") -> BoundValue:
    """E(ã) ≤ 2 c₀ max_a √R(a)."""
    label = "T4 (Theorem 4.1)" if form == "repaired" else "T4 as published (Theorem 4.1)"
    bound = 2 * case.constants.mean_ratio * float(np.sqrt(case.risk.max()))
    return BoundValue("t4" if form == "repaired" else "t4_published", label, bound, hypotheses(case, form))

"""T5: the multi-step bound as published (arXiv:2606.27014, Theorem 4.2)."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds.base import BoundCase, goals_are_interchangeable, next_law_ignores_action


def hypotheses(case: BoundCase) -> tuple[Hypothesis, ...]:
    """T > 1, a deterministic kernel, q_a independent of a, and a proof (E4: it is an open claim)."""
    horizon = case.constants.problem.horizon
    kernel = case.constants.world.transition
    departure = float(np.minimum(kernel, 1 - kernel).max())
    return (
        Hypothesis("T > 1", horizon > 1, f"T = {horizon}"),
        Hypothesis("P(x'|x, a) ∈ {0, 1}", departure <= 1e-12, f"largest departure {departure:.3g}"),
        next_law_ignores_action(case),
        goals_are_interchangeable(case),
        Hypothesis(
            "the published proof", False, "uses the one-step theorem for a plan that is not one-step optimal (E4)"
        ),
    )


def value(case: BoundCase) -> BoundValue:
    """E(ã) ≤ 2 T c₃ max_a √R(a), c₃ = max_{a, x₀, x_g} √(q_a(x_g)/p(x₀)); as published, an open claim (E4)."""
    constants = case.constants
    c3 = float(constants.ratio.max())
    horizon = constants.problem.horizon
    bound = 2 * horizon * constants.multiplicity * c3 * float(np.sqrt(case.risk.max()))
    return BoundValue("t5", "T5 (Theorem 4.2, as published)", bound, hypotheses(case))

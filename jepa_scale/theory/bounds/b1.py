"""B1: with the density score, regret is at most the error at the best plan plus the error at the chosen one."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds.base import BoundCase, goals_are_interchangeable, horizon_is_one, score_is_density


def hypotheses(case: BoundCase) -> tuple[Hypothesis, ...]:
    """T = 1 and the density score; nothing on q_a."""
    return (horizon_is_one(case), score_is_density(case), goals_are_interchangeable(case))


def value(case: BoundCase) -> BoundValue:
    """E(ã) ≤ E_{x₀, x_g}[|err(a*)| + |err(ã)|], err = P − ŝ = √(q_a(x_g)/p(x_0)) δ_a; times M.

    From V(a*) − V(ã) = err(a*) + [ŝ(a*) − ŝ(ã)] − err(ã) and ŝ(a*) ≤ ŝ(ã). It knows a*, so it is for exact worlds only;
    B1″, B1′ and T4 are what remains of it when less is known.
    """
    constants = case.constants
    errors = constants.ratio * np.abs(case.residual)
    plans = (constants.best, case.chosen)
    both = sum(np.take_along_axis(errors, plan[None], axis=0)[0] for plan in plans)
    bound = constants.multiplicity * float((constants.weights * both).sum())
    return BoundValue("b1", "B1 (errors at best and chosen)", bound, hypotheses(case))

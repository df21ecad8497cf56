"""B4: the hold-out certificate, turned into a bound on regret."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.shapes import Float64
from jepa_scale.theory.bounds import b1
from jepa_scale.theory.bounds.base import BoundCase


def hypotheses(case: BoundCase, risk_upper: Float64[np.ndarray, " A"]) -> tuple[Hypothesis, ...]:
    """Those of B1, and an upper bound on R(a) for every action from independent held-out transitions."""
    missing = int((~np.isfinite(risk_upper)).sum())
    detail = f"{missing} actions without a certificate" if missing else "every action certified"
    return (*b1.hypotheses(case), Hypothesis("every R(a) has a held-out upper bound", missing == 0, detail))


def certified(risk_upper: Float64[np.ndarray, " A"], omega: float, multiplicity: float) -> float:
    """2 M √(ω Σ_a R⁺(a)); a negative R⁺ counts as 0, which R(a) ≥ 0 allows."""
    return 2 * multiplicity * float(np.sqrt(omega * np.maximum(risk_upper, 0.0).sum()))


def value(case: BoundCase, risk_upper: Float64[np.ndarray, " A"]) -> BoundValue:
    """E(ã) ≤ 2 √(ω Σ_a R⁺(a)), R⁺(a) ≥ R(a) for all a with probability ≥ 1 − δ; counted by goal group, times M.

    R⁺(a) = L⁺(a) + ‖M̄(a)‖²_F, L⁺(a) from ``holdout.loss_upper_bound`` at δ/|A|: no Rademacher term and no k².
    """
    bound = certified(risk_upper, case.constants.omega, case.constants.multiplicity)
    return BoundValue("b4", "B4 (hold-out certificate)", bound, hypotheses(case, risk_upper))

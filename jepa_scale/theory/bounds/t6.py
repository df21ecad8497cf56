"""T6: regret of the learned model, tail plus sample error (arXiv:2606.27014, Theorems 4.5 and 4.6)."""

from __future__ import annotations

import math

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds import t3, t4, t5
from jepa_scale.theory.bounds.base import BoundCase
from jepa_scale.theory.bounds.t3 import Constants, Sampling
from jepa_scale.theory.spectrum import spectral_tail

_LABELS: dict[Constants, str] = {
    "proof": "T6 (Theorems 4.5, 4.6; constants of the proof)",
    "published_45": "T6 as printed in Theorem 4.5",
    "published_46": "T6 as printed in Theorem 4.6",
}


def hypotheses(case: BoundCase, sampling: Sampling) -> tuple[Hypothesis, ...]:
    """Those of T3 and of T4 (T = 1) or T5 repaired (T > 1), and that the class holds the rank-k optimum."""
    planning = t4.hypotheses(case) if case.constants.problem.horizon == 1 else t5.hypotheses(case, "repaired")
    inner = np.linalg.norm(case.model.predictor, axis=-1).max() * np.linalg.norm(case.model.encoder, axis=-1).max()
    cap = sampling.k * sampling.kappa**2
    return (
        *planning,
        *t3.hypotheses(sampling),
        Hypothesis(
            "the class holds F*, G* of T2 for every action",
            sampling.holds_optimum,
            "one encoder reaches every tail"
            if sampling.holds_optimum
            else "no one encoder does, or the class lacks it (E6)",
        ),
        Hypothesis("|gᵀf| ≤ kκ²", bool(inner <= cap * (1 + 1e-9)), f"‖g‖‖f‖ up to {inner:.3g}, kκ² = {cap:.3g}"),
    )


def value(case: BoundCase, sampling: Sampling, form: Constants = "proof") -> BoundValue:
    """E(â) ≤ 2 c √(max_a tail_k(a) + c₁[Rad(G∘F) + Rad(F)] + c₂(√(log(2/δ)/n) + δ)), c = c₀ (T = 1) or T c₃ (T > 1).

    The printed forms swap c₀ and c₃ and add a term c of unknown origin, which is ≥ 1 when w is a joint probability:
    1, its least value, is added here, so that they are always vacuous (E5). They serve comparison only. tail_k is the
    optimum of each action by itself (E6); with a shared encoder R* is larger, and this bound then assumes more than
    B2 allows.
    """
    horizon = case.constants.problem.horizon
    one_step, many_steps = case.constants.mean_ratio, horizon * t5.largest_ratio(case.constants)
    tail = float(np.max(spectral_tail(case.constants.singular_values, sampling.k)))
    root = math.sqrt(tail + t3.sample_error(sampling, form))
    swapped = form != "proof"
    if swapped:
        one_step, many_steps = t5.largest_ratio(case.constants), horizon * case.constants.mean_ratio
    factor = one_step if horizon == 1 else many_steps
    bound = 2 * factor * root + (1.0 if swapped else 0.0)
    return BoundValue("t6" if form == "proof" else f"t6_{form}", _LABELS[form], bound, hypotheses(case, sampling))

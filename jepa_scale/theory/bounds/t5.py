"""T5: the multi-step bound (arXiv:2606.27014, Theorem 4.2), as published and repaired.

As published it is false. Let the kernel be a permutation for each action and p uniform, so that q_a = p and M̄(a) = Π_a,
and let F = C be any invertible matrix, G(a) = C^{-T}Π_aᵀ: then GᵀF = Π_a and R(a) = 0, by the *linear* predictor
W_a = C^{-T}Π_aᵀC^{-1}. A latent roll-out of two steps scores the plan (a, b) by Π_a K Π_b with K = (CᵀC)^{-1}, not by
Π_aΠ_b; K is any positive definite matrix, so it can prefer a plan that misses the goal. The bound is 0, the regret
is not: with T = 2, three states and the actions "stay" and "go round" suffice for the inner product; for the distance,
two states and the actions "stay" and "swap". Off f(X) a nonlinear predictor is not bound by R at all. Under unit norms
(as Theorem 3.1 assumes) √(p q) gᵀf has nuclear norm ≤ 1, so a deterministic kernel with m ≥ 2 images has
R ≥ m − 2 + 1/m ≥ 1/2, and the bound is vacuous. With one image for each action R can vanish even so, and the statement
fails again: let action a lead to state a always, f(0) and f(1) be unit vectors with an angle of 0.02 between them, and
g(f(x), a) the vector of the *other* state.

Repaired: the latent roll-out *is* the operator roll-out of B3 where g is linear and E_q[f fᵀ] = I, whatever the kernel.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds.b3 import norms_at_most_one, stationary
from jepa_scale.theory.bounds.base import (
    BoundCase,
    WorldConstants,
    goals_are_interchangeable,
    kernel_is_deterministic,
    mean_next_law_ignores_action,
)

Form = Literal["repaired", "published"]


def hypotheses(case: BoundCase, form: Form = "published") -> tuple[Hypothesis, ...]:
    """What the published text assumes, or what makes it true.

    Published: T > 1, a deterministic kernel, E_{x_g} q_a the same for all a. Repaired: g linear, E_q[f fᵀ] = I, q_a
    = p, ‖GᵀF‖ ≤ 1, ranked by ẑᵀf(x_g); the kernel is free.
    """
    horizon = case.constants.problem.horizon
    longer = Hypothesis("T > 1", horizon > 1, f"T = {horizon}")
    if form == "published":
        return (
            longer,
            kernel_is_deterministic(case),
            mean_next_law_ignores_action(case),
            latent_roll_out(case),
            goals_are_interchangeable(case),
        )
    return (
        longer,
        latent_roll_out(case),
        whitened(case),
        stationary(case),
        norms_at_most_one(case),
        Hypothesis("plans ranked by q(x_g) ẑᵀf(x_g)", case.score in ("inner", "density"), f"score {case.score}"),
        goals_are_interchangeable(case),
    )


def latent_roll_out(case: BoundCase) -> Hypothesis:
    """ẑ_{t+1} = g(ẑ_t, a_t) with a linear g, which is known wherever the roll-out arrives."""
    holds = case.roll_out == "latent" and case.model.maps is not None
    detail = "linear g" if case.model.maps is not None else "g known on f(X) only"
    return Hypothesis("latent roll-out with a linear predictor", holds, f"{case.roll_out} roll-out, {detail}")


def whitened(case: BoundCase) -> Hypothesis:
    """E_q[f fᵀ] = I for every action: the gauge in which latent and operator roll-out agree."""
    encoder, law = case.model.encoder, case.constants.negatives_law
    moments = np.einsum("ax,xi,xj->aij", law, encoder, encoder, optimize=True)
    departure = float(np.abs(moments - np.eye(case.model.k)).max())
    return Hypothesis("E_q[f fᵀ] = I", departure <= 1e-8, f"largest departure {departure:.2e}")


def largest_ratio(constants: WorldConstants) -> float:
    """c₃ = max_{a, x₀, x_g} √(q_a(x_g)/p(x₀)), times M where regret is counted by goal group."""
    return constants.multiplicity * float(constants.ratio.max())


def value(case: BoundCase, form: Form = "published") -> BoundValue:
    """E(ã) ≤ 2 T c₃ max_a √R(a)."""
    horizon = case.constants.problem.horizon
    bound = 2 * horizon * largest_ratio(case.constants) * float(np.sqrt(case.risk.max()))
    if form == "published":
        return BoundValue("t5", "T5 as published (Theorem 4.2)", bound, hypotheses(case, form))
    return BoundValue("t5_repaired", "T5 repaired (by B3)", bound, hypotheses(case, form))

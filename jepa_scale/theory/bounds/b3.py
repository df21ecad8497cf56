"""B3: T steps by the operator roll-out, for any kernel."""

from __future__ import annotations

from typing import Literal

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds.base import EQUAL, BoundCase, goals_are_interchangeable
from jepa_scale.theory.graph import normalised_co_occurrence
from jepa_scale.theory.model import model_singular_values

Form = Literal["stationary", "general"]


def hypotheses(case: BoundCase, form: Form = "stationary") -> tuple[Hypothesis, ...]:
    """Operator roll-out ranked by P̂_T; for the stationary form also q_a = p and ‖GᵀF‖ ≤ 1."""
    rolled = Hypothesis(
        "plans ranked by the operator roll-out",
        case.roll_out == "operator" or (case.constants.problem.horizon == 1 and case.score == "density"),
        f"{case.roll_out} roll-out, score {case.score}",
    )
    shared = (rolled, goals_are_interchangeable(case))
    return shared if form == "general" else (*shared, stationary(case), norms_at_most_one(case))


def stationary(case: BoundCase) -> Hypothesis:
    """The law of the negatives is p for every action."""
    constants = case.constants
    departure = float(np.abs(constants.negatives_law - constants.world.context_law).max())
    return Hypothesis("q_a = p", departure <= EQUAL, f"largest difference {departure:.2e}")


def norms_at_most_one(case: BoundCase) -> Hypothesis:
    """‖M̄(a)‖ ≤ 1 and ‖GᵀF‖ ≤ 1, see ``model.clip_spectrum``; pooled negatives can break the first."""
    constants = case.constants
    model = model_singular_values(constants.world, case.model, constants.negatives)
    norm = max(float(constants.singular_values.max()), float(model.max()))
    return Hypothesis("‖M̄(a)‖ ≤ 1 and ‖GᵀF‖ ≤ 1", norm <= 1 + 1e-9, f"largest singular value {norm:.6g}")


def value(case: BoundCase, form: Form = "stationary") -> BoundValue:
    """E(ã) ≤ 2 T max √(q/p) max_a √R(a) (stationary), linear in T without determinism; times M.

    Proof. With q_a = p, D_p^{1/2} P(a_0)…P(a_{T−1}) D_p^{-1/2} = M̄(a_0)…M̄(a_{T−1}), and the same for the model; a
    telescoping sum of products of norm ≤ 1 gives ‖M̄_T − B̂_T‖_F ≤ Σ_ℓ √R(a_ℓ); an error of V is √(p(x_g)/p(x_0))
    times an entry.

    General form, for any q_a and any norms: let N_a = D_p^{1/2} P(a) D_p^{-1/2}, N̂_a the model's, Λ = max_a of
    their spectral norms. The same sum gives E(ã) ≤ 2 T Λ^{T−1} max_{x_0, x_g} √(p(x_g)/p(x_0)) max_a ‖N_a − N̂_a‖_F,
    which is the stationary form where q_a = p and Λ = 1, and grows like Λ^T elsewhere.
    """
    constants = case.constants
    horizon = constants.problem.horizon
    if form == "stationary":
        bound = 2 * horizon * float(constants.ratio.max() * np.sqrt(case.risk.max())) * constants.multiplicity
        return BoundValue("b3", "B3 (operator roll-out, q_a = p)", bound, hypotheses(case, form))
    law = constants.world.context_law
    columns = np.sqrt(constants.negatives_law / law[None])[:, None, :]
    truth = normalised_co_occurrence(constants.world, constants.negatives)
    both = np.stack([truth, truth - case.residual]) * columns
    norm = float(np.linalg.norm(both, ord=2, axis=(-2, -1)).max())
    error = float(np.sqrt(((case.residual * columns) ** 2).sum((1, 2)).max()))
    largest = float(np.sqrt(law.max() / law.min()))
    bound = 2 * horizon * norm ** (horizon - 1) * largest * error * constants.multiplicity
    return BoundValue("b3_general", "B3 (operator roll-out, any q_a)", bound, hypotheses(case, form))

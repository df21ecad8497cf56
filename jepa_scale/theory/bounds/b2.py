"""B2: what one encoder for all actions cannot beat."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds.base import EQUAL, WorldConstants
from jepa_scale.theory.graph import normalised_co_occurrence
from jepa_scale.theory.spectrum import spectral_tail


def hypotheses(constants: WorldConstants) -> tuple[Hypothesis, ...]:
    """None: the value takes the form that the world allows, and says which."""
    spread = constants.actions_alike
    detail = "q_a agree: the stacked tail" if spread <= EQUAL else f"q_a differ by up to {spread:.2e}: the general form"
    return (Hypothesis("any world", True, detail),)


def value(constants: WorldConstants, k: int) -> BoundValue:
    """Σ_a π(a) R(a) ≥ tail_k of the stacked [√π(a) M̄(a)]_a where the q_a agree (or are pooled), attained by its SVD.

    General form, for q_a that differ: with q̄ = Σ_a π(a) q_a and F̄ = (√q̄ f), M̄(a) − GᵀF = (M̄(a) D_{q̄/q_a}^{1/2} − GᵀF̄)
    D_{q_a/q̄}^{1/2}, so R(a) ≥ m_a ‖M̄(a) D_{q̄/q_a}^{1/2} − GᵀF̄‖² with m_a = min_x q_a/q̄, and the mean is at
    least the tail of the stacked [√(π(a) m_a) M̄(a) D_{q̄/q_a}^{1/2}]_a; nor can it be below Σ_a π(a) tail_k(a)
    (T2). The larger of the two.

    Raises
    ------
    ValueError
        If k is negative.
    """
    world, law = constants.world, constants.negatives_law
    matrices = normalised_co_occurrence(world, constants.negatives)
    pooled = world.policy @ law
    share = np.divide(law, pooled[None], out=np.ones_like(law), where=pooled[None] > 0)
    least = share.min(1)
    # An observation that an action never leads to makes m_a zero, and with it the weight of that action.
    columns = np.where(share > 0, 1 / np.sqrt(np.where(share > 0, share, 1.0)), 0.0)
    weighted = np.sqrt(world.policy * least)[:, None, None] * matrices * columns[:, None, :]
    stacked = np.linalg.svd(weighted.reshape(-1, world.states), compute_uv=False)
    separate = float(world.policy @ spectral_tail(constants.singular_values, k))
    floor = max(float(spectral_tail(stacked, k)), separate)
    return BoundValue("b2", "B2 (shared encoder)", floor, hypotheses(constants), "risk_floor", 0.0)

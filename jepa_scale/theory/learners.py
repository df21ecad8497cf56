"""Exact learners: least-squares fits of observed transition counts, with no optimiser in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records import Negatives
from jepa_scale.shapes import Float64, Int64
from jepa_scale.theory.graph import FiniteWorld, negative_law, normalised_co_occurrence
from jepa_scale.theory.model import check_width, inverse_root_law, shared_space


@dataclass(frozen=True)
class FittedModel:
    """A fit of width K that holds the fit of every smaller width k: its first k columns.

    The model of M̄(a) is GᵀF, √p(x) g(f(x), a)ᵀ f(x') √q_a(x'), as in ``spectrum.exact_risk``.
    """

    encoder: NDArray[np.float64]
    """(A, N, K) f(x'); the same for every action where the encoder is shared."""
    predictor: NDArray[np.float64]
    """(A, N, K) g(f(x), a)"""
    negatives: Negatives
    """Law q of the columns: q_a, or the pooled one that a shared encoder needs."""

    @property
    def k(self) -> int:
        """K, the largest width."""
        return self.encoder.shape[-1]

    def truncate(self, k: int) -> FittedModel:
        """Return the fit of width ``k``.

        Raises
        ------
        ValueError
            If k is outside 1 … K.
        """
        if not 1 <= k <= self.k:
            raise ValueError(f"expected a width 1 ≤ k ≤ {self.k}, the width of this fit; got {k=}: fit a wider one")
        return FittedModel(self.encoder[..., :k], self.predictor[..., :k], self.negatives)


def sample_counts(world: FiniteWorld, n: int, generator: np.random.Generator) -> Int64[np.ndarray, "A N N"]:
    """Counts of (x, a, x') over n independent transitions of law p(x) π(a) P(x'|x, a).

    Raises
    ------
    ValueError
        If n is below 1.
    """
    if n < 1:
        raise ValueError(f"expected at least one transition, got {n=}")
    law = world.policy[:, None, None] * world.context_law[None, :, None] * world.transition
    return generator.multinomial(n, (law / law.sum()).ravel()).reshape(law.shape).astype(np.int64)


def empirical_co_occurrence(
    world: FiniteWorld, counts: Int64[np.ndarray, "A N N"], negatives: Negatives = "same_action"
) -> Float64[np.ndarray, "A N N"]:
    """Estimate M̄(a) by D_p^{-1/2} (counts(a) / n_a) D_q^{-1/2}, with the world's own p and q.

    Exact marginals make it unbiased, given n_a ≥ 1, with
    E‖M̄̂(a) − M̄(a)‖²_F = (Σ_{x,x'} M(a)[x, x'] / (p(x) q(x')) − ‖M̄(a)‖²_F) / n_a,
    and no observation that was not seen divides by zero. It is also what the spectral loss
    (arXiv:2606.27014, eq. 13/16; our T1) is minimised by when its first term is averaged over the data and its second
    over p ⊗ q. An action never seen has M̄̂(a) = 0.

    Raises
    ------
    ValueError
        If counts have another shape than the kernel, are negative, all zero, or lie where q is zero.
    """
    if counts.shape != world.transition.shape:
        raise ValueError(f"expected counts (A, N, N) = {world.transition.shape}, got {counts.shape}")
    if counts.min() < 0 or not counts.any():
        raise ValueError(
            f"expected counts ≥ 0 of at least one transition, got least {counts.min()}, total {counts.sum()}"
        )
    law = negative_law(world, negatives)
    seen = counts.sum(1) > 0
    if (seen & (law <= 0)).any():
        action, column = np.argwhere(seen & (law <= 0))[0]
        raise ValueError(
            f"action {action} was seen to lead to observation {column}, which has probability 0 in this world: "
            "give the world that the counts were drawn from"
        )
    sizes = np.maximum(counts.sum((1, 2)), 1)
    weights = np.sqrt(world.context_law[None, :, None] * np.where(law > 0, law, 1.0)[:, None, :])
    return counts / sizes[:, None, None] / weights


def fit_per_action(world: FiniteWorld, counts: Int64[np.ndarray, "A N N"], k: int) -> FittedModel:
    """Truncated SVD of M̄̂(a), an encoder of its own for each action: F = Σ_k^{1/2} V_kᵀ, G = Σ_k^{1/2} U_kᵀ.

    Of the empirical risk it is the minimiser, by Eckart–Young (T2; arXiv:2606.27014, Theorem 4.3 on the sample graph).

    Raises
    ------
    ValueError
        If k is outside 1 … N, or the counts do not belong to the world.
    """
    check_width(world, k)
    left, values, right = np.linalg.svd(empirical_co_occurrence(world, counts))
    root = np.sqrt(values[:, None, :k])
    law = negative_law(world, "same_action")
    return FittedModel(
        encoder=right[:, :k].swapaxes(1, 2) * root * inverse_root_law(law)[:, :, None],
        predictor=left[:, :, :k] * root * inverse_root_law(world.context_law)[None, :, None],
        negatives="same_action",
    )


def fit_shared(world: FiniteWorld, counts: Int64[np.ndarray, "A N N"], k: int) -> FittedModel:
    """One encoder for all actions: F = V_kᵀ, the top-k right singular space of [√π(a) M̄̂(a)]_a, then G_a = V_kᵀ M̄̂(a)ᵀ.

    G_a is the least-squares predictor on that encoder, and Σ_a π(a) ‖M̄̂(a) − G_aᵀF‖² is the least that any shared
    encoder reaches (B2; it replaces the per-action reading of arXiv:2606.27014, Theorem 4.3). Columns are normalised
    by the pooled q for every action, since F must be one matrix; where the q_a agree, as on a torus, it is the same.

    Raises
    ------
    ValueError
        If k is outside 1 … N, or the counts do not belong to the world.
    """
    check_width(world, k)
    matrices = empirical_co_occurrence(world, counts, "pooled")
    right = shared_space(world, matrices, k)
    law = negative_law(world, "pooled")[0]
    encoder = right * inverse_root_law(law)[:, None]
    return FittedModel(
        encoder=np.broadcast_to(encoder, (world.actions, *encoder.shape)),
        predictor=matrices @ right * inverse_root_law(world.context_law)[None, :, None],
        negatives="pooled",
    )


def risk_by_width(world: FiniteWorld, model: FittedModel) -> Float64[np.ndarray, "A K"]:
    """R(a) = ‖M̄(a) − GᵀF‖²_F of the true world for every width 1 … K of one fit (T1; arXiv:2606.27014, Theorem 3.1).

    ‖GᵀF‖² = Σ_{i,j ≤ k} (GGᵀ)_{ij} (FFᵀ)_{ij}, so one pair of Gram matrices serves all widths. The differences cancel
    to about 10⁻¹⁵ ‖M̄(a)‖², absolute.
    """
    matrices = normalised_co_occurrence(world, model.negatives)
    left = np.sqrt(world.context_law)[None, :, None] * model.predictor
    right = np.sqrt(negative_law(world, model.negatives))[:, :, None] * model.encoder
    overlap = np.cumsum(((matrices @ right) * left).sum(1), axis=-1)
    products = (left.swapaxes(1, 2) @ left) * (right.swapaxes(1, 2) @ right)
    squares = np.diagonal(products.cumsum(1).cumsum(2), axis1=1, axis2=2)
    return (matrices**2).sum((1, 2))[:, None] - 2 * overlap + squares

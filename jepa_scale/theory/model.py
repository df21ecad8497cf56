"""A JEPA as the theory sees it: encoder and predictor tabulated on a finite world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records import Negatives
from jepa_scale.shapes import Float64
from jepa_scale.theory.graph import FiniteWorld, negative_law, normalised_co_occurrence


@dataclass(frozen=True)
class TabularModel:
    """f and g on every observation; with a linear predictor also the maps, so that latents can be rolled out.

    Raises
    ------
    ValueError
        If shapes disagree, k = 0, or a number is not finite.
    """

    encoder: NDArray[np.float64]
    """(N, k) f(x)"""
    predictor: NDArray[np.float64]
    """(A, N, k) g(f(x), a)"""
    maps: NDArray[np.float64] | None = None
    """(A, k, k) W_a with g(z, a) = W_a z for every z in R^k; None where g is known on f(X) only."""

    def __post_init__(self) -> None:
        if self.encoder.ndim != 2 or not self.encoder.size:
            raise ValueError(f"expected encoder (N, k) with N ≥ 1 and k ≥ 1, got {self.encoder.shape}")
        for name, part in (("encoder", self.encoder), ("predictor", self.predictor), ("maps", self.maps)):
            if part is not None and not np.isfinite(part).all():
                raise ValueError(f"expected finite embeddings, got NaN or infinity in the {name}")
        states, width = self.encoder.shape
        if self.predictor.ndim != 3 or self.predictor.shape[1:] != (states, width):
            raise ValueError(
                f"expected encoder (N, k) and predictor (A, N, k), got {self.encoder.shape} and {self.predictor.shape}"
            )
        if self.maps is not None and self.maps.shape != (len(self.predictor), width, width):
            raise ValueError(
                f"expected maps (A, k, k) = ({len(self.predictor)}, {width}, {width}), got {self.maps.shape}"
            )

    @classmethod
    def linear(cls, encoder: Float64[np.ndarray, "N k"], maps: Float64[np.ndarray, "A k k"]) -> TabularModel:
        """Tabulate g(z, a) = W_a z."""
        return cls(encoder, encoder @ maps.swapaxes(1, 2), maps)

    @property
    def k(self) -> int:
        """Latent width."""
        return self.encoder.shape[1]


def truncated_svd(world: FiniteWorld, k: int, negatives: Negatives = "same_action") -> TabularModel:
    """One encoder of width k for all actions, with the least-squares predictor on it.

    The encoder spans the top-k right singular space of the stacked [√π(a) M̄(a)]_a (B2), in the scaling in which
    E_q̄[f fᵀ] = I on what q̄ = Σ_a π(a) q_a visits; then g(f(x), a) = argmin_G ‖M̄(a) − GᵀF‖². When the q_a agree, or
    with pooled negatives, it attains the tail of the stacked matrix; for a single action it is F*, G* of T2 (paper
    Theorem 4.3) up to the gauge F → CF, G → C^{-T}G, which leaves GᵀF as it is.

    Raises
    ------
    ValueError
        If k is outside 1 … N.
    """
    return next(truncated_svds(world, (k,), negatives))


def truncated_svds(
    world: FiniteWorld, widths: Sequence[int], negatives: Negatives = "same_action"
) -> Iterator[TabularModel]:
    """``truncated_svd`` of each width in turn, from one singular value decomposition.

    Raises
    ------
    ValueError
        If a width is outside 1 … N.
    """
    for k in widths:
        check_width(world, k)
    law = world.policy @ negative_law(world, negatives)
    widest = shared_space(world, normalised_co_occurrence(world, negatives), max(widths, default=0))
    for k in widths:
        encoder = widest[:, :k] * inverse_root_law(law)[:, None]
        yield TabularModel(encoder, least_squares_predictor(world, encoder, negatives))


def shared_space(world: FiniteWorld, matrices: Float64[np.ndarray, "A N N"], k: int) -> Float64[np.ndarray, "N k"]:
    """V_k, the top-k right singular space of the stacked [√π(a) M̄(a)]_a (B2)."""
    stacked = (np.sqrt(world.policy)[:, None, None] * matrices).reshape(-1, world.states)
    return np.linalg.svd(stacked, full_matrices=False)[2][:k].T


def inverse_root_law(law: Float64[np.ndarray, "*batch N"]) -> Float64[np.ndarray, "*batch N"]:
    """1/√q, and 0 where q is 0: what is never visited has no embedding."""
    return np.where(law > 0, 1 / np.sqrt(np.where(law > 0, law, 1.0)), 0.0)


def check_width(world: FiniteWorld, k: int) -> None:
    """Refuse a width that no factorisation of an N × N matrix needs.

    Raises
    ------
    ValueError
        If k is outside 1 … N.
    """
    if not 1 <= k <= world.states:
        raise ValueError(
            f"expected a latent width 1 ≤ k ≤ N = {world.states}, got {k=}: wider factors are no better, choose k ≤ N"
        )


def least_squares_predictor(
    world: FiniteWorld, encoder: Float64[np.ndarray, "N k"], negatives: Negatives = "same_action"
) -> Float64[np.ndarray, "A N k"]:
    """g(f(x), a) = argmin ‖M̄(a) − GᵀF‖²_F for a given encoder, over all functions of x."""
    matrices = normalised_co_occurrence(world, negatives)
    scaled = np.sqrt(negative_law(world, negatives))[:, :, None] * encoder[None]
    solved = matrices @ np.linalg.pinv(scaled, rcond=1e-12).swapaxes(1, 2)
    return solved / np.sqrt(world.context_law)[None, :, None]


def least_squares_maps(
    world: FiniteWorld, encoder: Float64[np.ndarray, "N k"], negatives: Negatives = "same_action"
) -> Float64[np.ndarray, "A k k"]:
    """W_a that regress ``least_squares_predictor`` on f(x); exact where f is square and invertible."""
    predictor = least_squares_predictor(world, encoder, negatives)
    weight = np.sqrt(world.context_law)[:, None]
    solved = np.linalg.pinv(weight * encoder, rcond=1e-12) @ (weight * predictor)
    return solved.swapaxes(1, 2)


def model_singular_values(
    world: FiniteWorld, model: TabularModel, negatives: Negatives = "same_action"
) -> Float64[np.ndarray, "A r"]:
    """Singular values of GᵀF, r = min(N, k), without forming the N × N matrix."""
    return np.linalg.svd(_core(world, model, negatives), compute_uv=False)


def _core(world: FiniteWorld, model: TabularModel, negatives: Negatives) -> np.ndarray:
    """R_G R_Fᵀ of Gᵀ = Q_G R_G and Fᵀ = Q_F R_F: small, with the singular values of GᵀF."""
    _, left = np.linalg.qr(np.sqrt(world.context_law)[None, :, None] * model.predictor)
    _, right = np.linalg.qr(np.sqrt(negative_law(world, negatives))[:, :, None] * model.encoder[None])
    return left @ right.swapaxes(1, 2)


def clip_spectrum(
    world: FiniteWorld, model: TabularModel, negatives: Negatives = "same_action", limit: float = 1.0
) -> TabularModel:
    """The model whose GᵀF has its singular values clipped to ``limit``, with the same encoder.

    With GᵀF = USVᵀ, the clipped matrix is U min(1, limit/S) Uᵀ · GᵀF. Where ‖M̄(a)‖ ≤ 1, as with same-action negatives,
    clipping to 1 projects onto a convex set that holds M̄(a), so no R(a) grows (B3); with pooled negatives ‖M̄(a)‖ can
    exceed 1, and R(a) can grow.
    """
    scaled_predictor = np.sqrt(world.context_law)[None, :, None] * model.predictor
    left_basis, _ = np.linalg.qr(scaled_predictor)
    inner, values, _ = np.linalg.svd(_core(world, model, negatives), full_matrices=False)
    basis = left_basis @ inner
    shrink = np.minimum(1.0, limit / np.maximum(values, np.finfo(float).tiny)) - 1.0
    change = basis @ (shrink[:, :, None] * (basis.swapaxes(1, 2) @ scaled_predictor))
    clipped = scaled_predictor + change
    return TabularModel(model.encoder, clipped / np.sqrt(world.context_law)[None, :, None])

"""Singular values, tails and the exact spectral risk of a model tabulated on a finite world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.records import Negatives
from jepa_scale.shapes import Float64
from jepa_scale.theory.graph import FiniteWorld, negative_law, normalised_co_occurrence


@dataclass(frozen=True)
class Moments:
    """Uncentred second moments of h = g(f(x), a) and f = f(x⁺), leading axes free (actions, groups).

    The leading axes broadcast: one ``ff`` may stand for all actions, as with pooled negatives.
    """

    hh: Float64[np.ndarray, "... p p"]
    """C_h = E[h hᵀ]"""
    ff: Float64[np.ndarray, "... q q"]
    """C_f = E[f fᵀ], over the negatives' law"""
    hf: Float64[np.ndarray, "... p q"]
    """C_hf = E[h f⁺ᵀ], over the pairs"""


def singular_values(world: FiniteWorld, negatives: Negatives = "same_action") -> Float64[np.ndarray, "A N"]:
    """σ_i(a), the singular values of M̄(a), in decreasing order; σ_1(a) = 1 with same-action negatives."""
    return np.linalg.svd(normalised_co_occurrence(world, negatives), compute_uv=False)


def spectral_tail(values: Float64[np.ndarray, "*batch N"], k: int) -> Float64[np.ndarray, "*batch"] | np.float64:
    """tail_k = Σ_{i>k} σ_i², the least R(a) of any rank-k factorisation (T2; paper Theorem 4.3, Eckart–Young).

    Raises
    ------
    ValueError
        If k is negative.
    """
    if k < 0:
        raise ValueError(f"expected a rank k ≥ 0, got {k=}")
    return (values[..., k:] ** 2).sum(-1)


def spectral_gap(values: Float64[np.ndarray, "*batch N"], k: int) -> Float64[np.ndarray, "*batch"] | np.float64:
    """σ_k − σ_{k+1}, with σ_{N+1} = 0; k from 1 to N.

    Raises
    ------
    ValueError
        If k is outside 1 … N: beyond N there is no singular value.
    """
    if not 1 <= k <= values.shape[-1]:
        raise ValueError(f"expected 1 ≤ k ≤ {values.shape[-1]} singular values, got {k=}")
    after = values[..., k] if k < values.shape[-1] else 0.0
    return values[..., k - 1] - after


def stacked_singular_values(world: FiniteWorld, negatives: Negatives = "same_action") -> Float64[np.ndarray, " N"]:
    """Singular values of the stacked matrix [√π(a) M̄(a)]_a.

    Their tail is the least Σ_a π(a) R(a) that one encoder can reach for all actions (B2). That reading needs F to be
    the same matrix for every action, which holds when the q_a agree, and always with pooled negatives; where they
    differ it is a reference, not a floor.
    """
    stacked = normalised_co_occurrence(world, negatives)
    stacked *= np.sqrt(world.policy)[:, None, None]
    return np.linalg.svd(stacked.reshape(-1, world.states), compute_uv=False)


def exact_risk(
    world: FiniteWorld,
    encoder: Float64[np.ndarray, "N k"],
    predictor: Float64[np.ndarray, "A N k"],
    negatives: Negatives = "same_action",
) -> Float64[np.ndarray, " A"]:
    """R(a) = ‖M̄(a) − GᵀF‖²_F, the paper's R_S-JEPA (T1; Theorem 3.1 for any norms).

    ``encoder`` is f(x') tabulated on X, ``predictor`` is g(f(x), a); F = (√q_a(x) f(x))_x, G = (√p(x) g(f(x), a))_x.
    """
    return (residual(world, encoder, predictor, negatives) ** 2).sum((1, 2))


def residual(
    world: FiniteWorld,
    encoder: Float64[np.ndarray, "N k"],
    predictor: Float64[np.ndarray, "A N k"],
    negatives: Negatives = "same_action",
) -> Float64[np.ndarray, "A N N"]:
    """δ_a = M̄(a) − GᵀF, whose squares sum to R(a)."""
    scaled_encoder = np.sqrt(negative_law(world, negatives))[:, :, None] * encoder[None]
    scaled_predictor = np.sqrt(world.context_law)[None, :, None] * predictor
    difference = normalised_co_occurrence(world, negatives)
    # Action by action: a product of all would be one more table of |A| N² numbers.
    for one, left, right in zip(difference, scaled_predictor, scaled_encoder, strict=True):
        one -= left @ right.T
    return difference


def exact_moments(
    world: FiniteWorld,
    encoder: Float64[np.ndarray, "N k"],
    predictor: Float64[np.ndarray, "A N k"],
    negatives: Negatives = "same_action",
) -> Moments:
    """Population moments of a tabulated model, one for each action."""
    law = negative_law(world, negatives)
    if negatives == "pooled":
        law = law[:1]
    # Matrix products: several times as fast as one einsum of three factors.
    weighted = (world.context_law[None, :, None] * predictor).swapaxes(-1, -2)
    following = encoder.T @ (law[:, :, None] * encoder)
    return Moments(
        hh=weighted @ predictor,
        ff=np.repeat(following, world.actions // len(following), axis=0),
        hf=weighted @ (world.transition @ encoder),
    )


def spectral_loss(moments: Moments) -> Float64[np.ndarray, ...]:
    """L = tr(C_h C_f) − 2 tr(C_hf), the spectral form of the JEPA loss (eq. 13/16; any norms).

    With population moments, L + ‖M̄‖²_F = R (T1).
    """
    return (moments.hh * moments.ff.swapaxes(-1, -2)).sum((-1, -2)) - 2 * np.trace(moments.hf, axis1=-2, axis2=-1)


def inverse_root(
    second_moment: Float64[np.ndarray, "*batch p p"], tolerance: float = 1e-10
) -> Float64[np.ndarray, "*batch p p"]:
    """W with WᵀCW = I on the directions kept, columns of dropped directions zero.

    Truncation is relative to the largest eigenvalue of the *correlation* matrix, so that rescaling a coordinate changes
    nothing; there is no ridge, which would bias every canonical correlation downwards.
    """
    variance = np.diagonal(second_moment, axis1=-2, axis2=-1)
    scale = np.where(variance > 0, 1 / np.sqrt(np.where(variance > 0, variance, 1.0)), 0.0)
    correlation = scale[..., :, None] * second_moment * scale[..., None, :]
    values, vectors = np.linalg.eigh(correlation)
    kept = values > tolerance * np.maximum(values[..., -1:], np.finfo(float).tiny)
    root = np.where(kept, 1 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    return scale[..., :, None] * vectors * root[..., None, :]


def canonical_correlations(moments: Moments, tolerance: float = 1e-10) -> Float64[np.ndarray, "... r"]:
    """s_i, the singular values of C_h^{-1/2} C_hf C_f^{-1/2}: what k features can see of σ_i(a).

    Always s_i ≤ σ_i(a), with equality when the features span the leading singular functions. Uncentred, so the constant
    function counts. Source: VAMP (Wu & Noé 2020), in the variational form s_i = max over the features' span.
    """
    shared = moments.ff.ndim > 2 and bool((moments.ff == moments.ff[:1]).all())
    # One law of negatives for all actions, as where they are pooled, is whitened once.
    left, right = (inverse_root(part, tolerance) for part in (moments.hh, moments.ff[:1] if shared else moments.ff))
    return np.linalg.svd(left.swapaxes(-1, -2) @ moments.hf @ right, compute_uv=False)


def prewhitened_correlations(
    moments: Moments, left: Float64[np.ndarray, "... p p"], right: Float64[np.ndarray, "... q q"]
) -> Float64[np.ndarray, "... r"]:
    """``canonical_correlations`` of moments close to ones whose inverse roots are known, at a fraction of the cost.

    Canonical correlations do not change under invertible maps, so the moments are first mapped by ``left`` and
    ``right`` (of ``inverse_root``), which makes them nearly the identity and a Cholesky factor accurate. Directions
    that the roots dropped stay dropped.
    """
    try:
        return _by_cholesky(moments, left, right)
    except np.linalg.LinAlgError:
        # Lower rank than the moments that the roots are of, as when few samples are left.
        return canonical_correlations(moments)


def _by_cholesky(moments: Moments, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    roots = []
    for second_moment, root in ((moments.hh, left), (moments.ff, right)):
        mapped = root.swapaxes(-1, -2) @ second_moment @ root
        dropped = (root == 0).all(-2)
        # A dropped direction has a zero row; a one on its diagonal keeps the factor defined and adds s = 0.
        roots.append(np.linalg.cholesky(mapped + dropped[..., None] * np.eye(root.shape[-1])))
    # Inverses of nearly the identity; with pooled negatives one right factor serves all actions.
    whitened = [np.linalg.inv(root) for root in roots]
    cross = left.swapaxes(-1, -2) @ moments.hf @ right
    return np.linalg.svd(whitened[0] @ cross @ whitened[1].swapaxes(-1, -2), compute_uv=False)

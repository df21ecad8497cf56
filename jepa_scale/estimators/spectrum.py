"""Spectrum, total, loss, deficits and effective rank of held-out embeddings, with jackknife standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.estimators.moments import GroupedMoments
from jepa_scale.records import Negatives
from jepa_scale.shapes import Float64
from jepa_scale.theory.spectrum import Moments, inverse_root, prewhitened_correlations, spectral_loss, spectral_tail

SAMPLES_PER_DIMENSION = 25
"""Fewer transitions per action than this times k, and no correction repairs the estimates."""


@dataclass(frozen=True)
class SpectrumEstimate:
    """Held-out estimates, one row per action unless said otherwise."""

    singular_values: Jackknifed
    """(A, k) s_i, the canonical correlations of h and f."""
    gap: Jackknifed
    """(A,) s_k − s_{k+1} among the canonical correlations of [1, h] and [1, f]: what k features and the constant see
    of σ_k − σ_{k+1}. Not the operator's gap, whose σ_{k+1} no k features can see unless the constant is not yet among
    them; 0 < gap = s_k with rank_deficient set means that the constant adds no direction."""
    total: Jackknifed
    """(A,) T = Σ_i s_i²"""
    loss: Jackknifed
    """(A,) L, the U-statistic."""
    calibration_deficit: Jackknifed
    """(A,) L + T = ‖C_h^{1/2} C_f^{1/2} − S‖²: what a linear map of the embeddings would remove."""
    rankme_sv_uncentred: Jackknifed
    """() exp of the entropy of the singular values of f(x⁺), all actions together (RankMe, Garrido et al. 2023)."""
    count: Float64[np.ndarray, " A"]
    n_too_small: tuple[bool, ...]
    rank_deficient: tuple[bool, ...]
    """Whether the constant lies in the span of the features, for each action."""

    def subspace_deficit(self, singular_values: Float64[np.ndarray, "A N"], k: int) -> Jackknifed:
        """(A,) Σ_{i≤k} σ_i² − T, what better features of width k would gain; its error is that of T."""
        best = spectral_tail(singular_values, 0) - spectral_tail(singular_values, k)
        return self.total.map(lambda total: best - total)

    def risk(self, singular_values: Float64[np.ndarray, "A N"]) -> Jackknifed:
        """(A,) ‖M̄‖² + L (T1); its error is that of L, as ‖M̄‖² is exact."""
        squared_norm = spectral_tail(singular_values, 0)
        return self.loss.map(lambda loss: squared_norm + loss)


def estimate_spectrum(moments: GroupedMoments, negatives: Negatives) -> SpectrumEstimate:
    """Every estimate from one set of grouped moments.

    With pooled negatives the law of x' is that of all actions together, and C_f and L follow.

    Raises
    ------
    ValueError
        If an action has no transitions in some group, so that nothing can be left out.
    """
    count = moments.count
    if (count.sum(1)[:, None] - count < 2).any() or (count.sum(1) < 2).any():
        raise ValueError(
            f"expected every action in at least two trajectory groups of the held-out data; transitions per action "
            f"{count.sum(1).astype(int).tolist()}: raise data.heldout"
        )
    sums = (moments.zz, moments.yy, moments.zy, moments.matched_square)
    everything = _Sums(*(part.sum(1) for part in sums))
    # Leading axis: the group left out.
    remaining = _Sums(*(part.sum(1) - np.moveaxis(part, 1, 0) for part in sums))
    roots = _Roots.of(everything, negatives)
    whole = _statistics(everything, negatives, roots)
    left_out = _statistics(remaining, negatives, roots)
    estimates = {name: Jackknifed(whole[name], left_out[name]) for name in whole if name != "augmented"}
    width = moments.zz.shape[-1] - 1
    augmented = whole["augmented"]
    return SpectrumEstimate(
        **estimates,
        count=count.sum(1),
        n_too_small=tuple(bool(n < SAMPLES_PER_DIMENSION * width) for n in count.sum(1)),
        rank_deficient=tuple(bool(row[-1] < 1e-8) for row in augmented),
    )


@dataclass(frozen=True)
class _Sums:
    """Sums over the groups kept; leading axes free, then actions."""

    zz: np.ndarray
    yy: np.ndarray
    zy: np.ndarray
    matched_square: np.ndarray


@dataclass(frozen=True)
class _Roots:
    """Inverse roots of the whole sample's moments, which whiten every leave-a-group-out sample nearly."""

    raw: tuple[np.ndarray, np.ndarray]
    augmented: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, sums: _Sums, negatives: Negatives) -> _Roots:
        augmented = _means(sums, negatives)
        raw = _without_constant(augmented)
        return cls(
            (inverse_root(raw.hh), inverse_root(raw.ff)), (inverse_root(augmented.hh), inverse_root(augmented.ff))
        )


def _means(sums: _Sums, negatives: Negatives) -> Moments:
    """Moments of [1, h] and [1, f]; one C_f stands for all actions when negatives are pooled."""
    count = sums.zz[..., :1, :1]
    if negatives == "pooled":
        pooled = sums.yy.sum(-3, keepdims=True)
        return Moments(hh=sums.zz / count, ff=pooled / pooled[..., :1, :1], hf=sums.zy / count)
    return Moments(hh=sums.zz / count, ff=sums.yy / count, hf=sums.zy / count)


def _without_constant(augmented: Moments) -> Moments:
    return Moments(augmented.hh[..., 1:, 1:], augmented.ff[..., 1:, 1:], augmented.hf[..., 1:, 1:])


def _statistics(sums: _Sums, negatives: Negatives, roots: _Roots) -> dict[str, np.ndarray]:
    augmented = _means(sums, negatives)
    raw = _without_constant(augmented)
    values = prewhitened_correlations(raw, *roots.raw)
    with_constant = prewhitened_correlations(augmented, *roots.augmented)
    total = (values**2).sum(-1)
    count = sums.zz[..., 0, 0]
    rivals = count.sum(-1, keepdims=True) if negatives == "pooled" else count
    return {
        "singular_values": values,
        "gap": with_constant[..., -2] - with_constant[..., -1],
        "total": total,
        "loss": unbiased_loss(raw, sums.matched_square, count, rivals),
        # From the plain moments: the U-statistic's correction is noise here, where both terms share it.
        "calibration_deficit": spectral_loss(raw) + total,
        "rankme_sv_uncentred": _rankme(sums.yy.sum(-3)[..., 1:, 1:]),
        "augmented": with_constant,
    }


def unbiased_loss(
    moments: Moments,
    matched_square: Float64[np.ndarray, "*G A"],
    count: Float64[np.ndarray, "*G A"],
    negatives_count: Float64[np.ndarray, "*G #A"],
) -> Float64[np.ndarray, "*G A"]:
    """L without the pairs i = j: [n m tr(C_h C_f) − Σ_j (h_jᵀf_j)²] / (n (m − 1)) − 2 tr C_hf.

    n rows of this action against m negatives, which contain those rows: m = n for same-action negatives. Equal to the
    double sum over i ≠ j, in O(n k²). The moments are means: tr(C_h C_f) n m is the full double sum.
    """
    pairs = (moments.hh * moments.ff.swapaxes(-1, -2)).sum((-1, -2)) * count * negatives_count
    positives = np.trace(moments.hf, axis1=-2, axis2=-1)
    return (pairs - matched_square) / (count * (negatives_count - 1)) - 2 * positives


def _rankme(second_moment: Float64[np.ndarray, "*G k k"]) -> Float64[np.ndarray, "*G"]:
    values = np.sqrt(np.clip(np.linalg.eigvalsh(second_moment), 0, None))
    share = values / values.sum(-1, keepdims=True)
    return np.asarray(np.exp(-xlogy(share, share).sum(-1)))

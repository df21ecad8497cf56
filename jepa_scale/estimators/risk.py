"""The spectral loss L of a model from moments, and what it consists of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from jepa_scale.estimators.jackknife import Jackknifed, with_left_out
from jepa_scale.estimators.spectrum import OperatorSpectrum, OperatorSums
from jepa_scale.shapes import Float64
from jepa_scale.theory.spectrum import spectral_tail


@dataclass(frozen=True)
class RiskEstimate:
    """L = −Σ_{i≤k} σ_i² + subspace deficit + calibration deficit (T1), for one action."""

    loss: Jackknifed
    """() L, the U-statistic: unbiased at any n."""
    calibration_deficit: Jackknifed
    """() L + T = ‖C_h^{1/2} C_f^{1/2} − S‖²: what a linear map of the embeddings would remove."""

    def risk(self, singular_values: Float64[np.ndarray, " N"]) -> Jackknifed:
        """() ‖M̄‖² + L where σ is known; its error is that of L, as ‖M̄‖² is exact."""
        return self.loss.map(lambda loss: loss + spectral_tail(singular_values, 0))


def subspace_deficit(spectrum: OperatorSpectrum, singular_values: Float64[np.ndarray, " N"], k: int) -> Jackknifed:
    """() Σ_{i≤k} σ_i² − T of the model's own k features: what better features would gain; its error is that of T."""
    best = spectral_tail(singular_values, 0) - spectral_tail(singular_values, k)
    return spectrum.own.map(lambda values: best - (values**2).sum(-1))


def estimate_risk(
    sums: OperatorSums, spectrum: OperatorSpectrum, rivals: Float64[np.ndarray, "rows k k"] | None = None
) -> RiskEstimate:
    """L and its calibration part of one action.

    ``rivals`` is ``raw_rivals`` of the sums where several actions share it, as with pooled negatives.

    Raises
    ------
    ValueError
        If h and f differ in width: there is no inner product then.
    """
    if len(sums.origin_h) != len(sums.origin_f):
        raise ValueError(f"expected h and f of one width, got {len(sums.origin_h)} and {len(sums.origin_f)}")
    hh = sums.with_left_out(_raw(sums.zz, -sums.origin_h))
    ff = (raw_rivals(sums) if rivals is None else rivals)[: len(hh)]
    hf = sums.with_left_out(_raw_trace(sums.zy, -sums.origin_h, -sums.origin_f))
    matched, square = (sums.with_left_out(part) for part in (sums.matched_square, sums.weight_square))
    weight, other = sums.with_left_out(sums.zz[:, 0, 0]), sums.with_left_out(sums.weights)
    # Both are symmetric: W M tr(C_h C_f).
    pairs = np.einsum("gij,gij->g", hh, ff)
    positives = hf / weight
    loss = Jackknifed.of(unbiased_loss(pairs, positives, matched, weight, other, square), sums.weights)
    # From the plain moments: the U-statistic's correction is noise here, where both terms share it.
    total = spectrum.own.map(lambda values: (values**2).sum(-1))
    plug_in = pairs / (weight * other) - 2 * positives
    whole, left_out = np.asarray(plug_in[0] + total.whole), plug_in[1:] + total.left_out
    return RiskEstimate(loss, replace(total, whole=whole, left_out=left_out))


def unbiased_loss(
    pairs: Float64[np.ndarray, "*G"],
    positives: Float64[np.ndarray, "*G"],
    matched_square: Float64[np.ndarray, "*G"],
    weight: Float64[np.ndarray, "*G"],
    rivals: Float64[np.ndarray, "*G"],
    weight_square: Float64[np.ndarray, "*G"],
) -> Float64[np.ndarray, "*G"]:
    """L without the pairs i = j: [W M tr(C_h C_f) − Σ_j w_j² (h_jᵀf_j)²] / (W M − Σ_j w_j²) − 2 tr C_hf.

    Weight W of this action's rows against M of the negatives, which contain those rows: M = W for same-action
    negatives. ``pairs`` are W M tr(C_h C_f), ``positives`` tr C_hf. Equal to the double sum over i ≠ j, in O(n k²).
    With unit weights the denominator is n (m − 1).
    """
    return (pairs - matched_square) / (weight * rivals - weight_square) - 2 * positives


def raw_rivals(sums: OperatorSums) -> Float64[np.ndarray, "rows k k"]:
    """M C_f of the negatives: of the whole sample and of each without a group."""
    return with_left_out(_raw(sums.yy, -sums.origin_f), sums.weights)


def _raw(sums: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Sums of h hᵀ, unshifted, of those of [1, h]: O(K²) a group, as the shift is a change of rank two."""
    first = sums[:, :1, 1:]
    raw = sums[:, 1:, 1:] + shift[:, None] * (first + shift * sums[:, :1, :1])
    raw += first.swapaxes(1, 2) * shift
    return raw


def _raw_trace(sums: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sums of hᵀf, unshifted, of those of [1, h] and [1, f]: O(K) a group."""
    own = np.trace(sums[:, 1:, 1:], axis1=1, axis2=2)
    return own + sums[:, 0, 1:] @ rows + sums[:, 1:, 0] @ columns + sums[:, 0, 0] * (rows @ columns)

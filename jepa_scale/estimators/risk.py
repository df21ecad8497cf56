"""The spectral loss L of a model from moments, and what it consists of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.estimators.spectrum import OperatorSpectrum, OperatorSums
from jepa_scale.shapes import Float64
from jepa_scale.theory.spectrum import Moments, spectral_loss, spectral_tail


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


def estimate_risk(sums: OperatorSums, spectrum: OperatorSpectrum) -> RiskEstimate:
    """L and its calibration part of one action.

    Raises
    ------
    ValueError
        If h and f differ in width: there is no inner product then.
    """
    if len(sums.origin_h) != len(sums.origin_f):
        raise ValueError(f"expected h and f of one width, got {len(sums.origin_h)} and {len(sums.origin_f)}")
    shift_h, shift_f = -sums.origin_h, -sums.origin_f
    raw = (_raw(sums.zz, shift_h, shift_h), _raw(sums.yy, shift_f, shift_f), _raw(sums.zy, shift_h, shift_f))
    hh, ff, hf = (sums.with_left_out(part) for part in raw)
    matched, square = (sums.with_left_out(part) for part in (sums.matched_square, sums.weight_square))
    weight, rivals = hh[:, 0, 0], ff[:, 0, 0]
    means = Moments(
        hh=hh[:, 1:, 1:] / weight[:, None, None],
        ff=ff[:, 1:, 1:] / rivals[:, None, None],
        hf=hf[:, 1:, 1:] / weight[:, None, None],
    )
    loss = Jackknifed.of(unbiased_loss(means, matched, weight, rivals, square), sums.weights)
    # From the plain moments: the U-statistic's correction is noise here, where both terms share it.
    total = spectrum.own.map(lambda values: (values**2).sum(-1))
    plug_in = spectral_loss(means)
    whole, left_out = np.asarray(plug_in[0] + total.whole), plug_in[1:] + total.left_out
    return RiskEstimate(loss, replace(total, whole=whole, left_out=left_out))


def unbiased_loss(
    moments: Moments,
    matched_square: Float64[np.ndarray, "*G"],
    weight: Float64[np.ndarray, "*G"],
    rivals: Float64[np.ndarray, "*G"],
    weight_square: Float64[np.ndarray, "*G"],
) -> Float64[np.ndarray, "*G"]:
    """L without the pairs i = j: [W M tr(C_h C_f) − Σ_j w_j² (h_jᵀf_j)²] / (W M − Σ_j w_j²) − 2 tr C_hf.

    Weight W of this action's rows against M of the negatives, which contain those rows: M = W for same-action
    negatives. Equal to the double sum over i ≠ j, in O(n k²). With unit weights the denominator is n (m − 1).
    """
    pairs = (moments.hh * moments.ff.swapaxes(-1, -2)).sum((-1, -2)) * weight * rivals
    positives = np.trace(moments.hf, axis1=-2, axis2=-1)
    return (pairs - matched_square) / (weight * rivals - weight_square) - 2 * positives


def _raw(sums: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sums of [1, h] and [1, f], unshifted: O(K²) a group, as the shift is a change of rank two."""
    raw = sums.copy()
    raw[:, 1:, :] += rows[:, None] * sums[:, :1, :]
    raw[:, :, 1:] += raw[:, :, :1] * columns
    return raw

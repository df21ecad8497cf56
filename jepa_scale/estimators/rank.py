"""Effective ranks, each under the name of its convention: on the same embeddings they differ by factors of 3 to 15."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import xlogy

from jepa_scale.estimators.jackknife import Jackknifed, with_left_out
from jepa_scale.estimators.moments import GroupedMoments
from jepa_scale.estimators.spectrum import OperatorSpectrum
from jepa_scale.shapes import Float64

ALPHA_RANKS = (11, 100)
"""Ranks between which α-ReQ's line is fitted (Agrawal et al. 2022)."""


def rankme_sv_uncentred(second_moment: Float64[np.ndarray, "*G k k"]) -> Float64[np.ndarray, "*G"] | np.float64:
    """exp of the entropy of the singular values of Z, uncentred (RankMe; Garrido et al. 2023). From C_f = ZᵀZ/n."""
    return _effective(np.sqrt(_eigenvalues(second_moment)))


def erank_eig_centred(covariance: Float64[np.ndarray, "*G k k"]) -> Float64[np.ndarray, "*G"] | np.float64:
    """exp of the entropy of the eigenvalues of the covariance (Roy and Vetterli 2007 on eigenvalues)."""
    return _effective(_eigenvalues(covariance))


def participation_ratio(covariance: Float64[np.ndarray, "*G k k"]) -> Float64[np.ndarray, "*G"] | np.float64:
    """(Σλ)²/Σλ² of the covariance."""
    square = (covariance**2).sum((-1, -2))
    trace = np.trace(covariance, axis1=-2, axis2=-1)
    return np.where(square > 0, trace**2 / np.where(square > 0, square, 1.0), 0.0)[()]


def alpha_req(covariance: Float64[np.ndarray, "*G k k"]) -> Float64[np.ndarray, "*G"] | np.float64:
    """α of λ_i ∝ i^−α, least squares on log-log axes over ranks 11 … min(100, k) (α-ReQ; Agrawal et al. 2022).

    NaN for k < 20, where fewer than ten ranks are left, and where an eigenvalue among them is zero.
    """
    return _decay(_eigenvalues(covariance))


def lidar_wm(
    singular_values: Float64[np.ndarray, "*G r"], delta: float = 1e-4
) -> Float64[np.ndarray, "*G"] | np.float64:
    """LiDAR of a world model: exp of the entropy of s_i²/(1 − s_i² + δ) over i ≥ 2, the constant left out.

    LiDAR's S_w⁻¹S_b has the eigenvalues ρ²/(1 − ρ²), ρ the canonical correlations (Thilak et al. 2023).
    """
    square = np.minimum(singular_values[..., 1:], 1.0) ** 2
    return _effective(square / (1 - square + delta))


def effective_ranks(moments: GroupedMoments) -> dict[str, Jackknifed]:
    """The ranks of f(x⁺), all cells together, by name."""
    groups = moments.yy.sum(0)
    sums = with_left_out(groups, groups[:, 0, 0])
    means = sums / sums[:, :1, :1]
    mean = means[:, 0, 1:]
    covariance = means[:, 1:, 1:] - mean[:, :, None] * mean[:, None, :]
    raw = mean + moments.shift_f
    # Decomposed once for both that need it.
    values = _eigenvalues(covariance)
    statistics = {
        "rankme_sv_uncentred": rankme_sv_uncentred(covariance + raw[:, :, None] * raw[:, None, :]),
        "erank_eig_centred": _effective(values),
        "participation_ratio": participation_ratio(covariance),
        "alpha_req": _decay(values),
    }
    return {name: Jackknifed.of(np.asarray(values), groups[:, 0, 0]) for name, values in statistics.items()}


def lidar(spectrum: OperatorSpectrum) -> Jackknifed:
    """() ``lidar_wm`` of one operator."""
    return spectrum.singular_values.map(lambda values: np.asarray(lidar_wm(values)))


def _eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """Increasing; what is below rounding of the largest is none."""
    # By torch, whose LAPACK is the faster one for small matrices.
    values = torch.linalg.eigvalsh(torch.from_numpy(np.ascontiguousarray(matrix))).numpy()
    return np.where(values > 1e-14 * np.maximum(values[..., -1:], 0), values, 0.0)


def _effective(values: np.ndarray) -> np.ndarray | np.float64:
    total = values.sum(-1, keepdims=True)
    share = values / np.where(total > 0, total, 1.0)
    return np.asarray(np.exp(-xlogy(share, share).sum(-1)) * (total[..., 0] > 0))[()]


def _decay(eigenvalues: np.ndarray) -> np.ndarray | np.float64:
    """α-ReQ's exponent from increasing eigenvalues."""
    first, last = ALPHA_RANKS[0], min(ALPHA_RANKS[1], eigenvalues.shape[-1])
    if last - first + 1 < 10:
        return np.full(eigenvalues.shape[:-1], np.nan)[()]
    values = eigenvalues[..., ::-1][..., first - 1 : last]
    positive = (values > 0).all(-1)
    place = np.log(np.arange(first, last + 1))
    place = place - place.mean()
    slope = (np.log(np.where(values > 0, values, 1.0)) * place).sum(-1) / (place**2).sum()
    return np.where(positive, -slope, np.nan)[()]

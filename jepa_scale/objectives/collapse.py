"""Terms that keep latents from collapsing; each one definition, its convention stated."""

from __future__ import annotations

import torch
from torch import Tensor


def variance_hinge(rows: Tensor, target: float = 1.0) -> Tensor:
    """Mean over coordinates of max(0, target − √(var + 10⁻⁴)) of rows (B, k).

    VICReg's variance term (Bardes et al., arXiv:2105.04906, eq. 1), the variance with B − 1.
    """
    return torch.relu(target - (rows.var(0) + 1e-4).sqrt()).mean()


def covariance_penalty(rows: Tensor) -> Tensor:
    """Sum of squared off-diagonal covariances of rows (B, k), over k.

    VICReg's covariance term (eq. 3–4), with B − 1.
    """
    centred = rows - rows.mean(0)
    covariance = centred.mT @ centred / (len(rows) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]


def epps_pulley(rows: Tensor, directions: Tensor) -> Tensor:
    """Mean over directions of ∫ |φ_B(t) − e^{−t²/2}|² N(t; 0, 1) dt.

    φ_B is the characteristic function of the projections of rows (B, k) on unit directions (M, k). 0 for a standard
    normal law, whatever the direction; between 0 and 1. It is the plug-in (V-)statistic, so that even normal rows have
    about (1 − 1/√3)/B. Not multiplied with B, as the test of Epps and Pulley (1983) and some implementations of LeJEPA
    (arXiv:2511.08544) are: the weight of the term would follow the batch size. The integral by the trapezoidal rule on
    17 points in [0, 5], by symmetry.

    Accurate to 10⁻⁶ for projections in [−7, 7], whatever the number of rows; two projections that lie 2π/Δt = 20.1
    apart look like one.
    """
    projected = rows @ directions.mT
    # Beyond 5 the normal weight has 6e-7 of itself; the gap there is |φ_B|², at most 1 and of rows that are equal.
    points = torch.linspace(0, 5, 17, device=rows.device, dtype=rows.dtype)
    weights = torch.exp(-points.square() / 2) * (2 / (2 * torch.pi) ** 0.5) * (points[1] - points[0])
    # Half at both ends, without numbers that the host would have to send.
    inner = torch.arange(17, device=rows.device) % 16 > 0
    weights = weights * torch.where(inner, 1.0, 0.5).to(points)
    angles = projected[..., None] * points
    real, imaginary = torch.cos(angles).mean(0), torch.sin(angles).mean(0)
    gap = (real - torch.exp(-points.square() / 2)).square() + imaginary.square()
    return (gap * weights).sum(-1).mean()

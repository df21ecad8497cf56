"""Metrics of any model's embeddings, for torchmetrics: spectrum, risk and effective ranks with standard errors.

>>> import torch
>>> from jepa_scale.metrics import RankMe, SpectralTotal
>>> z = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
>>> total = SpectralTotal(num_features=4)
>>> total.update(0.9 * z, z)  # predicted and observed next embeddings: here the same up to a factor
>>> round(float(total.compute()), 3)  # Σ s_i² of a perfect linear relation in four dimensions
4.0
>>> total.n, total.flag
(400, '')
>>> round(float(RankMe(num_features=4)(z)), 1)
4.0
"""

from jepa_scale.metrics.ranks import AlphaReQ, EffectiveRank, RankMe
from jepa_scale.metrics.spectra import (
    CalibrationDeficit,
    LiDAR,
    SpectralGap,
    SpectralLoss,
    SpectralTail,
    SpectralTotal,
    SubspaceDeficit,
)

__all__ = [
    "AlphaReQ",
    "CalibrationDeficit",
    "EffectiveRank",
    "LiDAR",
    "RankMe",
    "SpectralGap",
    "SpectralLoss",
    "SpectralTail",
    "SpectralTotal",
    "SubspaceDeficit",
]

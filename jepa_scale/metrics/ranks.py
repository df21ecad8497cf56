"""Effective ranks of embeddings, which tell of collapse."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.estimators.moments import GROUPS, GroupedMoments
from jepa_scale.estimators.rank import effective_ranks
from jepa_scale.metrics.base import MomentMetric


class _RankMetric(MomentMetric):
    """A rank of the observed embeddings ``target``; with one argument, of that.

    The predicted side is not looked at, so that ``metric(z)`` and ``metric(predicted, z)`` give the same: in a
    ``MetricCollection`` with the metrics of the operator it needs no call of its own.
    """

    higher_is_better = True
    least = "more rows than features"
    convention = ""
    """Name of the statistic in ``estimators.rank``."""
    bounded = True
    none = "degenerate"
    """Flag where the statistic is not defined."""

    def __init__(self, num_features: int, groups: int = GROUPS, **kwargs: Any) -> None:
        # One column of the predicted side, as it is not needed: a hundredth of the memory.
        super().__init__(1, num_features, 1, groups, **kwargs)

    def update(
        self,
        predicted: Tensor,
        target: Tensor | None = None,
        action: Tensor | None = None,
        group: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> None:
        """Add embeddings (…, num_features): ``target``, or the only argument; see ``MomentMetric.update``.

        Raises
        ------
        ValueError
            If shapes disagree or a group is out of range.
        """
        embeddings = predicted if target is None else target
        if embeddings.shape[-1] != self.target_features:
            raise ValueError(f"expected embeddings (…, {self.target_features}), got {tuple(embeddings.shape)}")
        super().update(torch.zeros_like(embeddings[..., :1]), embeddings, None, group, weight)

    def statistic(self, moments: GroupedMoments) -> tuple[Jackknifed | None, list[str]]:
        """Return the rank; it is at most the number of rows, which is flagged where it limits it."""
        if int(moments.rows.sum()) <= self.target_features:
            # A rank is at most the number of rows.
            return None, ["n_too_small"]
        with np.errstate(divide="ignore", invalid="ignore"):
            rank = effective_ranks(moments)[self.convention]
        return (rank, []) if np.isfinite(rank.whole) else (None, [self.none])


class RankMe(_RankMetric):
    """exp of the entropy of the singular values of Z, uncentred (RankMe; Garrido et al. 2023).

    >>> import torch
    >>> z = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    >>> z[:, 2:] = 0  # collapsed to two directions
    >>> round(float(RankMe(num_features=8)(z)), 2)
    2.0
    """

    convention = "rankme_sv_uncentred"


class EffectiveRank(_RankMetric):
    """exp of the entropy of the eigenvalues of the covariance (Roy and Vetterli 2007, on eigenvalues).

    >>> import torch
    >>> z = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) + 10  # a mean changes nothing
    >>> round(float(EffectiveRank(num_features=3)(z)), 1)
    3.0
    """

    convention = "erank_eig_centred"


class AlphaReQ(_RankMetric):
    """α of λ_i ∝ i^−α over ranks 11 … min(100, k) (α-ReQ; Agrawal et al. 2022); NaN for fewer than 20 features.

    >>> import torch
    >>> z = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))
    >>> abs(float(AlphaReQ(num_features=32)(z * torch.arange(1, 33) ** -0.5)) - 1) < 0.1  # λ_i = 1/i
    True
    """

    convention = "alpha_req"
    higher_is_better = False
    bounded = False
    none = "fewer_than_20_directions"

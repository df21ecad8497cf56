"""Metrics of the operator (x, a) → x⁺ that embeddings see: spectrum, risk and what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from jepa_scale.estimators.gaps import Gap
from jepa_scale.estimators.jackknife import Jackknifed, average
from jepa_scale.estimators.model import ModelEstimate, estimate_model
from jepa_scale.estimators.moments import GROUPS, GroupedMoments
from jepa_scale.estimators.rank import lidar
from jepa_scale.estimators.risk import subspace_deficit
from jepa_scale.metrics.base import MomentMetric
from jepa_scale.records import Negatives

_KNOWN: WeakKeyDictionary[Any, Any] = WeakIdKeyDictionary()  # type: ignore[assignment]
"""Latest estimate by state: the metrics of a collection share their states, and decompose them once."""


class _OperatorMetric(MomentMetric):
    """A statistic of the spectrum and the risk, averaged over actions.

    ``negatives`` says which x⁺ a pair is compared with, as in ``theory``: of the same action, or ``pooled`` over all.
    """

    def __init__(
        self,
        num_features: int,
        target_features: int | None = None,
        actions: int = 1,
        negatives: Negatives = "same_action",
        groups: int = GROUPS,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_features, target_features, actions, groups, **kwargs)
        if negatives not in ("same_action", "pooled"):
            raise ValueError(f"expected negatives same_action or pooled, got {negatives!r}")
        self.negatives = negatives

    def _estimate(self, moments: GroupedMoments) -> ModelEstimate:
        # In place updates keep the tensor: its rows say whether it is as it was.
        key, version = self.zz, (self.n, self.negatives, float(self.weight_square.sum()))
        known = _KNOWN.get(key)
        if known is None or known[0] != version:
            known = version, estimate_model(moments, self.negatives)
            _KNOWN[key] = known
        return known[1]

    def statistic(self, moments: GroupedMoments) -> tuple[Jackknifed | None, list[str]]:
        """Return the mean over actions, and the flags of all their spectra."""
        model = self._estimate(moments)
        flags = [
            name
            for name in ("n_too_small", "rank_deficient", "degenerate")
            if any(getattr(spectrum, name) for spectrum in model.spectra)
        ]
        found, more = self.of_model(model)
        return found, flags + more

    def of_model(self, model: ModelEstimate) -> tuple[Jackknifed | None, list[str]]:
        """Return the statistic of a model's estimates; to be implemented."""
        raise NotImplementedError(f"{type(self).__name__} must say what it computes")


def _mean(parts: Sequence[Jackknifed]) -> Jackknifed:
    return average(list(parts))


class SpectralGap(_OperatorMetric):
    """s_k − s_{k+1}, the spectral gap at rank ``k``: how well the leading k directions are told from the others.

    s are the canonical correlations of [1, predicted] and [1, target], the constant's s_1 = 1 included. Flagged
    ``degenerate`` where the gap is within what equal values show in a sample, ``below_edge`` where s_{k+1} is noise.

    >>> import torch
    >>> z = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    >>> noise = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1))
    >>> target = torch.cat([z[:, :1], noise[:, :2]], 1)  # one direction is predicted, two are not
    >>> gap = SpectralGap(num_features=3, k=2)
    >>> gap.update(z, target)
    >>> bool(gap.compute() > 0.9), gap.flag
    (True, 'below_edge')
    """

    higher_is_better = None

    def __init__(self, num_features: int, k: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_features, **kwargs)
        self.k = num_features if k is None else k
        if not 1 <= self.k <= min(self.num_features, self.target_features) + 1:
            raise ValueError(f"expected 1 ≤ k ≤ {min(self.num_features, self.target_features) + 1}, got {k=}")

    def of_model(self, model: ModelEstimate) -> tuple[Jackknifed | None, list[str]]:
        """Return the mean gap over actions."""
        if any(self.k > spectrum.singular_values.whole.shape[-1] for spectrum in model.spectra):
            return None, ["rank_deficient"]
        gap = Gap.mean([spectrum.gap(self.k) for spectrum in model.spectra])
        return gap.difference, ["degenerate"] * (not gap.significant) + ["below_edge"] * gap.below_edge


class SpectralTotal(_OperatorMetric):
    """T = Σ_i s_i² over the model's own k features, without the constant: what of M̄ they see (T1).

    >>> import torch
    >>> z = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    >>> metric = SpectralTotal(num_features=4)
    >>> metric.update(z, z @ torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])))  # invertible maps change nothing
    >>> round(float(metric.compute()), 3)
    4.0
    """

    higher_is_better = True

    def of_model(self, model: ModelEstimate) -> tuple[Jackknifed | None, list[str]]:
        """Return Σ s_i²."""
        return _mean([spectrum.own.map(lambda values: (values**2).sum(-1)) for spectrum in model.spectra]), []


class SpectralTail(_OperatorMetric):
    """Σ_{i>k} s_i² within a dictionary of features much wider than ``k``: a lower bound on tail_k of the data.

    Give it features of contexts (with actions) and of next observations that were not trained, such as
    ``estimators.dictionary.RandomFeatures``: a model of width k says nothing of its own tail.

    >>> import torch
    >>> z = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    >>> tail = SpectralTail(num_features=8, k=3)
    >>> tail.update(z, z)  # s_1 = 1 of the constant, and eight more
    >>> round(float(tail.compute()), 3)
    6.0
    """

    higher_is_better = False

    def __init__(self, num_features: int, k: int, **kwargs: Any) -> None:
        super().__init__(num_features, **kwargs)
        if not 1 <= k < min(self.num_features, self.target_features):
            raise ValueError(f"expected 1 ≤ k < {min(self.num_features, self.target_features)}, got {k=}")
        self.k = k

    def of_model(self, model: ModelEstimate) -> tuple[Jackknifed | None, list[str]]:
        """Return the mean tail over actions."""
        return _mean([spectrum.tail(self.k) for spectrum in model.spectra]), []


class _RiskMetric(_OperatorMetric):
    """A part of the spectral loss, for predicted and target of one width."""

    higher_is_better = False

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        if kwargs.get("target_features", num_features) not in (None, num_features):
            raise ValueError("expected predicted and target of one width: the loss takes inner products of both")
        super().__init__(num_features, **kwargs)


class SpectralLoss(_RiskMetric):
    """L = E (h·f′)² − 2 E h·f, the spectral loss, unbiased at any n: −Σ_{i≤k} σ_i² for the best model (T1).

    >>> import torch
    >>> z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> loss = SpectralLoss(num_features=2)
    >>> loss.update(z, z)  # of two whitened directions that are known: −2
    >>> abs(float(loss.compute()) + 2) < 4 * loss.standard_error
    True
    """

    any_size = True

    def of_model(self, model: ModelEstimate) -> tuple[Jackknifed | None, list[str]]:
        """Return the mean loss over actions."""
        return _mean([risk.loss for risk in model.risks]), []


class CalibrationDeficit(_RiskMetric):
    """L + T: the part of the spectral loss that a linear map of the embeddings would remove; 0 at best (T1).

    >>> import torch
    >>> z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> deficit = CalibrationDeficit(num_features=2)
    >>> deficit.update(3 * z, z)  # three times too large: (3 − 1)² in each of two directions
    >>> abs(float(deficit.compute()) - 8) < 4 * deficit.standard_error
    True
    """

    def of_model(self, model: ModelEstimate) -> tuple[Jackknifed | None, list[str]]:
        """Return the mean deficit over actions."""
        return _mean([risk.calibration_deficit for risk in model.risks]), []


class SubspaceDeficit(_OperatorMetric):
    """Σ_{i≤k} σ_i² − T: what better features of the same width would gain; 0 at best (T1).

    ``singular_values`` are σ of the truth, or of a dictionary: (N,), or (actions, N), decreasing, the constant's 1
    included where the embeddings may hold the constant.

    >>> import torch
    >>> z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> deficit = SubspaceDeficit(num_features=2, singular_values=[1.0, 1.0, 0.5])
    >>> deficit.update(z, torch.stack([z[:, 0], torch.randn(500)], 1))  # one direction of two is found
    >>> 0.9 < float(deficit.compute()) < 1.1
    True
    """

    higher_is_better = False

    def __init__(
        self, num_features: int, singular_values: Sequence[float] | np.ndarray | Tensor, **kwargs: Any
    ) -> None:
        super().__init__(num_features, **kwargs)
        sigma = np.atleast_2d(np.asarray(singular_values, dtype=float))
        wrong = sigma.shape[0] not in (1, self.actions) or not np.isfinite(sigma).all() or (sigma < 0).any()
        if wrong or (np.diff(sigma) > 1e-9).any() or sigma.shape[1] < self.num_features:
            raise ValueError(
                f"expected finite singular values ≥ 0, decreasing, ({self.num_features} or more,) or ({self.actions}, "
                f"{self.num_features} or more), got {sigma.tolist()}"
            )
        self.sigma = np.broadcast_to(sigma, (self.actions, sigma.shape[1]))

    def of_model(self, model: ModelEstimate) -> tuple[Jackknifed | None, list[str]]:
        """Return the mean deficit over actions."""
        pairs = zip(model.spectra, self.sigma, strict=True)
        return _mean([subspace_deficit(spectrum, sigma, self.num_features) for spectrum, sigma in pairs]), []


class LiDAR(_OperatorMetric):
    """LiDAR of a world model: exp of the entropy of s_i²/(1 − s_i² + 10⁻⁴), i ≥ 2 (Thilak et al. 2023).

    >>> import torch
    >>> z = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    >>> metric = LiDAR(num_features=4)
    >>> metric.update(z, z)
    >>> round(float(metric.compute()), 2)
    4.0
    """

    higher_is_better = True

    def of_model(self, model: ModelEstimate) -> tuple[Jackknifed | None, list[str]]:
        """Return the mean over actions."""
        return _mean([lidar(spectrum) for spectrum in model.spectra]), []

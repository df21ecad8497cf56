"""All estimates of one model from one set of moments: spectrum and risk of every action, ranks of its embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.estimators.moments import GroupedMoments
from jepa_scale.estimators.rank import effective_ranks
from jepa_scale.estimators.risk import RiskEstimate, estimate_risk, raw_rivals
from jepa_scale.estimators.spectrum import OperatorSpectrum, OperatorSums, WhiteSide, operator_spectrum
from jepa_scale.records import Negatives


@dataclass(frozen=True)
class ModelEstimate:
    """What held-out embeddings say of a model."""

    spectra: tuple[OperatorSpectrum, ...]
    """One for each action."""
    risks: tuple[RiskEstimate, ...]
    """One for each action; empty where h and f differ in width."""
    ranks: Mapping[str, Jackknifed]
    """Effective ranks of f(x⁺), all actions together, by name."""


def estimate_model(moments: GroupedMoments, negatives: Negatives) -> ModelEstimate:
    """Estimate everything.

    Raises
    ------
    ValueError
        If an action has no transitions.
    """
    sums = [OperatorSums.of(moments, action, negatives) for action in range(len(moments.count))]
    # One law of f for all actions.
    pooled = negatives == "pooled"
    right = WhiteSide.of(sums[0].yy, sums[0].origin_f, moments.tolerance) if pooled else None
    spectra = tuple(operator_spectrum(one, right) for one in sums)
    square = moments.zz.shape[-1] == moments.yy.shape[-1]
    rivals = raw_rivals(sums[0]) if pooled and square else None
    risks = tuple(estimate_risk(*both, rivals) for both in zip(sums, spectra, strict=True)) if square else ()
    return ModelEstimate(spectra, risks, effective_ranks(moments))

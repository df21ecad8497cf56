"""Loss of a shared learning rate at each width, against the best rate that was tried there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from jepa_scale.records import TuningCheck

Target = Literal["regret", "risk"]


@dataclass(frozen=True)
class SharingLoss:
    """Loss of the shared rate at one width of a tuning check."""

    k: int
    best_rate: float
    """Rate of the lowest mean; of equal ones the nearest to the shared rate. NaN if no rate has all runs."""
    at_edge: bool
    """Whether the best rate is the smallest or largest one tried, not the shared one: the true best may lie beyond."""
    best_mean: float
    shared_mean: float
    """Mean at the shared rate; NaN if one of its runs was lost."""
    loss: float
    """shared_mean − best_mean ≥ 0; a little too large, as the best is chosen from the same runs."""
    standard_error: float
    """s/√m of the paired differences over seeds; NaN for one seed."""
    seeds: int


def loss_of_sharing(check: TuningCheck, target: Target) -> tuple[SharingLoss, ...]:
    """Return every width of a check, sorted. Rates with a lost or missing run do not compete.

    The differences are paired: a seed has the same data and first weights at every rate.
    """
    rates = sorted({run.rate for run in check.runs})
    seeds = sorted({run.seed for run in check.runs})
    losses = []
    for k in sorted({run.k for run in check.runs}):
        values = {(run.rate, run.seed): getattr(run, target) for run in check.runs if run.k == k}
        grid = np.array([[values.get((rate, seed), np.nan) for seed in seeds] for rate in rates])
        losses.append(_loss(k, grid, np.array(rates), check.shared))
    return tuple(losses)


def rate_means(check: TuningCheck, target: Target) -> dict[int, dict[float, tuple[float, float]]]:
    """Return (mean, s/√m) over finished seeds by width, then rate; NaN for the error of one seed."""
    means: dict[int, dict[float, tuple[float, float]]] = {}
    for k, rate in sorted({(run.k, run.rate) for run in check.runs}):
        values = np.array([getattr(run, target) for run in check.runs if (run.k, run.rate) == (k, rate)])
        values = values[np.isfinite(values)]
        if len(values):
            error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
            means.setdefault(k, {})[rate] = (float(values.mean()), error)
    return means


def _loss(k: int, grid: np.ndarray, rates: np.ndarray, shared: float) -> SharingLoss:
    """Return the loss at one width; ``grid`` is (rates, seeds)."""
    nan, seeds = float("nan"), grid.shape[1]
    means = grid.mean(1)
    at = int(np.abs(np.log(rates / shared)).argmin())
    if not np.isfinite(means).any():
        return SharingLoss(k, nan, False, nan, nan, nan, nan, seeds)
    equal = np.flatnonzero(means == np.nanmin(means))
    best = int(equal[np.abs(np.log(rates[equal] / shared)).argmin()])
    gap = grid[at] - grid[best]
    error = float(gap.std(ddof=1) / np.sqrt(seeds)) if seeds > 1 else nan
    return SharingLoss(
        k=k,
        best_rate=float(rates[best]),
        at_edge=best in (0, len(rates) - 1) and best != at,
        best_mean=float(means[best]),
        shared_mean=float(means[at]),
        loss=float(gap.mean()),
        standard_error=error,
        seeds=seeds,
    )


@dataclass(frozen=True)
class TunedGap:
    """Narrowest or widest width of a check against its best width, each at its own best rate."""

    k: int
    best_k: int
    gap: float
    """Mean at the end minus mean at the best width, ≥ 0; 0 if the end is the best width."""
    standard_error: float
    """s/√m of the paired differences over seeds; NaN for one seed."""


def tuned_gaps(check: TuningCheck, target: Target) -> tuple[TunedGap, TunedGap] | None:
    """Return the gaps of the narrowest and the widest width; None unless each width has a rate without lost runs."""
    losses = loss_of_sharing(check, target)
    if not losses or not all(np.isfinite(loss.best_mean) for loss in losses):
        return None
    seeds = sorted({run.seed for run in check.runs})
    rate = {loss.k: loss.best_rate for loss in losses}
    values = {(run.k, run.seed): getattr(run, target) for run in check.runs if run.rate == rate[run.k]}
    best = min(losses, key=lambda loss: (loss.best_mean, loss.k)).k

    def against(k: int) -> TunedGap:
        difference = np.array([values[k, seed] - values[best, seed] for seed in seeds])
        error = float(difference.std(ddof=1) / np.sqrt(len(seeds))) if len(seeds) > 1 else float("nan")
        return TunedGap(k, best, float(difference.mean()), error)

    return against(losses[0].k), against(losses[-1].k)

"""Cluster bootstrap of a fitted law: whole cells are drawn, each with all its seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.levenberg import polish
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.varpro import grid_starts
from jepa_scale.shapes import Float64, Int64


@dataclass(frozen=True)
class Bootstrap:
    """Refits on resampled cells."""

    draws: Float64[np.ndarray, "draws parameters"]
    """Parameters in natural units; failed refits left out."""
    failed: int
    """Resamples that did not identify the law, or whose refit did not converge."""


def cluster_bootstrap(
    problem: Problem,
    weights: Float64[np.ndarray, " cells"],
    theta: Float64[np.ndarray, " parameters"],
    draws: int,
    seed: int,
) -> Bootstrap:
    """Resample the cells with replacement and refit, from the full fit and from the best grid point.

    Resampling seeds inside cells ignores that every law is wrong by a little at every cell, and gave 95 % intervals
    that covered 48 %; resampling cells covered 93–97 %. A cell drawn twice counts twice, so a resample is a vector of
    counts on the weights, and all resamples are refitted as one batch. The noise model stays that of the full fit.

    Raises
    ------
    ValueError
        If ``draws`` is below 1.
    """
    if draws < 1:
        raise ValueError(f"expected at least one bootstrap draw, got {draws=}")
    cells = len(problem.cells)
    counts = np.random.default_rng(seed).multinomial(cells, np.full(cells, 1 / cells), size=draws)
    usable = counts[_identified(problem, counts)]
    if len(usable) == 0:
        return Bootstrap(np.empty((0, len(theta))), draws)
    resampled = usable * weights
    starts = np.stack([np.tile(theta, (len(usable), 1)), grid_starts(problem, resampled, 1)[:, 0]], axis=1)
    minima = polish(problem, np.repeat(resampled, 2, axis=0), starts.reshape(-1, len(theta)))
    objective = np.where(minima.converged, minima.objective, np.inf).reshape(-1, 2)
    best = objective.argmin(axis=1)
    refits = minima.theta.reshape(-1, 2, len(theta))[np.arange(len(usable)), best]
    natural = problem.natural(refits)
    good = np.isfinite(objective.min(axis=1)) & np.isfinite(natural).all(axis=1)
    return Bootstrap(natural[good], draws - int(good.sum()))


def _identified(problem: Problem, counts: Int64[np.ndarray, "draws cells"]) -> np.ndarray:
    """Return which resamples hold as many distinct cells as free parameters, and two levels of k and of n."""
    drawn = counts > 0
    enough = drawn.sum(axis=1) >= problem.free.sum()
    for axis in (problem.cells.k, problem.cells.n):
        lowest = np.where(drawn, axis, np.inf).min(axis=1)
        highest = np.where(drawn, axis, -np.inf).max(axis=1)
        enough &= lowest < highest
    return enough

"""Bootstrap of a fitted law: resamples of configurations, each with all its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.distributions import normal_quantile, student_quantile
from jepa_scale.laws.newton import Minima, minimise
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.varpro import Grid
from jepa_scale.shapes import Float64

_GRID = 144
"""Number of grid points on which each draw is compared, besides the full fit."""
_CHUNK = 500
FEW = 12
"""Number of configurations up to which resamples degenerate and signs are drawn instead."""


@dataclass(frozen=True)
class Bootstrap:
    """Refits on resampled configurations."""

    draws: Float64[np.ndarray, "draws parameters"]
    """Parameters in natural units, without failed refits."""
    failed: int
    """Number of resamples that did not identify the law or whose refit did not converge."""
    kind: str
    """``cluster pairs`` or ``wild cluster``"""


def bootstrap(
    problem: Problem,
    weights: Float64[np.ndarray, " rows"],
    theta: Float64[np.ndarray, " parameters"],
    draws: int,
    seed: int,
    kind: str = "auto",
) -> Bootstrap:
    """Draw configurations with replacement, or signs for their residuals where there are at most 12 of them.

    Raises
    ------
    ValueError
        If ``draws`` is below 1 or ``kind`` is not "auto", "cluster pairs" or "wild cluster".
    """
    if draws < 1:
        raise ValueError(f"expected at least one bootstrap draw, got {draws=}")
    if kind not in ("auto", "cluster pairs", "wild cluster"):
        raise ValueError(f"expected auto, cluster pairs or wild cluster, got {kind=}")
    few = problem.rows.clusters <= FEW
    if kind == "wild cluster" or (kind == "auto" and few and wild_is_possible(problem)):
        return wild_cluster(problem, weights, theta, draws, seed)
    return cluster_pairs(problem, weights, theta, draws, seed)


def cluster_pairs(
    problem: Problem,
    weights: Float64[np.ndarray, " rows"],
    theta: Float64[np.ndarray, " parameters"],
    draws: int,
    seed: int,
) -> Bootstrap:
    """Resample configurations with replacement and refit, from the full fit or the best grid point, the lower one.

    Resampling seeds inside configurations ignores that every law is wrong by a little at every one of them, and gave
    95 % intervals that covered 48 %; resampling configurations covered 93–97 %. A configuration drawn twice counts
    twice, so a resample is a vector of counts on the weights, and all are refitted as batches. The noise model stays
    that of the full fit.
    """
    clusters = problem.rows.clusters
    counts = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
    usable = counts[_identified(problem, counts)]
    if len(usable) == 0:
        return Bootstrap(np.empty((0, len(theta))), draws, "cluster pairs")
    minima = refit(problem, usable[:, problem.rows.cluster] * weights, theta)
    return _collect(problem, minima, draws, "cluster pairs")


def wild_cluster(
    problem: Problem,
    weights: Float64[np.ndarray, " rows"],
    theta: Float64[np.ndarray, " parameters"],
    draws: int,
    seed: int,
) -> Bootstrap:
    """Keep the design, multiply the residuals of each configuration by one of Webb's six values, and refit.

    The residuals of a configuration are first multiplied by (I − H_gg)^(−1/2), H_gg its block of the projection on the
    sensitivities (CR2), on the scale of the loss. The scatter of the draws about the
    fit is widened by t_{G−P}/z, both at 97.5 %, for G configurations and P parameters: a normal quantile covers too
    little where there are few. For designs that a resample would leave without two levels of a dial.
    """
    state = problem.state(theta[None])
    fitted = np.exp(state.y)
    sensitivity = problem.sensitivity(state)[0]
    # Where R is what is compared, its slope is R times that of ln R.
    jacobian = sensitivity if problem.loss.relative else sensitivity * fitted[0]
    scaled = (jacobian[problem.free] * np.sqrt(weights)).T
    orthogonal, triangle = np.linalg.qr(scaled)
    inside = np.abs(np.diag(triangle)) > 1e-10 * np.abs(np.diag(triangle)).max()
    values = np.sqrt(np.array([1.5, 1.0, 0.5]))
    signs = np.random.default_rng(seed).choice(np.concatenate([-values, values]), size=(draws, problem.rows.clusters))
    target = problem.rows.target
    residual = np.log(target) - state.y[0] if problem.loss.relative else target - fitted[0]
    residual = _unshrunk(residual, orthogonal[:, inside], weights, problem.rows.cluster)
    freedom = max(problem.rows.clusters - int(problem.free.sum()), 1)
    widened = residual * signs[:, problem.rows.cluster] * student_quantile(0.975, freedom) / normal_quantile(0.975)
    targets = np.exp(state.y[0] + widened) if problem.loss.relative else fitted[0] + widened
    minima = refit(problem, np.broadcast_to(weights, targets.shape), theta, targets)
    return _collect(problem, minima, draws, "wild cluster")


def _unshrunk(
    residual: Float64[np.ndarray, " rows"],
    basis: np.ndarray,
    weights: Float64[np.ndarray, " rows"],
    cluster: np.ndarray,
) -> Float64[np.ndarray, " rows"]:
    """Return the residuals, corrected for the share that the fit took of each configuration."""
    root = np.sqrt(np.maximum(weights, 1e-300))
    result = residual * root
    for index in range(int(cluster.max()) + 1):
        rows = np.flatnonzero(cluster == index)
        values, vectors = np.linalg.eigh(basis[rows] @ basis[rows].T)
        # A configuration that the fit must pass through has no residual to restore.
        scale = 1 / np.sqrt(1 - np.minimum(values, 0.98))
        result[rows] = vectors @ (scale * (vectors.T @ result[rows]))
    return result / root


def wild_is_possible(problem: Problem) -> bool:
    """Whether targets with perturbed residuals are still valid; rates of counted episodes are not."""
    return problem.rows.episodes is None


def refit(
    problem: Problem,
    weights: Float64[np.ndarray, "draws rows"],
    theta: Float64[np.ndarray, " parameters"],
    target: Float64[np.ndarray, "draws rows"] | None = None,
) -> Minima:
    """Refit each draw of weights (and targets), from the full fit or from the best grid point."""
    grid = Grid(problem, _GRID)
    chunks = []
    for first in range(0, len(weights), _CHUNK):
        part = slice(first, first + _CHUNK)
        targets = problem.rows.target[None] if target is None else target[part]
        start = grid.starts(weights[part], targets, 1)[:, 0]
        warm = np.broadcast_to(theta, start.shape)
        cold = problem.objective(problem.state(start), weights[part], targets)
        better = cold < problem.objective(problem.state(warm), weights[part], targets)
        chunks.append(minimise(problem, weights[part], np.where(better[:, None], start, warm), targets))
    return Minima(
        *(np.concatenate([getattr(minima, name) for minima in chunks]) for name in ("theta", "objective", "converged"))
    )


def _collect(problem: Problem, minima: Minima, draws: int, kind: str) -> Bootstrap:
    natural = problem.natural(minima.theta)
    good = minima.converged & np.isfinite(natural).all(axis=1)
    return Bootstrap(natural[good], draws - int(good.sum()), kind)


def _identified(problem: Problem, counts: np.ndarray) -> np.ndarray:
    """Return which resamples hold at least as many configurations as free parameters, and two levels per column."""
    drawn = counts > 0
    enough = drawn.sum(axis=1) >= problem.free.sum()
    rows = problem.rows
    for name in {power.column for term in problem.law.parsed.terms for power in term.powers}:
        lowest, highest = np.full(rows.clusters, np.inf), np.full(rows.clusters, -np.inf)
        np.minimum.at(lowest, rows.cluster, rows.columns[name])
        np.maximum.at(highest, rows.cluster, rows.columns[name])
        enough &= np.where(drawn, lowest, np.inf).min(axis=1) < np.where(drawn, highest, -np.inf).max(axis=1)
    return enough

"""Tests for a best width (U-turn) on the cells alone, without any law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.cells import Cells, cells_from_table
from jepa_scale.laws.diagnostics import interior_optimum
from jepa_scale.laws.distributions import student_quantile
from jepa_scale.laws.noise import mean_variance, seed_noise
from jepa_scale.records import RunTable

SIGNIFICANCE = 0.05
"""Significance level: probability of a false U-turn anywhere on the grid."""


@dataclass(frozen=True)
class WidthDifference:
    """Mean of the target at one end of a row minus its mean at the best k."""

    k: int
    """Width at the end of the row that is compared."""
    mean: float
    """Difference of the means over all seeds of both cells."""
    welch_standard_error: float
    """√(s_1²/m_1 + s_2²/m_2); NaN with one seed in either cell."""
    paired_mean: float
    """Mean difference over the seeds that both cells have; NaN if none."""
    paired_standard_error: float
    """Standard error of the paired mean; NaN with fewer than two pairs."""
    pairs: int


@dataclass(frozen=True)
class UTurn:
    """Best width at one n, and by how much the ends of the row are worse."""

    n: int
    best_k: int
    """Width of the lowest mean; the smallest one among ties."""
    best_mean: float
    interior: bool
    """Whether some width inside the row is strictly better than both ends."""
    narrowest: WidthDifference | None
    """k_min against the best k; None if k_min is the best."""
    widest: WidthDifference | None
    """k_max against the best k; None if k_max is the best."""


def u_turn(table: RunTable, target: str) -> tuple[UTurn, ...]:
    """Return the best width at each n, with its differences to both ends; no law is assumed.

    The theory (T6) predicts an interior k*(n) that grows with n, a law that falls in k everywhere predicts
    none. Saturated cells are kept: they are no worse than they look. Runs of one seed share data and
    initialisation streams, so the paired difference is the sharper one. The best k is chosen on the same runs, which
    favours it: whether the difference is beyond chance, ``established_u_turns`` says.

    Raises
    ------
    ValueError
        If ``target`` is neither "risk" nor "regret".
    """
    cells = cells_from_table(table, target, np.inf)
    return tuple(_row(cells, np.flatnonzero(cells.n == n)) for n in np.unique(cells.n))


def _row(cells: Cells, row: np.ndarray) -> UTurn:
    """Return the U-turn of the cells ``row``, which are sorted by k."""
    best = int(row[cells.mean[row].argmin()])
    return UTurn(
        n=int(cells.n[best]),
        best_k=int(cells.k[best]),
        best_mean=float(cells.mean[best]),
        interior=interior_optimum(cells.mean[row]),
        narrowest=None if best == row[0] else _difference(cells, int(row[0]), best),
        widest=None if best == row[-1] else _difference(cells, int(row[-1]), best),
    )


def _difference(cells: Cells, end: int, best: int) -> WidthDifference:
    common, at_end, at_best = np.intersect1d(
        cells.seed_labels[end], cells.seed_labels[best], assume_unique=False, return_indices=True
    )
    paired = cells.values[end][at_end] - cells.values[best][at_best]
    pairs = len(common)
    return WidthDifference(
        k=int(cells.k[end]),
        mean=float(cells.mean[end] - cells.mean[best]),
        welch_standard_error=float(
            np.sqrt(cells.sd[end] ** 2 / cells.seeds[end] + cells.sd[best] ** 2 / cells.seeds[best])
        ),
        paired_mean=float(paired.mean()) if pairs else float("nan"),
        paired_standard_error=float(paired.std(ddof=1) / np.sqrt(pairs)) if pairs > 1 else float("nan"),
        pairs=pairs,
    )


def established_u_turns(cells: Cells) -> tuple[int, ...]:
    """Return the n at which a width inside the grid is significantly better than both ends.

    Noise alone puts the lowest of several equal means inside a row most of the time, and the best is chosen on the
    same runs. So the difference to each end is held against the seed noise pooled over all cells, √(v_end + v_best),
    at a level that counts every pair of width and n tried (Bonferroni). Empty where no cell has two seeds.
    """
    noise = seed_noise(cells)
    if noise is None:
        return ()
    variance = mean_variance(cells, cells.mean, noise)
    degrees = int((cells.seeds - 1).sum())
    threshold = student_quantile(1 - SIGNIFICANCE / max(len(cells), 1), degrees)
    sizes = []
    for n in np.unique(cells.n):
        row = np.flatnonzero(cells.n == n)
        inside = row[1:-1]
        if len(inside) == 0:
            continue
        best = inside[cells.mean[inside].argmin()]
        apart = [
            (cells.mean[end] - cells.mean[best]) / np.sqrt(variance[end] + variance[best]) for end in (row[0], row[-1])
        ]
        if min(apart) > threshold:
            sizes.append(int(n))
    return tuple(sizes)

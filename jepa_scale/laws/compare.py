"""Compare laws on the same cells, and test the U-turn in k without any law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.cells import Cells, cells_from_table
from jepa_scale.laws.diagnostics import interior_optimum
from jepa_scale.records import LawFit, RunTable


def akaike_weights(fits: Sequence[LawFit]) -> dict[str, float]:
    """Return exp(−ΔAICc/2), normalised, by law: relative evidence among laws fitted to the same cells.

    Laws that did not converge are left out. The weights rank the laws of the list and do not say whether any of
    them holds: read ``lack_of_fit_p`` first. Without an interior optimum in k the theory's exponents win by AICc in
    70–83 % of simulations where they are wrong, so a weight is evidence for the theory only if p is identified.

    Raises
    ------
    ValueError
        If no fit converged, two fits have one name, or the fits differ in target, cells or exclusions.
    """
    usable = [fit for fit in fits if fit.status == "converged"]
    if not usable:
        raise ValueError(f"expected at least one converged fit, got {[(fit.law, fit.status) for fit in fits]}")
    kinds = {(fit.target, fit.cells, fit.runs, fit.excluded) for fit in usable}
    if len(kinds) > 1:
        seen = [(fit.law, fit.target, fit.cells) for fit in usable]
        raise ValueError(f"expected fits of one target on the same cells, got (law, target, cells) = {seen}")
    names = [fit.law for fit in usable]
    if len(set(names)) < len(names):
        raise ValueError(f"expected one fit per law, got {names}")
    values = np.array([fit.aicc for fit in usable])
    if not np.isfinite(values).any():
        raise ValueError("expected a finite AICc for at least one law: there are too few cells for its correction")
    weights = np.exp(-0.5 * (values - values.min()))
    return dict(zip(names, (weights / weights.sum()).tolist(), strict=True))


@dataclass(frozen=True)
class Difference:
    """Mean of the target at one end of a row minus its mean at the best k."""

    k: int
    """The end that is compared."""
    mean: float
    """All seeds of both cells."""
    welch_standard_error: float
    """√(s_1²/m_1 + s_2²/m_2); NaN with one seed in either cell."""
    paired_mean: float
    """Seeds that both cells have; NaN if none."""
    paired_standard_error: float
    """NaN with fewer than two pairs."""
    pairs: int


@dataclass(frozen=True)
class UTurn:
    """The row of one n: where the target is lowest in k, and by how much the ends are worse."""

    n: int
    best_k: int
    """The smallest one among ties."""
    best_mean: float
    interior: bool
    """Whether some width inside the row is strictly better than both ends."""
    narrowest: Difference | None
    """k_min against the best k; None if k_min is the best."""
    widest: Difference | None
    """k_max against the best k; None if k_max is the best."""


def u_turn(table: RunTable, target: str) -> tuple[UTurn, ...]:
    """Return the best width at each n, with the differences that make it an optimum; no law is assumed.

    The theory (T6) predicts an interior k*(n) that grows with n, a law that falls in k everywhere predicts
    none. Saturated cells are kept: they are no worse than they look. Runs of one seed share data and
    initialisation streams, so the paired difference is the sharper one. The best k is chosen on the same runs, which
    favours it by about one standard error: a difference below two says nothing.

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


def _difference(cells: Cells, end: int, best: int) -> Difference:
    common, at_end, at_best = np.intersect1d(
        cells.seed_labels[end], cells.seed_labels[best], assume_unique=False, return_indices=True
    )
    paired = cells.values[end][at_end] - cells.values[best][at_best]
    pairs = len(common)
    return Difference(
        k=int(cells.k[end]),
        mean=float(cells.mean[end] - cells.mean[best]),
        welch_standard_error=float(
            np.sqrt(cells.sd[end] ** 2 / cells.seeds[end] + cells.sd[best] ** 2 / cells.seeds[best])
        ),
        paired_mean=float(paired.mean()) if pairs else float("nan"),
        paired_standard_error=float(paired.std(ddof=1) / np.sqrt(pairs)) if pairs > 1 else float("nan"),
        pairs=pairs,
    )

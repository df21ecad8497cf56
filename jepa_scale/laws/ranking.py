"""Which diagnostic of checkpoints predicts how well they do: rank correlations with intervals over clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float64

_LEAST = 5
"""Fewest checkpoints of which a correlation is given."""


@dataclass(frozen=True)
class Ranked:
    """One diagnostic against the target."""

    name: str
    checkpoints: int
    """Rows with a number in both."""
    clusters: int
    """Independent groups of rows, such as training runs, which are drawn whole by the bootstrap."""
    correlation: float
    """Spearman's ρ over all checkpoints."""
    low: float
    high: float
    """Interval of ρ over draws of clusters; open (−1, 1) with fewer than three clusters."""
    within: float
    """Mean ρ inside clusters of three checkpoints or more: what picks a checkpoint of one run. NaN without any."""
    gain: float
    """AICc of the target's ranks without the diagnostic minus with it, a line in its ranks; above 0 it helps. Counted
    in clusters, not in rows: those of one run are not independent."""
    best: float
    """Share of draws in which no other diagnostic has a larger |ρ|."""

    @property
    def tells(self) -> bool:
        """Whether the interval of ρ excludes 0."""
        return self.low > 0 or self.high < 0


def rank_diagnostics(
    diagnostics: Mapping[str, Float64[np.ndarray, " rows"]],
    target: Float64[np.ndarray, " rows"],
    cluster: np.ndarray | None = None,
    *,
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Ranked, ...]:
    """Rank diagnostics by |ρ| with the target, the largest first.

    Clusters are drawn with replacement, the same ones for all diagnostics, so that their comparison is paired. The
    interval is widened to the level of all diagnostics together (Bonferroni): the best of many looks good by chance.

    Raises
    ------
    ValueError
        If there is no diagnostic, or fewer than five checkpoints have a target.
    """
    known = np.isfinite(target)
    if not diagnostics or known.sum() < _LEAST:
        raise ValueError(
            f"expected one or more diagnostics and {_LEAST} or more checkpoints with a target, got {len(diagnostics)} "
            f"and {int(known.sum())}"
        )
    groups = np.arange(len(target)) if cluster is None else np.unique(np.asarray(cluster), return_inverse=True)[1]
    generator = np.random.default_rng([seed, 31])
    members = [np.flatnonzero((groups == group) & known) for group in np.unique(groups[known])]
    chosen = [
        np.concatenate([members[index] for index in generator.integers(len(members), size=len(members))])
        for _ in range(draws)
    ]
    names = list(diagnostics)
    drawn = np.array([[spearman(diagnostics[name][rows], target[rows]) for rows in chosen] for name in names])
    sizes = np.where(np.isfinite(drawn), np.abs(drawn), -1.0)
    first = np.bincount(sizes.argmax(0), minlength=len(names)) / draws
    tail = (1 - level) / 2 / len(names)
    found = []
    for index, name in enumerate(names):
        values = diagnostics[name]
        used = known & np.isfinite(values)
        clusters = len(np.unique(groups[used]))
        rho = spearman(values, target)
        spread = drawn[index][np.isfinite(drawn[index])]
        low, high = (-1.0, 1.0)
        if clusters > 2 and len(spread) > draws / 2:
            low, high = np.quantile(spread, [tail, 1 - tail])
        found.append(
            Ranked(
                name, int(used.sum()), clusters, rho, min(float(low), rho), max(float(high), rho),
                _within(values, target, groups, used), _gain(rho, clusters), float(first[index]),
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda one: -abs(one.correlation) if np.isfinite(one.correlation) else 1.0))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's ρ of the rows with both; NaN for fewer than three, or where one does not vary."""
    used = np.isfinite(x) & np.isfinite(y)
    if used.sum() < 3:
        return float("nan")
    from scipy.stats import rankdata

    a, b = (rankdata(part[used]) for part in (x, y))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b / size) if size > 0 else float("nan")


def _within(x: np.ndarray, y: np.ndarray, groups: np.ndarray, used: np.ndarray) -> float:
    parts = []
    for group in np.unique(groups[used]):
        here = used & (groups == group)
        if here.sum() > 2 and np.ptp(y[here]) > 0:
            # What does not vary inside a run picks none of its checkpoints.
            parts.append(spearman(x[here], y[here]) if np.ptp(x[here]) > 0 else 0.0)
    return float(np.mean(parts)) if parts else float("nan")


def _gain(rho: float, count: int) -> float:
    """AICc of an intercept minus AICc of a line, of ``count`` standardised ranks with correlation ρ."""
    if not np.isfinite(rho) or count < _LEAST:
        return float("nan")

    def corrected(residual: float, parameters: int) -> float:
        return count * np.log(residual) + 2 * parameters + 2 * parameters * (parameters + 1) / (count - parameters - 1)

    return float(corrected(1.0, 2) - corrected(max(1 - rho**2, 1e-12), 3))

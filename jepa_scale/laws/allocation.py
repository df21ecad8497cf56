"""How to spend a budget: the split between two columns that minimises a law at a given cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.general import GeneralLaw
from jepa_scale.laws.law import Law
from jepa_scale.records import LawFit
from jepa_scale.shapes import Float64

_POINTS = 600
_BEYOND = 3.0
"""Decades beyond the runs in which the best split is searched, on both sides."""


@dataclass(frozen=True)
class Cost:
    """Cost = factor × one column × another, such as 6 N D FLOP."""

    factor: float
    columns: tuple[str, str]

    @property
    def text(self) -> str:
        """The formula."""
        return "*".join(([] if self.factor == 1 else [f"{self.factor:g}"]) + list(self.columns))

    def other(self, first: np.ndarray, budget: np.ndarray | float) -> np.ndarray:
        """Return the second column that spends the budget."""
        return np.asarray(budget / (self.factor * first))


@dataclass(frozen=True)
class Split:
    """The best use of one budget. Intervals are those of the bootstrap: of the law's parameters, not of its form."""

    budget: float
    best: tuple[float, float]
    """The two columns of the cost at the minimum of the law."""
    low: tuple[float, float]
    high: tuple[float, float]
    target: float
    """The law there."""
    target_low: float
    target_high: float
    inside: bool
    """Whether the law has a minimum between the ends that were searched: three decades beyond the runs."""
    decades: float
    """By how many decades the best split lies outside the runs, in the column that is farther."""


@dataclass(frozen=True)
class Allocation:
    """Best splits of several budgets by one law."""

    law: str
    cost: Cost
    level: float
    splits: tuple[Split, ...]
    exponents: tuple[tuple[float, float, float], tuple[float, float, float]] | None
    """Value, low and high of a in column ∝ cost^a, for both columns; None without two budgets inside."""


def allocate(
    law: Law | GeneralLaw,
    fitted: LawFit,
    cost: Cost,
    budgets: Sequence[float],
    runs: Mapping[str, Float64[np.ndarray, " rows"]],
) -> Allocation:
    """Minimise the law along the line of each budget, for the fit and for every bootstrap draw.

    For E + A N^-α + B D^-β and 6 N D this is N* = (α A/(β B))^{1/(α+β)} (C/6)^{β/(α+β)}; the minimum is found on a grid
    and by a parabola through its lowest three points, for any law.

    Raises
    ------
    ValueError
        If the fit has no draws, or the law reads other columns than the cost's.
    """
    if fitted.status != "converged" or not len(fitted.bootstrap_draws):
        raise ValueError(f"{law.name} has no interval to allocate by: {fitted.status}, {fitted.reason or 'no draws'}")
    others = sorted(set(law.columns) - set(cost.columns))
    if others or not set(cost.columns) <= set(law.columns):
        raise ValueError(f"expected a cost in the columns of the law, {', '.join(law.columns)}, got {cost.text}")
    theta = np.vstack([[parameter.value for parameter in fitted.parameters], fitted.bootstrap_draws])
    # In the order of the budgets, so that the exponents' draws are paired.
    found = [_minimum(law, theta, cost, budget, runs) for budget in sorted(budgets)]
    tails = [(1 - fitted.level) / 2, (1 + fitted.level) / 2]
    splits = []
    for budget, (first, target, inside) in zip(sorted(budgets), found, strict=True):
        both = np.stack([first, cost.other(first, budget)])
        low, high = np.quantile(both[:, 1:], tails, axis=1)
        ends = np.quantile(target[1:], tails)
        best = float(both[0, 0]), float(both[1, 0])
        splits.append(
            Split(
                budget=float(budget),
                best=best,
                low=(min(low[0], best[0]), min(low[1], best[1])),
                high=(max(high[0], best[0]), max(high[1], best[1])),
                target=float(target[0]),
                target_low=float(min(ends[0], target[0])),
                target_high=float(max(ends[1], target[0])),
                inside=bool(inside[0]),
                decades=max(_outside(value, runs[name]) for name, value in zip(cost.columns, best, strict=True)),
            )
        )
    return Allocation(law.name, cost, fitted.level, tuple(splits), _exponents(splits, found, tails))


def _minimum(
    law: Law | GeneralLaw, theta: np.ndarray, cost: Cost, budget: float, runs: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First column at the minimum, the law there, and whether that is no end of the search; a row for each theta."""
    columns = [np.asarray(runs[name], dtype=float) for name in cost.columns]
    low = max(columns[0].min(), budget / (cost.factor * columns[1].max())) / 10**_BEYOND
    high = min(columns[0].max(), budget / (cost.factor * columns[1].min())) * 10**_BEYOND
    grid = np.linspace(np.log(low), np.log(max(high, low * 10**_BEYOND)), _POINTS)
    first = np.exp(grid)
    values = law.predict(theta, {cost.columns[0]: first, cost.columns[1]: cost.other(first, budget)})
    place = np.nanargmin(np.where(np.isfinite(values), values, np.inf), axis=1)
    inside = (place > 0) & (place < _POINTS - 1)
    middle = np.clip(place, 1, _POINTS - 2)
    left, here, right = (np.take_along_axis(values, (middle + step)[:, None], 1)[:, 0] for step in (-1, 0, 1))
    curvature = left - 2 * here + right
    step = np.where(inside & (curvature > 0), 0.5 * (left - right) / np.where(curvature > 0, curvature, 1.0), 0.0)
    best = np.exp(np.where(inside, grid[middle] + step * (grid[1] - grid[0]), grid[place]))
    at = {cost.columns[0]: best, cost.columns[1]: cost.other(best, budget)}
    return best, np.diagonal(law.predict(theta, at)).copy(), inside


def _outside(value: float, column: np.ndarray) -> float:
    return max(0.0, float(np.log10(value / column.max())), float(np.log10(column.min() / value)))


def _exponents(
    splits: Sequence[Split], found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], tails: Sequence[float]
) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    if len(splits) < 2 or not all(split.inside for split in splits):
        return None
    reach = np.log(splits[-1].budget / splits[0].budget)
    if not reach > 0:
        return None
    rise = np.log(found[-1][0] / found[0][0]) / reach
    low, high = np.quantile(rise[1:], tails)
    value = float(rise[0])
    first = value, float(min(low, value)), float(max(high, value))
    return first, (1 - first[0], 1 - first[2], 1 - first[1])

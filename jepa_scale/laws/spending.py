"""How to spend a budget on one run: the data and the width that the forecasts say are best at a given cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.allocation import Cost
from jepa_scale.laws.outlook import Outlook


@dataclass(frozen=True)
class Spending:
    """The best use of one budget."""

    budget: float
    k: int
    """Width of the least expected regret among those that can be judged."""
    k_ends: tuple[int, int]
    """Ends of the interval of the best width over the draws."""
    n: int
    """Data that the budget leaves at ``k``."""
    n_ends: tuple[int, int]
    regret: float
    """Expected regret there."""
    regret_ends: tuple[float, float]
    """Interval of the mean regret over many seeds."""
    probability: float
    """P(regret of one run ≤ target)."""
    judged: tuple[int, ...]
    """Widths that were compared."""
    beyond: tuple[int, ...]
    """Of these, those with an n beyond the distance at which forecasts were checked: they were judged by less data."""

    @property
    def at_the_edge(self) -> bool:
        """Whether the best width is an end of those that were compared, so that a better one may lie outside."""
        return self.k in (self.judged[0], self.judged[-1])


def spend(
    outlook: Outlook, cost: Cost, budgets: Sequence[float], target: float, level: float = 0.9, seed: int = 0
) -> tuple[Spending | None, ...]:
    """Compare widths at equal cost, with joint draws: n(k) = what the budget leaves, k* = argmin regret(n(k), k).

    Widths are those that were run, one between each two, and one beyond each end as far as forecasts were checked.
    A width whose n lies beyond that distance is judged by as much data as was checked, which more would not make worse.
    None for a budget at which that holds of every width, or fewer than two have data enough.

    Raises
    ------
    ValueError
        If the cost is not in n and k, or a budget is not above 0.
    """
    if set(cost.columns) != {"n", "k"}:
        raise ValueError(f"expected a cost in n and k, such as n*k, got {cost.text}")
    if any(not 0 < budget < np.inf for budget in budgets):
        raise ValueError(f"expected budgets above 0, got {', '.join(f'{budget:g}' for budget in budgets)}")
    return tuple(_spend(outlook, cost, float(budget), target, level, seed) for budget in budgets)


def _spend(outlook: Outlook, cost: Cost, budget: float, target: float, level: float, seed: int) -> Spending | None:
    run = np.unique(outlook.cells.k)
    beyond = 10 ** outlook.checked[1]
    widths = np.unique(np.round([run[0] / beyond, *run, *np.sqrt(run[:-1] * run[1:]), run[-1] * beyond]))
    widths = widths[widths >= 1]
    sizes = np.floor(cost.other(widths, budget))
    # More data than forecasts were checked for does no harm: what they say of less is an upper end.
    most = np.floor(outlook.cells.n.max() * 10 ** outlook.checked[0])
    judged = sizes >= outlook.cells.n.min() / 10 ** outlook.checked[0]
    if judged.sum() < 2 or sizes[judged].min() > most:
        return None
    k, n = widths[judged], sizes[judged]
    draws = outlook.draws(k, np.minimum(n, most), seed)
    best = int(draws.mean(axis=0).argmin())
    ends = [(1 - level) / 2, (1 + level) / 2]
    chosen = np.quantile(draws.argmin(axis=1), ends, method="nearest").astype(int)
    low, high = int(min(chosen[0], best)), int(max(chosen[1], best))
    interval = np.quantile(draws[:, best], ends)
    regret = float(draws[:, best].mean())
    run_draws = outlook.run_draws(k[best : best + 1], np.minimum(n, most)[best : best + 1], seed)[:, 0]
    return Spending(
        budget=budget,
        k=int(k[best]),
        k_ends=(int(k[low]), int(k[high])),
        n=int(n[best]),
        n_ends=(int(n[high]), int(n[low])),
        regret=regret,
        regret_ends=(float(min(interval[0], regret)), float(max(interval[1], regret))),
        probability=float((run_draws <= target).mean()),
        judged=tuple(int(width) for width in k),
        beyond=tuple(int(width) for width in k[n > most]),
    )

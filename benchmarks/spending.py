"""What is lost by the width that forecasts choose at a cost n k, against the dumbest choices.

From the smaller half of the sizes of each study table, `spend` chooses a width among those that were run for costs that
the larger half covers; the regret there is read off all runs, between them by a straight line in log odds. A choice
loses regret(choice) − the least on that line of equal cost, here as a share of the regret of random plans. Beside it:
the width that is best at the largest n seen, and the widest that was run.

    python benchmarks/spending.py [table.parquet …]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from forecast import studies
from scipy.interpolate import RegularGridInterpolator

from jepa_scale.laws.allocation import Cost
from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.forecasters.base import Seen
from jepa_scale.laws.forecasters.odds import from_odds, log_odds
from jepa_scale.laws.outlook import Outlook
from jepa_scale.laws.spending import spend
from jepa_scale.records import RunTable
from jepa_scale.runs.instantiate import build_forecaster

COSTS = 5
"""Costs for each study, evenly spread over those that can be judged."""


def surface(table: RunTable) -> tuple[RegularGridInterpolator, np.ndarray, np.ndarray] | None:
    """Regret over random plans' by (ln n, ln k), with sizes and widths; None where the grid has holes."""
    seen = Seen.of(cells_from_table(table, "regret", np.inf))
    sizes, widths = np.unique(seen.n), np.unique(seen.k)
    if len(seen.n) != len(sizes) * len(widths) or len(widths) < 3:
        return None
    order = np.lexsort((seen.k, seen.n))
    odds = log_odds(seen.mean[order]).reshape(len(sizes), len(widths))
    return RegularGridInterpolator((np.log(sizes), np.log(widths)), odds), sizes, widths


def lost(study: str, table: RunTable) -> list[tuple[float, float, float]] | None:
    """Losses of the forecasts, of the best width so far and of the widest, at each cost; None if none is judged."""
    made = surface(table)
    if made is None:
        return None
    truth, sizes, widths = made
    cut = sizes[(len(sizes) + 1) // 2 - 1]
    outlook = Outlook.of(build_forecaster("stack").forgetting(study), table.where(table["n"] <= cut))
    # Between the largest n seen with the widest and the largest n of all with the narrowest, at least three widths.
    costs = np.geomspace(cut * widths[2], sizes[-1] * widths[-3], COSTS)

    def level(n: np.ndarray, k: np.ndarray) -> np.ndarray:
        return from_odds(truth(np.stack([np.log(n), np.log(k)], axis=-1)))

    rows = []
    last = outlook.cells.n == cut
    so_far = float(outlook.cells.k[last][outlook.cells.mean[last].argmin()])
    for cost in costs:
        n = cost / widths
        open_ = (n >= sizes[0]) & (n <= sizes[-1])
        if open_.sum() < 3:
            continue
        chosen = spend(outlook, Cost(1.0, ("n", "k")), [float(cost)], target=0.02)[0]
        if chosen is None:
            continue
        allowed = widths[open_]
        regrets = level(n[open_], allowed)

        def loss(k: float, allowed: np.ndarray = allowed, regrets: np.ndarray = regrets) -> float:
            return float(regrets[np.abs(np.log(allowed / k)).argmin()] - regrets.min())

        rows.append((loss(chosen.k), loss(so_far), loss(float(allowed[-1]))))
    return rows or None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path, help="tables of studies (default: benchmarks/tables)")
    given = parser.parse_args()
    paths = given.tables or sorted((Path(__file__).parent / "tables").glob("*.parquet"))
    print("| study | costs | forecast | best so far | widest |")
    print("|---|---|---|---|---|")
    means = []
    for study, table in studies(paths):
        rows = lost(study, table)
        if rows is None:
            continue
        means.append(np.mean(rows, axis=0))
        print(f"| {study} | {len(rows)} | {' | '.join(f'{value:.3f}' for value in means[-1])} |", flush=True)
    print(f"| mean of {len(means)} | | {' | '.join(f'{value:.3f}' for value in np.mean(means, axis=0))} |")


if __name__ == "__main__":
    main()

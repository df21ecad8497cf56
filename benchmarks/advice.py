"""Advice from the smaller half of the sizes on every larger cell, judged by the mean regret that came.

Each study at five targets, shares of the regret of random plans. The stack does not know the study from its library.
`last` is the dumbest rule: a width suffices if its mean at the largest n seen does.

    python benchmarks/advice.py                      # every study in benchmarks/tables with at least four sizes
    python benchmarks/advice.py my.parquet --targets 0.05 0.2
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from forecast import studies

from jepa_scale.laws.advice import score
from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.forecasters.base import Seen
from jepa_scale.laws.forecasters.stack import Stack
from jepa_scale.records import RunTable

TARGETS = (0.5, 0.25, 0.1, 0.05, 0.02)


def last_rule(table: RunTable, target: float) -> tuple[int, int]:
    """Right and wrong answers of the dumbest rule, on the same cells."""
    whole = Seen.of(cells_from_table(table, "regret", np.inf))
    sizes = np.unique(whole.n)
    cut = sizes[(len(sizes) + 1) // 2 - 1]
    seen, later = whole.where(whole.n <= cut), whole.where(whole.n > cut)
    says = np.array([seen.curve(k).mean[-1] * whole.ceiling <= target for k in later.k])
    right = int((says == (later.mean * whole.ceiling <= target)).sum())
    return right, len(says) - right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path, help="tables of studies (default: benchmarks/tables)")
    parser.add_argument(
        "--targets", nargs="+", type=float, default=TARGETS, help="shares of the regret of random plans"
    )
    given = parser.parse_args()
    paths = given.tables or sorted((Path(__file__).parent / "tables").glob("*.parquet"))
    print("| study | questions | right | wrong | undecided | refused as too far | last: right | last: wrong |")
    print("|---|---|---|---|---|---|---|---|")
    total = np.zeros(7, dtype=int)
    for study, table in studies(paths):
        ceiling = Seen.of(cells_from_table(table, "regret", np.inf)).ceiling
        counts = np.zeros(7, dtype=int)
        for share in given.targets:
            target = share * ceiling
            judged = score(Stack().forgetting(study), table, target)
            for verdict, came in judged:
                answered = verdict.status in ("sufficient", "insufficient")
                right = answered and (verdict.status == "sufficient") == (came <= target)
                place = 4 if verdict.status == "cannot say" else 3 if not answered else 1 if right else 2
                counts[[0, place]] += 1
            counts[5:] += last_rule(table, target)
        total += counts
        print(f"| {study} | {' | '.join(map(str, counts.tolist()))} |", flush=True)
    print(f"| all | {' | '.join(map(str, total.tolist()))} |")


if __name__ == "__main__":
    main()

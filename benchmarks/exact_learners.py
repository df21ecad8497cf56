"""k*(n) and regret of exact learners on the world of ``sweeps/exact_world.yaml``, beside the networks of its table.

Least-squares factors shared by all actions, without gradient descent: what a learner that minimises its empirical risk
would do with the same n and k.

    python benchmarks/exact_learners.py
    python benchmarks/exact_learners.py --sweep quickstart --csv benchmarks/tables/quickstart_exact.csv
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from jepa_scale.laws.fit import fit
from jepa_scale.records import RunTable
from jepa_scale.runs.build import build_context
from jepa_scale.runs.config import compose
from jepa_scale.runs.instantiate import build_law
from jepa_scale.studies.specification.spec import find_sweep, read_spec
from jepa_scale.theory.learners import fit_shared
from jepa_scale.theory.learning_curve import LearningCurve, best_regret_width, learning_curve

TARGETS = ("risk", "regret")
TABLE = Path(__file__).parent / "tables" / "exact_world.parquet"
WORLD = ("world=nuisance", "world.hidden.side=6", "world.hidden.slip=0.92", "objective.negatives=pooled")


def as_runs(curve: LearningCurve, table: dict[str, np.ndarray]) -> RunTable:
    """Every data set of the exact learners as a run, with tails and floors of the networks' table."""
    rows = []
    for row, n in enumerate(curve.sizes):
        for seed in range(curve.datasets):
            for column, k in enumerate(curve.widths):
                tail = table["tail"][table["k"] == k][0]
                found = (curve.risks[row, seed, column], curve.regrets[row, seed, column])
                rows.append((n, k, seed, *found, tail, table["regret_random"][0]))
    names = ("n", "k", "seed", "risk", "regret", "tail", "regret_random")
    columns = dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
    return RunTable({**columns, "status": np.full(len(rows), "finished"), "reason": np.full(len(rows), "")})


def exponents(name: str, runs: RunTable) -> None:
    for target in TARGETS:
        for law in ("theory_free", "nested"):
            fitted = fit(build_law(law), runs, target)
            found = [
                f"{one.name} = {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
                for one in fitted.parameters
                if one.name in ("g", "p", "q")
            ]
            shown = ", ".join(found) if fitted.status == "converged" else fitted.reason
            print(f"{name:15s} {target:6s} {law:11s} {shown}")


def curve_of(sweep: str, datasets: int) -> LearningCurve:
    """Exact learners on the world of a study, at its sizes and widths."""
    spec = read_spec(find_sweep(sweep))
    context = build_context(compose(list(spec.overrides)))
    sizes, widths = list(spec.dials["data.n"].values), list(spec.dials["model.k"].values)
    world, problem = context.world.finite, context.planner.problem
    return learning_curve(world, problem, sizes, widths, datasets, np.random.default_rng(0), fit_shared)


def write(curve: LearningCurve, path: Path) -> None:
    """Write the regret of every data set, n and k."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["n", "k", "dataset", "regret"])
        for row, n in enumerate(curve.sizes):
            for column, k in enumerate(curve.widths):
                for dataset in range(curve.datasets):
                    rows.writerow([n, k, dataset, f"{curve.regrets[row, dataset, column]:.6f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=int, default=5)
    parser.add_argument("--sweep", help="a shipped study, of whose world --csv writes a table")
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    if given.sweep and given.csv:
        write(curve_of(given.sweep, given.datasets), given.csv)
        return
    context = build_context(compose([*WORLD, "planner.score=density"]))
    world, problem = context.world.finite, context.planner.problem
    table = {name: np.array(column) for name, column in pq.read_table(TABLE).to_pydict().items()}
    sizes, widths = np.unique(table["n"]).tolist(), np.unique(table["k"]).tolist()
    curve = learning_curve(world, problem, sizes, widths, given.datasets, np.random.default_rng(0), fit_shared)
    best = best_regret_width(curve, np.random.default_rng(0))
    print(f"exact learners, {given.datasets} data sets; regret of networks (mean over seeds) in parentheses")
    print("n \\ k".rjust(8), *(f"{k:>16d}" for k in widths), "   k* (95 %)   k* of networks")
    for row, n in enumerate(sizes):
        trained = [table["regret"][(table["n"] == n) & (table["k"] == k)].mean() for k in widths]
        cells = [f"{curve.regret[row, i]:.4f} ({trained[i]:.4f})".rjust(16) for i in range(len(widths))]
        star = f"{best.width[row]} ({best.low[row]}–{best.high[row]})"
        print(f"{n:8d}", *cells, f"   {star:>11s}   {widths[int(np.argmin(trained))]}")
    exponents("exact learners", as_runs(curve, table))
    exponents("networks", RunTable(table))


if __name__ == "__main__":
    main()

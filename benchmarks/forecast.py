"""Forecasts of every larger size from the smaller ones, held against what came: a row for each study and forecaster.

Every cut point of a table with at least three sizes below it and one above: a forecaster sees the cells up to there and
forecasts every larger cell of a width that it saw. Scores are means over cells, in units of the regret of random plans;
`of simple` is the CRPS over that of the better of `no_change` and `power_law` on the same study.

    python benchmarks/forecast.py                                    # every table in benchmarks/tables
    python benchmarks/forecast.py my.parquet other.parquet --forecasters trend stack
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.forecasters.base import Forecaster, Seen
from jepa_scale.laws.scores import Scores, score
from jepa_scale.records import RunTable
from jepa_scale.runs.config import conf_dir
from jepa_scale.runs.instantiate import instantiate

LEAST_SIZES = 3
SIMPLE = ("no_change", "power_law")


def studies(paths: Sequence[Path]) -> Iterator[tuple[str, RunTable]]:
    """Every study of the tables; an arm is a study of its own."""
    for path in paths:
        table = RunTable(_columns(path))
        for arm in np.unique(table["arm"]) if "arm" in table.columns else [""]:
            chosen = table.where(table["arm"] == arm) if "arm" in table.columns else table
            if len(np.unique(chosen["n"])) > LEAST_SIZES:
                yield f"{path.stem} {arm}".strip(), chosen


def _columns(path: Path) -> dict:
    table = pq.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def forecasters(names: Sequence[str]) -> dict[str, Forecaster]:
    """Leaves of conf/forecaster by name."""
    leaves = {path.stem: path for path in sorted((conf_dir() / "forecaster").glob("*.yaml"))}
    unknown = sorted(set(names) - set(leaves))
    if unknown:
        raise SystemExit(f"--forecasters: expected some of {', '.join(leaves)}, got {unknown[0]}; tables come first")
    chosen = [*SIMPLE, *(name for name in names or leaves if name not in SIMPLE)]
    return {name: instantiate(f"forecaster.{name}", yaml.safe_load(leaves[name].read_text())) for name in chosen}


def cuts_of(table: RunTable) -> Iterator[tuple[Seen, Seen, RunTable]]:
    """What is seen at each cut with enough sizes below, the cells ahead of the widths seen, and the table seen."""
    whole = Seen.of(cells_from_table(table, "regret", np.inf))
    for cut in np.unique(whole.n)[LEAST_SIZES - 1 : -1]:
        # The noise, too, is that of the cells seen.
        below = table.where(table["n"] <= cut)
        cells = cells_from_table(below, "regret", np.inf)
        seen = dataclasses.replace(Seen.of(cells), mean=cells.mean / whole.ceiling, ceiling=whole.ceiling)
        yield seen, whole.where((whole.n > cut) & np.isin(whole.k, seen.k)), below


def scored(study: str, table: RunTable, forecaster: Forecaster, draws: int) -> Scores:
    """Scores of every cell beyond every cut; a stack does not know the study from its library."""
    forecaster = forecaster.forgetting(study)
    parts = []
    for seen, ahead, _ in cuts_of(table):
        generator = np.random.default_rng([20_260, int(seen.n.max())])
        drawn = forecaster.fit(seen).draws(ahead.n, ahead.k, draws, generator)
        noisy = drawn + seen.deviation(drawn, ahead.seeds) * generator.standard_normal(drawn.shape)
        parts.append(score(np.maximum(noisy, 0.0), ahead.mean))
    joined = {
        part.name: np.concatenate([getattr(one, part.name) for one in parts]) for part in dataclasses.fields(Scores)
    }
    return Scores(**joined)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path, help="tables of studies (default: benchmarks/tables)")
    parser.add_argument("--forecasters", nargs="+", default=[], help="leaves of conf/forecaster (default: all)")
    parser.add_argument("--draws", type=int, default=1000)
    given = parser.parse_args()
    paths = given.tables or sorted((Path(__file__).parent / "tables").glob("*.parquet"))
    print("| study | cells | forecaster | CRPS | of simple | 90 % covered | width | interval score | −log density |")
    print("|---|---|---|---|---|---|---|---|---|")
    relative: dict[str, list[tuple[float, ...]]] = {}
    for study, table in studies(paths):
        found = {name: scored(study, table, one, given.draws) for name, one in forecasters(given.forecasters).items()}
        simple = min(float(found[name].crps.mean()) for name in SIMPLE)
        for name, one in found.items():
            ratio = float(one.crps.mean()) / simple
            numbers = [float(values.mean()) for values in (one.crps, one.covered, one.width, one.interval, one.log)]
            relative.setdefault(name, []).append((ratio, *numbers))
            first, *others = (f"{value:.3f}" for value in numbers)
            print(f"| {study} | {len(one.crps)} | {name} | {first} | {ratio:.2f} | {' | '.join(others)} |", flush=True)
    for name, rows in relative.items():
        ratios, *columns = np.array(rows).T
        first, *others = (f"{column.mean():.3f}" for column in columns)
        middle = np.exp(np.mean(np.log(ratios)))
        kind = f"geometric mean, largest of {len(rows)}; else means"
        print(f"| {kind} | | {name} | {first} | {middle:.2f}, {ratios.max():.2f} | {' | '.join(others)} |")


if __name__ == "__main__":
    main()

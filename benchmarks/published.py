"""Score the calibrated forecasts of ``fit`` on tables of published runs: the larger runs from the smaller ones.

Each table is a CSV with a target column and the columns of the law; from the smaller 50, 75 and 90 % of its runs by
scale the others are forecast. Shown by table, means over the splits: coverage of plain and of calibrated intervals,
median width and mean error of the calibrated ones in % of the target, and interval score over that of the plain ones.

    python benchmarks/published.py chinchilla.csv farseer.csv --columns N=params D=tokens loss=final_loss
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from jepa_scale.laws.backtest import WIDEST
from jepa_scale.laws.fit import fit_table
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import HuberLog
from jepa_scale.laws.predictive import Band
from jepa_scale.laws.table import backtest_table, default_scale, forecast_table
from jepa_scale.studies.external import pairs
from jepa_scale.studies.tables.columns import Columns
from jepa_scale.studies.tables.reading import read_tables

SHARES, LEVEL = (0.5, 0.75, 0.9), 0.9


def score(band: Band, seen: np.ndarray) -> tuple[float, float, float, float]:
    """Coverage, median width, mean error and mean interval score, all but the first of ln of the target."""
    low, high, y = np.log(band.low), np.log(band.high), np.log(seen)
    missed = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    covered = float(((seen >= band.low) & (seen <= band.high)).mean())
    error = float((np.log(band.predicted) - y).mean())
    return covered, float(np.median(high - low)), error, float((high - low + 2 / (1 - LEVEL) * missed).mean())


def splits(law: Law, columns: dict[str, np.ndarray], run: np.ndarray | None) -> np.ndarray:
    """Scores of the plain and the calibrated forecasts of each split: (splits, 2, 4)."""
    scale, loss, found = default_scale(law, columns), HuberLog(1e-3), []
    for share in SHARES:
        inside = scale <= np.quantile(scale, share, method="lower")
        small, large = ({key: values[part] for key, values in columns.items()} for part in (inside, ~inside))
        cluster = None if run is None else run[inside]
        fitted = fit_table(law, small, loss, cluster=cluster, draws=200)
        if fitted.status != "converged" or inside.all():
            continue
        track = backtest_table(law, small, scale[inside], loss, cluster=cluster)
        seen = forecast_table(law, fitted, track, large, scale[inside], scale[~inside], True, columns=small)
        wider = (seen.calibrated.high - seen.calibrated.low) / (seen.plain.high - seen.plain.low)
        assert (wider <= WIDEST * 1.5).all(), "in logarithms no interval is more than five times as wide"
        found.append([score(band, large[law.target]) for band in (seen.plain, seen.calibrated)])
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--law", default="loss = E + A N^-alpha + B D^-beta")
    parser.add_argument("--columns", nargs="+", default=[])
    parser.add_argument("--cluster", help="column of the run that rows belong to")
    given = parser.parse_args()
    law = Law("law", given.law)
    names = pairs("--columns", given.columns, "N=params")
    print(f"{'table':24} {'rows':>5} {'plain':>6} {'calib.':>6} {'width':>7} {'error':>7} {'score':>6}")
    every = []
    for path in given.tables:
        raw = Columns(read_tables([path]), names)
        columns = {name: raw.numbers(name) for name in (*law.columns, law.target)}
        usable = np.all([np.isfinite(values) & (values > 0) for values in columns.values()], axis=0)
        run = None
        if given.cluster is not None and raw.has(given.cluster):
            run = np.unique(raw.texts(given.cluster), return_inverse=True)[1][usable]
        found = splits(law, {name: values[usable] for name, values in columns.items()}, run)
        if not len(found):
            print(f"{path.stem:24} {int(usable.sum()):5} not fitted")
            continue
        every.append(found)
        line(path.stem, int(usable.sum()), found)
    if len(every) > 1:
        line("all", sum(len(found) for found in every), np.concatenate(every))


def line(name: str, rows: int, found: np.ndarray) -> None:
    """Print the means over splits."""
    plain, calibrated = found[:, 0], found[:, 1]
    ratio = float(np.exp(np.log(calibrated[:, 3] / plain[:, 3]).mean()))
    print(
        f"{name:24} {rows:5} {plain[:, 0].mean():6.2f} {calibrated[:, 0].mean():6.2f} "
        f"{np.median(calibrated[:, 1]):7.2%} {calibrated[:, 2].mean():+7.2%} {ratio:6.2f}"
    )


if __name__ == "__main__":
    main()

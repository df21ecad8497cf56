"""What a model's offline numbers tell of its success: rank correlations over the runs of small studies.

    python benchmarks/offline.py                          # from benchmarks/tables/offline.csv
    python benchmarks/offline.py STUDY [STUDY …]          # from folders of studies, whose runs are written there first

The studies are ``sweeps/library/offline_*.yaml``. Intervals: 90 %, bootstrap over cells (n, k), seeds together.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

TABLE = Path(__file__).parent / "tables" / "offline.csv"
NUMBERS = ("prediction", "prediction_encoder", "hindsight", "loss", "total", "subspace_deficit")
COLUMNS = ("study", "n", "k", "seed", "success", *NUMBERS)
DRAWS = 2000


def collect(folders: list[Path]) -> None:
    """Write the runs of studies into the table."""
    import pyarrow.parquet as pq

    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for folder in folders:
            for row in pq.read_table(folder / "table.parquet").to_pylist():
                values = [row[name] for name in COLUMNS[1:]]
                shown = [f"{value:.6g}" if isinstance(value, float) else value for value in values]
                writer.writerow([folder.name.removeprefix("offline_"), *shown])


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's correlation; NaN if one of them is constant."""
    ranks = rankdata(first), rankdata(second)
    return float("nan") if min(np.ptp(one) for one in ranks) == 0 else float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    """Print a row for each study and number."""
    if len(sys.argv) > 1:
        collect([Path(argument) for argument in sys.argv[1:]])
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    print(f"{'study':12s} {'runs':>4s} {'success':>12s}  " + "  ".join(f"{name:>22s}" for name in NUMBERS))
    for study in dict.fromkeys(row["study"] for row in rows):
        mine = [row for row in rows if row["study"] == study]
        success = np.array([float(row["success"]) for row in mine])
        cell = np.unique([f"{row['n']}/{row['k']}" for row in mine], return_inverse=True)[1]
        shown = []
        for name in NUMBERS:
            values = np.array([float(row[name]) for row in mine])
            generator, draws = np.random.default_rng(0), []
            for _ in range(DRAWS):
                picked = generator.integers(cell.max() + 1, size=cell.max() + 1)
                index = np.concatenate([np.flatnonzero(cell == one) for one in picked])
                draws.append(correlation(values[index], success[index]))
            low, high = np.nanquantile(draws, [0.05, 0.95])
            shown.append(f"{correlation(values, success):+.2f} [{low:+.2f}, {high:+.2f}]")
        ends = f"{success.min():.2f} … {success.max():.2f}"
        print(f"{study:12s} {len(mine):4d} {ends:>12s}  " + "  ".join(f"{text:>22s}" for text in shown))


if __name__ == "__main__":
    main()

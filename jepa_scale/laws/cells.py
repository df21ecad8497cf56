"""Cells: the runs of a study grouped by their dials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jepa_scale.records import RunTable
from jepa_scale.shapes import Float64, Int64

SATURATED = 0.9
"""Share of the regret of random plans from which a cell says how the scale ends."""

TARGETS = ("risk", "regret")


@dataclass(frozen=True)
class Cells:
    """The runs of one target grouped by n, k and the other dials, one entry per cell, sorted in that order."""

    target: str
    k: Float64[np.ndarray, " cells"]
    n: Float64[np.ndarray, " cells"]
    mean: Float64[np.ndarray, " cells"]
    """Mean of the target over seeds."""
    sd: Float64[np.ndarray, " cells"]
    """Standard deviation over seeds (ddof 1); NaN for one seed."""
    seeds: Int64[np.ndarray, " cells"]
    """Number of finished runs of each cell."""
    tail: Float64[np.ndarray, " cells"]
    """Σ_{i>k} σ_i², mean over actions: a property of the world; NaN where the world is not exact."""
    ceiling: Float64[np.ndarray, " cells"]
    """Regret of random plans; NaN if unknown."""
    values: tuple[Float64[np.ndarray, " _"], ...]
    """The target of each run, by cell."""
    seed_labels: tuple[Int64[np.ndarray, " _"], ...]
    """The seed of each run, in the order of ``values``: runs with one seed share data order and initialisation."""
    excluded: tuple[str, ...]
    """One sentence for each cell or run that was left out."""
    dials: Mapping[str, Float64[np.ndarray, " cells"]] = field(default_factory=dict)
    """Values of the dials other than n and k, by name."""
    others: Mapping[str, Float64[np.ndarray, " cells"]] = field(default_factory=dict)
    """Mean of every other numeric column, NaN if no run of the cell has a value."""

    def __len__(self) -> int:
        return len(self.k)

    @property
    def runs(self) -> int:
        """Number of finished runs in all cells."""
        return int(self.seeds.sum())

    @property
    def columns(self) -> dict[str, Float64[np.ndarray, " cells"]]:
        """Columns that a law can read, by their names in formulas."""
        return {
            **self.others,
            **self.dials,
            "k": self.k,
            "n": self.n,
            "tail": self.tail,
            "regret_random": self.ceiling,
            self.target: self.mean,
        }


def cells_from_table(table: RunTable, target: str, saturation: float = SATURATED) -> Cells:
    """Group the finished runs with a finite ``target`` by n, k and the other dials of the table.

    Regret cannot exceed what random plans reach, so a cell near that level says how the scale ends, not how the law
    bends: kept in a fit, saturated cells pull p and q of the theory-shaped law towards 0. A cell is left out if
    its mean regret is at least ``saturation`` × mean ``regret_random`` of its runs; cells without a finite
    ``regret_random`` are kept. ``saturation=inf`` keeps every cell; risk has no ceiling and is never left out.

    Raises
    ------
    ValueError
        If ``target`` is no column of numbers, a dial is no number, or ``saturation`` is not positive.
    """
    check_target(table, target)
    if not saturation > 0:
        raise ValueError(f"expected a positive saturation (a share of regret_random), got {saturation=}")
    k, n = table["k"].astype(float), table["n"].astype(float)
    value, tail = table[target].astype(float), table["tail"].astype(float)
    ceiling = table["regret_random"].astype(float)
    usable = (table["status"] == "finished") & np.isfinite(value)
    excluded = [_why_unusable(table, int(row), target) for row in np.flatnonzero(~usable)]
    groups = []
    dials = [n, k, *(table[name].astype(float) for name in table.dials)]
    for cell in sorted(set(zip(*(column[usable] for column in dials), strict=True))):
        rows = np.flatnonzero(usable & np.all([column == value for column, value in zip(dials, cell, strict=True)], 0))
        cell_n, cell_k = cell[:2]
        random = finite_mean(ceiling[rows])
        mean = value[rows].mean()
        if target == "regret" and mean >= saturation * random:
            excluded.append(
                f"k={cell_k:.0f}, n={cell_n:.0f}: mean regret {mean:.2g} is {mean / random:.0%} of the random floor "
                f"{random:.2g} (saturated)".replace("%", " %")
            )
        else:
            groups.append(rows)
    return Cells(
        target=target,
        k=np.array([k[rows[0]] for rows in groups]),
        n=np.array([n[rows[0]] for rows in groups]),
        mean=np.array([value[rows].mean() for rows in groups]),
        sd=np.array([value[rows].std(ddof=1) if len(rows) > 1 else np.nan for rows in groups]),
        seeds=np.array([len(rows) for rows in groups], dtype=np.int64),
        tail=np.array([finite_mean(tail[rows]) for rows in groups]),
        ceiling=np.array([finite_mean(ceiling[rows]) for rows in groups]),
        values=tuple(value[rows] for rows in groups),
        seed_labels=tuple(table["seed"][rows].astype(np.int64) for rows in groups),
        excluded=tuple(excluded),
        dials={name: np.array([float(table[name][rows[0]]) for rows in groups]) for name in table.dials},
        others=_means(table, groups, {"n", "k", "seed", "tail", "regret_random", target, *table.dials}),
    )


def _means(table: RunTable, groups: Sequence[np.ndarray], without: set[str]) -> dict[str, np.ndarray]:
    """Return the mean of the finite entries of every numeric column, by group of rows."""
    label = np.full(len(table), -1)
    for index, rows in enumerate(groups):
        label[rows] = index
    inside = label >= 0
    means = {}
    for name, column in table.columns.items():
        if name in without or column.dtype.kind not in "if":
            continue
        known = inside & np.isfinite(column)
        counts = np.bincount(label[known], minlength=len(groups))
        sums = np.bincount(label[known], weights=column[known], minlength=len(groups))
        means[name] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means


def check_target(table: RunTable, target: str) -> None:
    """Refuse a target that is no numeric column.

    Raises
    ------
    ValueError
        If ``target`` is no column of numbers.
    """
    if target not in table.columns or table[target].dtype.kind not in "if":
        numbers = [name for name, column in table.columns.items() if column.dtype.kind in "if"]
        raise ValueError(f"expected a target among {', '.join(numbers)}, got {target!r}")


def finite_mean(values: Float64[np.ndarray, " rows"]) -> float:
    """Return the mean of the finite entries; NaN if there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _why_unusable(table: RunTable, row: int, target: str) -> str:
    where = f"k={int(table['k'][row])}, n={int(table['n'][row])}, seed={int(table['seed'][row])}"
    if table["status"][row] != "finished":
        return f"{where}: {table['status'][row]}: {table['reason'][row]}"
    return f"{where}: finished without a finite {target}"

"""Cell means of a run table with their standard errors, and where the best width lies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.u_turn import SIGNIFICANCE, UTurn, established_u_turns, u_turn
from jepa_scale.records import RunRecord, RunTable, StudyResult

Place = Literal["interior", "lowest", "highest", "plateau", "single"]
"""Location of the best width: inside the grid, at its lowest or highest k, on a stretch of equal means that reaches the
highest k, or nowhere because the row has one k."""

ZERO = 1e-12
"""Rounding error of sums over a finite world: values that differ by less are equal, smaller ones are 0."""

BEYOND_CHANCE = f"beyond chance ({100 * SIGNIFICANCE:g} % for the whole grid)"
"""Phrase for a width inside the grid that is significantly better than both ends."""

DECISIVE = 2.0
"""Number of standard errors from which a difference is called established."""


@dataclass(frozen=True)
class Cell:
    """The finished runs of one (n, k)."""

    n: int
    k: int
    mean: float
    """Mean over seeds."""
    standard_error: float | None
    """s/√m over seeds, s with ddof 1; None for one seed."""
    seeds: int

    @property
    def upper(self) -> float:
        """The mean and as many standard errors as decide; the mean itself where there is one seed."""
        return self.mean + DECISIVE * (self.standard_error or 0.0)


@dataclass(frozen=True)
class Difference:
    """The mean of one cell minus that of another."""

    value: float
    standard_error: float | None
    """Welch's standard error √(SE₁² + SE₂²); None if either cell has one seed."""

    @classmethod
    def of(cls, minuend: Cell, subtrahend: Cell) -> Difference:
        """Return the difference of the means of two cells."""
        if minuend.standard_error is None or subtrahend.standard_error is None:
            return cls(minuend.mean - subtrahend.mean, None)
        return cls(minuend.mean - subtrahend.mean, math.hypot(minuend.standard_error, subtrahend.standard_error))

    @property
    def in_standard_errors(self) -> float | None:
        """Size in standard errors; infinite if the seeds do not differ at all, None if the error is unknown."""
        if self.standard_error is None:
            return None
        if self.standard_error < ZERO:
            return 0.0 if abs(self.value) < ZERO else math.inf
        return self.value / self.standard_error

    @property
    def decisive(self) -> bool:
        """Whether the difference is at least ``DECISIVE`` standard errors."""
        size = self.in_standard_errors
        return size is not None and size >= DECISIVE


@dataclass(frozen=True)
class Optimum:
    """The best width at one n."""

    best: Cell
    """Cell of the lowest mean; the one of smallest k if several share it."""
    ends: tuple[int, int]
    """Smallest and largest k of the row."""
    place: Place
    shared_by: tuple[int, ...]
    """Every k with the lowest mean, ``best`` included."""
    below: Difference | None
    """Smallest k minus best; None if the best is the smallest k."""
    above: Difference | None
    """Largest k minus best; None if the best is the largest k."""
    indistinguishable: tuple[int, ...]
    """Every other k whose mean is less than ``DECISIVE`` standard errors above the best; empty without replicates."""

    established: bool
    """Whether both ends are worse than a width inside the grid beyond chance, see ``laws.u_turn.established_u_turns``:
    the one test of that claim."""


def cells(table: RunTable, target: str) -> dict[tuple[int, int], Cell]:
    """Return the cells of the finished runs with a finite ``target``, by (n, k), sorted by n, then k."""
    if len(table) == 0:
        return {}
    values = table[target].astype(float)
    usable = (table["status"] == "finished") & np.isfinite(values)
    grouped = {}
    for n, k in sorted({(int(n), int(k)) for n, k in zip(table["n"][usable], table["k"][usable], strict=True)}):
        mean = mean_of(values[usable & (table["n"] == n) & (table["k"] == k)])
        assert mean is not None
        grouped[n, k] = Cell(n, k, mean.value, mean.standard_error, mean.seeds)
    return grouped


@dataclass(frozen=True)
class Mean:
    """Mean over the seeds of a cell with its standard error."""

    value: float
    standard_error: float | None
    """s/√m over seeds, s with ddof 1; None for one seed."""
    seeds: int


def mean_of(values: Sequence[float] | np.ndarray) -> Mean | None:
    """Return the mean of the finite values with its standard error; None if there are none."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return None
    error = float(finite.std(ddof=1) / math.sqrt(len(finite))) if len(finite) > 1 else None
    return Mean(float(finite.mean()), error, len(finite))


def rows_by_n(grouped: dict[tuple[int, int], Cell]) -> dict[int, list[Cell]]:
    """Return the cells of each n, sorted by k."""
    rows: dict[int, list[Cell]] = {}
    for cell in grouped.values():
        rows.setdefault(cell.n, []).append(cell)
    return rows


def optima(table: RunTable, target: str) -> dict[int, Optimum]:
    """Return the best width at each n; see ``laws.u_turn``."""
    if len(table) == 0:
        return {}
    rows = rows_by_n(cells(table, target))
    established = established_u_turns(cells_from_table(table, target, math.inf))
    return {turn.n: _optimum(turn, rows[turn.n], turn.n in established) for turn in u_turn(table, target)}


def _optimum(turn: UTurn, row: list[Cell], established: bool) -> Optimum:
    lowest = min(cell.mean for cell in row)
    # Rounding must not decide between two widths that both plan perfectly: the smaller one counts.
    equal = [cell for cell in row if cell.mean <= lowest + ZERO]
    best, sharing = equal[0], tuple(cell.k for cell in equal)
    above = {cell.k: Difference.of(cell, best).in_standard_errors for cell in row if cell.k not in sharing}
    return Optimum(
        best=best,
        ends=(row[0].k, row[-1].k),
        place=_place(turn, sharing, row),
        shared_by=sharing,
        below=None if best is row[0] else Difference.of(row[0], best),
        above=None if best is row[-1] else Difference.of(row[-1], best),
        indistinguishable=tuple(k for k, size in above.items() if size is not None and size < DECISIVE),
        established=established,
    )


def _place(turn: UTurn, sharing: tuple[int, ...], row: list[Cell]) -> Place:
    if len(row) == 1:
        return "single"
    if sharing[-1] == row[-1].k:
        return "highest" if len(sharing) == 1 else "plateau"
    return "interior" if turn.interior else "lowest"


def level(table: RunTable, column: str) -> float | None:
    """Return the mean of the finite entries of a column that describes the world; None if there are none."""
    values = np.asarray(table[column], dtype=float)
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def subject(result: StudyResult) -> str:
    """Return the column that a study's answer is about: the regret, or its target where nothing was planned."""
    planned = np.isfinite(np.asarray(result.table["regret"], dtype=float)).any() if len(result.table) else True
    return "regret" if planned or not result.target.advised else result.target.column


def by_width(table: RunTable, column: str) -> dict[int, float]:
    """Return a property of the world by k; widths without a finite value are left out."""
    widths = np.asarray(table["k"], dtype=int)
    levels = {int(k): level(table.where(widths == k), column) for k in np.unique(widths)}
    return {k: value for k, value in levels.items() if value is not None}


def sizes(table: RunTable) -> list[int]:
    """Return every n of the table, sorted, including runs that did not finish."""
    return sorted({int(n) for n in table["n"]})


def widths(table: RunTable) -> list[int]:
    """Return every k of the table, sorted, including runs that did not finish."""
    return sorted({int(k) for k in table["k"]})


def finished(result: StudyResult) -> Iterator[tuple[int, RunRecord]]:
    """Yield row number and record of every finished run that has a record, in the order of the table."""
    for row in range(len(result.table)):
        record = result.records.get(str(result.table["run_id"][row]))
        if record is not None and result.table["status"][row] == "finished":
            yield row, record


def lacking(result: StudyResult) -> list[int]:
    """Return the runs of ``result.runs`` that did not finish."""
    return np.flatnonzero(result.runs["status"] != "finished").tolist()

"""Several rows of one run: copies, and rows of its log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from jepa_scale.laws.copies import first_rows
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.columns import Columns, NotNumbers
from jepa_scale.studies.tables.names import candidates
from jepa_scale.studies.tables.table import FILE

PerRun = Literal["last", "best", "all"]
"""Row of a run that is used: the last step, the lowest target, or each."""

PER_RUN: tuple[PerRun, ...] = get_args(PerRun)
_RUNS, _STEPS = ("run_id", "run", "run_name", "id", "name"), ("_step", "step", "steps", "global_step", "epoch")
"""Names of columns that tell runs and their moments apart."""


def rows_to_keep(
    columns: Columns, cells: Mapping[str, np.ndarray], target: tuple[str, np.ndarray], rows: np.ndarray, per_run: PerRun
) -> tuple[np.ndarray, list[str]]:
    """Return which of ``rows`` to keep, and remarks on the others.

    Parameters
    ----------
    cells
        What the configuration of a run is, such as n and k: a name that several share is none of a run.
    target
        Name and values.
    rows
        Rows to look at, as booleans.

    Raises
    ------
    UserError
        If runs have several rows and nothing says which is the last.
    """
    name, values = target
    places = np.flatnonzero(rows).tolist()
    configuration = list(zip(*(column.tolist() for column in cells.values()), strict=True))
    runs = _runs(columns, configuration, values, places)
    seeds = _seeds(columns) if "seed" not in cells else None
    if seeds is None and runs is None:
        return rows, _alike(cells, name, [(*configuration[place], float(values[place])) for place in places])
    key = {
        place: (runs[place] if runs else "", configuration[place], seeds[place] if seeds else "") for place in places
    }
    if len(set(key.values())) == len(places):
        return rows, []
    steps = _steps(columns, cells)
    step = None if steps is None else steps.tolist()
    first = first_rows((key[place], float(values[place]), step and step[place]) for place in places)
    kept, remarks = [places[index] for index in first], []
    if len(kept) < len(places):
        alike = [*(["run"] if runs else []), *cells, *(["seed"] if seeds else [])]
        count = len(places) - len(kept)
        remarks = [f"rows left out, copies of another row ({', '.join(alike)} and {name} alike): {count}"]
    if runs is None and steps is None:
        # Settings that the table does not name as such may differ between these rows.
        return np.isin(np.arange(len(rows)), kept), remarks
    chosen, several = _one_each(columns, key, values, steps, kept, per_run, name)
    return np.isin(np.arange(len(rows)), chosen), [*remarks, *several]


def _alike(cells: Mapping[str, np.ndarray], name: str, rows: list[tuple[float, ...]]) -> list[str]:
    """Return a remark on rows that are alike where nothing tells runs apart; zeros are measured often."""
    counted = [row for row in rows if row[-1] != 0]
    copies = len(counted) - len(first_rows(counted))
    if not copies:
        return []
    return [
        f"rows like another ({', '.join(cells)} and {name} alike) are used as runs of their own, as there is no column "
        f"run or seed: {copies}"
    ]


def _one_each(
    columns: Columns,
    key: Mapping[int, object],
    values: np.ndarray,
    steps: np.ndarray | None,
    places: list[int],
    per_run: PerRun,
    name: str,
) -> tuple[list[int], list[str]]:
    """Return one row of each run, and a remark on the others."""
    count = len({key[place] for place in places})
    if count == len(places):
        return places, []
    if per_run == "all":
        return places, [f"rows used as runs of their own, of {count} runs with several: {len(places)} (--per-run all)"]
    if per_run == "best":
        order = sorted(places, key=lambda place: (not np.isfinite(values[place]), values[place]), reverse=True)
        why = f"a lower {name} in another row"
    elif steps is not None:
        order = sorted(places, key=lambda place: (np.isfinite(steps[place]), steps[place]))
        why = "a later one"
    else:
        raise UserError(
            f"{columns.table.source}: expected one row for each run, got runs with several rows and different {name}s: "
            "keep the last row of each, add a column step that says which it is, or give --per-run best or all"
        )
    chosen = sorted({key[place]: place for place in order}.values())
    return chosen, [f"rows left out, of a run that has {why}: {len(places) - len(chosen)}"]


def _runs(
    columns: Columns, configuration: list[tuple[float, ...]], values: np.ndarray, places: list[int]
) -> list[str] | None:
    """Return the run of every row; None if no column tells."""
    plain = {column.strip().lower(): column for column in columns.table.columns}
    common = [*_RUNS, *([FILE] if _step(columns, {}) else [])]
    found = next((plain[name] for name in common if name in plain), None)
    if "run" in columns.names:
        found = columns.source("run")
    if found is None:
        return None
    runs = ["" if cell is None else str(cell).strip() for cell in columns.table.columns[found]]
    if len({(runs[place], configuration[place]) for place in places}) != len({runs[place] for place in places}):
        return None  # a name that several configurations share is none of a run
    if all(candidates(name, columns.table.columns) for name in ("state", "created", "runtime")):
        # Each row of W&B's table is a run, and several runs may have one name.
        runs = [f"{run} {value!r}" for run, value in zip(runs, values.tolist(), strict=True)]
    return runs


def _seeds(columns: Columns) -> list[str] | None:
    if not columns.has("seed"):
        return None
    return list(map(repr, columns.numbers("seed").tolist())) if "seed" in columns.names else columns.texts("seed")


def _steps(columns: Columns, cells: Mapping[str, np.ndarray]) -> np.ndarray | None:
    step = _step(columns, cells)
    if step is None:
        return None
    try:
        return columns.column(step)
    except NotNumbers as error:
        raise UserError(f"{columns.table.source}: expected numbers in the column of steps: {error}") from None


def _step(columns: Columns, cells: Mapping[str, np.ndarray]) -> str | None:
    """Return the column of steps, which is none of the configuration."""
    if "step" in columns.names:
        return columns.source("step")
    found = (candidates(name, columns.table.columns) for name in _STEPS)
    return next((names[0] for names in found if len(names) == 1 and names[0] not in cells), None)

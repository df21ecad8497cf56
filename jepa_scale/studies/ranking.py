"""Diagnostics of a table of checkpoints, ranked by how they go with success."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.ranking import Ranked, rank_diagnostics
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.columns import Columns, NotNumbers
from jepa_scale.studies.tables.reading import Source, read_tables
from jepa_scale.studies.tables.states import of_finished

_NO_DIAGNOSTICS = frozenset({"seed", "run", "run_id", "name", "id", "file"})


@dataclass(frozen=True)
class Ranking:
    """Ranked diagnostics of a table."""

    source: str
    target: str
    cluster: str
    """Column whose values are the independent groups; empty: every row is one."""
    ranked: tuple[Ranked, ...]
    remarks: tuple[str, ...]


def rank_table(
    source: Source,
    target: str,
    cluster: str | None = None,
    diagnostics: Sequence[str] = (),
    *,
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> Ranking:
    """Rank the columns of a table of checkpoints; by default all columns of numbers that vary.

    Raises
    ------
    UserError
        If a column does not exist or is not of numbers, or too few rows have a target.
    """
    if not 0.5 < level < 1 or draws < 100:
        raise UserError(f"expected a level inside (0.5, 1) and draws ≥ 100, got {level:g} and {draws}")
    raw, remarks = of_finished(read_tables(source), {})
    columns = Columns(raw, {})
    goal = columns.numbers(target)
    named = columns.source(target)
    grouped = None if cluster is None else np.array([str(value) for value in raw.columns[columns.source(cluster)]])
    skipped = {named, *([columns.source(cluster)] if cluster is not None else [])}
    values = {}
    if diagnostics:
        values = {name: columns.numbers(name) for name in dict.fromkeys(diagnostics)}
    else:
        for name in raw.columns:
            if name in skipped or name.lower() in _NO_DIAGNOSTICS:
                continue
            try:
                found = Columns(raw, {}).numbers(name)
            except NotNumbers:
                continue
            if len(np.unique(found[np.isfinite(found)])) > 1:
                values[name] = found
    if not values:
        raise UserError(f"{raw.source}: no column of numbers varies beside {named}: name some with --diagnostics")
    try:
        ranked = rank_diagnostics(values, goal, grouped, level=level, draws=draws, seed=seed)
    except ValueError as error:
        raise UserError(f"{raw.source}: {error}") from None
    return Ranking(raw.source, named, cluster or "", ranked, (*remarks, *columns.remarks))

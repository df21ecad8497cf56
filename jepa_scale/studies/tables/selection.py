"""Rows of a table that hold given values, such as those of one learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jepa_scale.foreign import listed, short
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.names import candidates
from jepa_scale.studies.tables.numbers import is_missing, parse_cells
from jepa_scale.studies.tables.table import Table


def selected(table: Table, conditions: Sequence[str]) -> Table:
    """Return the rows that hold every COLUMN=VALUE of ``conditions``, with a remark on how many these are.

    Numbers are compared as numbers, so that ``rate=1e-3`` finds ``0.001``, and other cells as texts, whatever their
    case.

    Raises
    ------
    UserError
        If a condition has another form or names no column, or no row holds the values.
    """
    for condition in conditions:
        name, equal, wanted = (part.strip() for part in condition.partition("="))
        if not (name and equal and wanted):
            raise UserError(f"--where: expected COLUMN=VALUE, such as rate=0.001, got {short(condition, 80)!r}")
        found = candidates(name, table.columns)
        if len(found) != 1:
            what = f"may be any of the columns {listed(found)}" if found else "is no column"
            have = "" if found else f"; it has {listed(table.columns)}"
            raise UserError(f"--where {short(condition, 80)}: in {table.source} {short(name, 80)!r} {what}{have}")
        values = values_of(table.columns[found[0]])
        (asked,) = values_of([wanted])
        rows = [value == asked for value in values]
        if not any(rows):
            there = listed(map(written, _ordered(values)), 12)
            raise UserError(f"--where {short(condition, 80)}: {table.source} has no such row; {found[0]} is {there}")
        remark = f"rows with {found[0]} = {short(wanted, 80)}, which are used alone: {sum(rows)} of {len(table)}"
        kept = table.kept(rows)
        table = replace(kept, remarks=(*kept.remarks, remark))
    return table


def values_of(cells: Sequence[Any]) -> list[float | str]:
    """Return the number of each cell, else its text in lower case; empty where a value is missing."""
    return [_value(cell) for cell in cells]


def written(value: float | str) -> str:
    """Return a value as a condition writes it."""
    return f"{value:.12g}" if isinstance(value, float) else short(value, 40) or "(empty)"


def _ordered(values: Sequence[float | str]) -> list[float | str]:
    return sorted(set(values), key=lambda value: (isinstance(value, str), value))


def _value(cell: Any) -> float | str:
    if is_missing(cell):
        return ""
    parsed = parse_cells([cell])
    number = float(parsed.values[0])
    # A prefix, as in d=16, is part of the text.
    if isinstance(cell, bool) or parsed.prefix or not math.isfinite(number):
        return "" if isinstance(cell, float) and math.isnan(cell) else str(cell).strip().casefold()
    return number

"""The raw cells of one or several table files, each row with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jepa_scale.studies.tables.names import plain

FILE = "file"
"""Column that names the file of each row, in a table of several files."""


@dataclass(frozen=True)
class Table:
    """Cells by column, as read: texts, numbers or None."""

    source: str
    """File, folder or standard input, as errors name it."""
    columns: Mapping[str, Sequence[Any]]
    """Cells by stripped header; nested objects by dotted key."""
    places: Sequence[str]
    """Place of each row in its file, such as ``line 6``."""
    parts: Sequence[int]
    """Index of each row's file; the files may write numbers differently."""
    delimiters: tuple[str, ...] = ("",)
    """Delimiter of each file; empty for formats without any."""
    remarks: tuple[str, ...] = ()
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Files with several rows and without a column that others have, by column."""

    def __len__(self) -> int:
        return len(self.places)

    def kept(self, rows: Sequence[bool] | np.ndarray) -> Table:
        """Return the table with only the rows that are true."""
        chosen = [index for index, keep in enumerate(rows) if keep]
        return replace(
            self,
            columns={name: [cells[index] for index in chosen] for name, cells in self.columns.items()},
            places=[self.places[index] for index in chosen],
            parts=[self.parts[index] for index in chosen],
        )


def of_rows(source: str, rows: Sequence[Mapping[str, Any]], places: Sequence[str]) -> Table:
    """Return a table of records; a key that a record lacks is an empty cell."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Table(source, {name: [row.get(name) for row in rows] for name in names}, places, [0] * len(rows))


def concatenated(source: str, tables: Sequence[Table], labels: Sequence[str]) -> Table:
    """Return the rows of all tables, with a column ``file`` unless the tables have one."""
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    tables = [_renamed(table, names) for table in tables]
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    columns: dict[str, Sequence[Any]] = {
        name: [cell for table in tables for cell in table.columns.get(name, [None] * len(table))] for name in names
    }
    if FILE not in columns:
        columns[FILE] = [label for table, label in zip(tables, labels, strict=True) for _ in range(len(table))]
    return Table(
        source,
        columns,
        [f"{place} of {table.source}" for table in tables for place in table.places],
        [index for index, table in enumerate(tables) for _ in range(len(table))],
        tuple(table.delimiters[0] for table in tables),
        tuple(remark for table in tables for remark in table.remarks),
        {name: [table.source for table in tables if len(table) > 1 and name not in table.columns] for name in names},
    )


def _renamed(table: Table, names: Sequence[str]) -> Table:
    """Return the table with the first of all names that are alike but for case and spaces."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(plain(name), name)
    renamed = {first[plain(name)]: cells for name, cells in table.columns.items()}
    return replace(table, columns=renamed) if len(renamed) == len(table.columns) else table

"""Parquet tables, with dictionary, list and struct columns."""

from __future__ import annotations

from collections import Counter

from jepa_scale.foreign import listed, reading
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.format import Format
from jepa_scale.studies.tables.nesting import flattened
from jepa_scale.studies.tables.table import Table, of_rows


def read(content: bytes, source: str) -> Table:
    """Read a parquet file; the fields of a struct are columns with dotted names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(source, "a parquet file", pa.ArrowException, refuse=UserError):
        table = pq.read_table(pa.BufferReader(content))
        twice = [name for name, count in Counter(table.column_names).items() if count > 1]
        if twice:
            raise UserError(f"{source} has several columns named {listed(twice)}: rename all but one")
        rows = [flattened(row) for row in table.to_pylist()]
    return of_rows(source, rows, [f"row {index + 1}" for index in range(len(rows))])


FORMAT = Format((".parquet",), 0, lambda content: content.startswith(b"PAR1"), read)

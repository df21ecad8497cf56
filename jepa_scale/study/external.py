"""Tables of runs from other sources: CSV, parquet, JSON lines, W&B exports."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.foreign import listed, reading
from jepa_scale.records import RunTable
from jepa_scale.runs.errors import UserError

LARGEST = 2**53
"""Largest whole number: beyond it floats no longer tell neighbours apart."""

ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class ExternalTable:
    """Columns of equal length, without the rows that lack a number."""

    path: Path
    columns: Mapping[str, np.ndarray]
    """Values by the names that the law uses."""
    label: np.ndarray | None
    """Group of each row, such as its run; None if no column for it was requested."""
    dropped: int
    """Number of rows left out because a required column has no finite number."""


def pairs(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    """Parse the NAME=VALUE arguments of an option.

    Raises
    ------
    UserError
        If an argument has another form; the message shows an example.
    """
    for text in texts:
        name, equal, value = text.partition("=")
        if not (name and equal and value):
            raise UserError(f"{option}: expected NAME=VALUE, such as {example}, got {text}")
    names = [text.partition("=")[0] for text in texts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{option}: expected every name once, got {twice} several times")
    return dict(text.split("=", 1) for text in texts)


def read_columns(path: Path) -> dict[str, list[Any]]:
    """Read all columns of a table file.

    Raises
    ------
    UserError
        If the file is missing, of an unknown kind, broken or empty.
    """
    if not path.is_file():
        raise UserError(f"no file {path}: expected a table of runs, {', '.join(ENDINGS)}")
    readers = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".jsonl": _lines, ".ndjson": _lines}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: expected a table ending in {', '.join(ENDINGS)}, got {path.suffix or 'no ending'}")
    with reading(path, "a table of runs", refuse=UserError):
        columns = readers[path.suffix.lower()](path)
    if not columns or not len(next(iter(columns.values()))):
        raise UserError(f"{path} has no rows: expected one row for each run and a header")
    return columns


def pick(
    path: Path,
    columns: Mapping[str, Sequence[Any]],
    names: Mapping[str, str],
    needed: Sequence[str],
    label: str | None = None,
) -> ExternalTable:
    """Select the required columns under the law's names; leave out rows that lack one of their numbers.

    ``names`` maps a name of the law to a column of the table, or to a product such as ``n_embd*n_layer``.

    Raises
    ------
    UserError
        If a column is missing, or no row has all numbers.
    """
    picked = {name: column(path, columns, names.get(name, name), name) for name in needed}
    usable = np.all([np.isfinite(values) for values in picked.values()], axis=0)
    if not usable.any():
        empty = [names.get(name, name) for name, values in picked.items() if not np.isfinite(values).any()]
        raise UserError(
            f"{path}: no row has a number in every one of {', '.join(needed)}; without any: {', '.join(empty)}"
        )
    if label is not None and label not in columns:
        raise UserError(_no_column(path, columns, label))
    grouped = None if label is None else np.array([str(value) for value in columns[label]])[usable]
    return ExternalTable(path, {name: values[usable] for name, values in picked.items()}, grouped, int((~usable).sum()))


def column(path: Path, columns: Mapping[str, Sequence[Any]], source: str, name: str) -> np.ndarray:
    """Return a column, or a product of columns, as numbers; NaN for values that are not numbers.

    Raises
    ------
    UserError
        If there is no such column.
    """
    if any(isinstance(part, str) and part not in columns for part in factors(source, columns)):
        raise UserError(_no_column(path, columns, source) + f"; name it with --columns {name}=COLUMN")
    return product(columns, source, len(next(iter(columns.values()))))


def factors(source: str, known: Collection[str]) -> list[str | float]:
    """Split a column's name, or a product such as ``6*params*tokens``, into columns and numbers."""
    if source in known:
        return [source]
    parts = [part.strip() for part in source.split("*")]
    return [part if part in known or not _is_number(part) else float(part) for part in parts]


def product(columns: Mapping[str, Sequence[Any]], source: str, rows: int) -> np.ndarray:
    """Return the product of the columns and numbers that ``source`` names; NaN where a factor is not a number."""
    result = np.ones(rows)
    for part in factors(source, columns):
        result = result * (part if isinstance(part, float) else np.array([_number(value) for value in columns[part]]))
    return result


def counted_seeds(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Number the runs of each cell 0, 1, … in order, as seeds for tables that have none."""
    seen = Counter[tuple[float, float]]()
    seeds = []
    for cell in zip(n.tolist(), k.tolist(), strict=True):
        seeds.append(seen[cell])
        seen[cell] += 1
    return np.array(seeds, dtype=np.int64)


def filled_table(values: Mapping[str, np.ndarray]) -> RunTable:
    """Return a table of runs with all standard columns and any further ones; missing values are empty or NaN."""
    rows = len(next(iter(values.values())))
    columns = {name: np.full(rows, np.nan) for name in RunTable.COLUMNS}
    columns |= {name: np.full(rows, "") for name in ("run_id", "arm", "status", "reason")}
    columns |= values
    for name in {"n", "k", "seed"} & set(values):
        columns[name] = columns[name].astype(np.int64)
    return RunTable(columns)


def _no_column(path: Path, columns: Mapping[str, Sequence[Any]], name: str) -> str:
    return f"{path} has no column {name!r}; it has {listed(columns)}"


def _number(value: Any) -> float:
    if value is None or value == "":
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", text))


def _csv(path: Path) -> dict[str, list[Any]]:
    # W&B writes a byte order mark on Windows.
    with reading(path, "a table of text", refuse=UserError), path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    if not rows:
        return {}
    head, body = rows[0], [row for row in rows[1:] if row]
    twice = sorted({name for name in head if head.count(name) > 1})
    if twice:
        raise UserError(f"{path} has several columns named {listed(twice)}: rename all but one")
    short = next((index for index, row in enumerate(body) if len(row) != len(head)), None)
    if short is not None:
        raise UserError(f"{path}: line {short + 2} has {len(body[short])} cells, the header has {len(head)}")
    return {name: [row[index] for row in body] for index, name in enumerate(head)}


def _lines(path: Path) -> dict[str, list[Any]]:
    rows = []
    with reading(path, "a table of text", refuse=UserError):
        content = path.read_text(encoding="utf-8-sig")
    # Not splitlines: a text of JSON may hold characters that end lines elsewhere.
    for index, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        with reading(f"{path}: line {index}", "an object of JSON", refuse=UserError):
            row = json.loads(line)
        if not isinstance(row, dict):
            raise UserError(f"{path}: expected an object on each line, got {type(row).__name__} on line {index}")
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def _parquet(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(path, "a parquet file", pa.ArrowException, refuse=UserError):
        return pq.read_table(path).to_pydict()

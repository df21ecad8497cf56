"""Names and numbers of runs from other sources, and tables of runs made of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jepa_scale.records import RunTable
from jepa_scale.runs.errors import UserError

LARGEST = 2**53
"""Largest whole number: beyond it floats no longer tell neighbours apart."""


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


def _number(value: Any) -> float:
    if value is None or value == "":
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", text))

"""Tables of a page that are computed from the committed tables of studies, so that their numbers cannot go stale.

A page asks for one by a fenced block:

    ```table
    from: exact_world
    rows: n
    columns: k
    value: regret
    ```
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "benchmarks" / "tables"
_BLOCK = re.compile(r"^```table\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_KEYS = {"from", "where", "rows", "columns", "value", "digits", "best", "errors", "names", "only"}


@lru_cache
def read_table(name: str) -> Mapping[str, list[Any]]:
    """Return the columns of a study's table; settings that an ``arm`` names become columns of their own."""
    columns = dict(pq.read_table(TABLES / f"{name}.parquet").to_pydict())
    arms = [dict(part.split("=", 1) for part in arm.split(", ") if "=" in part) for arm in columns.get("arm", [])]
    for key in sorted({key for arm in arms for key in arm}):
        columns[key] = [_number(arm.get(key, "")) for arm in arms]
    return columns


@lru_cache
def read_csv(name: str) -> Mapping[str, list[float]]:
    """Return the columns of a table of numbers that is committed as CSV."""
    with (TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {column: [float(row[column]) for row in rows] for column in rows[0]}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def expand(page: str) -> str:
    """Replace every ``table`` block of a page by the table that it asks for.

    Raises
    ------
    ValueError
        If a block has an unknown key, or names a column that its table does not have.
    """
    return _BLOCK.sub(lambda match: _boxed(pivot(yaml.safe_load(match[1]))), page)


def _boxed(table: str) -> str:
    """A table whose numbers stay on one line, and whose first column stays in sight where it is scrolled."""
    return f'<div class="numbers" markdown>\n\n{table}\n\n</div>'


def pivot(settings: Mapping[str, Any]) -> str:
    """Return a Markdown table of means ± standard errors over the runs of each cell.

    ``from`` names the table, ``rows`` and ``columns`` what its rows and columns are, ``value`` one or several
    quantities or differences (``regret - regret_pretrained``), ``where`` settings that rows must have, ``only`` which
    values of the columns are shown, ``best`` (min or max) which end of a row is set in bold, ``digits`` the decimals,
    ``errors: false`` leaves the errors out, and ``names`` renames values and headings.
    """
    unknown = set(settings) - _KEYS
    if unknown:
        raise ValueError(f"table block: unknown keys {sorted(unknown)}; expected some of {sorted(_KEYS)}")
    data = read_table(settings["from"])
    rows, columns = _listed(settings.get("rows")), _listed(settings.get("columns"))
    values = _listed(settings["value"])
    kept = [i for i in range(len(data["n"])) if all(data[key][i] == wanted for key, wanted in _where(settings))]
    row_keys, column_keys = _levels(data, rows, kept), _levels(data, columns, kept)
    if "only" in settings:
        column_keys = [key for key in column_keys if key[0] in settings["only"]]
    names = {str(key): str(name) for key, name in settings.get("names", {}).items()}
    head = [*(names.get(row, row) for row in rows)]
    for key in column_keys:
        for value in values:
            title = ", ".join(f"{column} = {_shown(level, names)}" for column, level in zip(columns, key, strict=True))
            name = names.get(value, value)
            parts = (name if len(values) > 1 or not title else "", title.replace(" ", "\N{NO-BREAK SPACE}"))
            head.append(", ".join(filter(None, parts)))
    lines = [head, ["---"] * len(head)]
    for row in row_keys:
        cells = [
            _Cell.of(data, [i for i in kept if _key(data, rows, i) == row and _key(data, columns, i) == column], value)
            for column in column_keys
            for value in values
        ]
        lines.append([_shown(level, names) for level in row] + _written(cells, settings))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class _Cell:
    """Mean and standard error of the finished runs of a cell."""

    def __init__(self, numbers: Sequence[float], runs: int) -> None:
        self.mean = float(np.mean(numbers)) if numbers else math.nan
        self.error = float(np.std(numbers, ddof=1) / math.sqrt(len(numbers))) if len(numbers) > 1 else math.nan
        self.all_zero = all(abs(number) < 1e-12 for number in numbers)
        self.lost = runs - len(numbers)
        self.runs = runs

    @classmethod
    def of(cls, data: Mapping[str, list[Any]], rows: Sequence[int], value: str) -> _Cell:
        """Return the cell of some rows of the table."""
        first, *minus = value.split(" - ")
        numbers = [
            data[first][i] - sum(data[name][i] for name in minus) for i in rows if data["status"][i] == "finished"
        ]
        return cls([number for number in numbers if number is not None and math.isfinite(number)], len(rows))

    def text(self, digits: int, errors: bool) -> str:
        """Return the cell as text: diverged where no run finished, a dash where there is none."""
        if not self.runs:
            return "–"
        if math.isnan(self.mean):
            return f"diverged ({self.lost} of {self.runs})" if self.lost else "–"
        if self.all_zero:
            return "0"
        if abs(self.mean) < 0.5 * 10**-digits:
            return f"{'<' if self.mean > 0 else '> −'} {10**-digits:.{digits}f}".replace("− ", "−")
        mean = f"{self.mean:.{digits}f}".replace("-", "−")
        return mean if not errors or math.isnan(self.error) else f"{mean} ± {self.error:.{digits}f}"


def _written(cells: Sequence[_Cell], settings: Mapping[str, Any]) -> list[str]:
    digits, errors = settings.get("digits", 3), settings.get("errors", True)
    texts = [cell.text(digits, errors) for cell in cells]
    pick = {"min": min, "max": max}.get(settings.get("best", ""))
    known = [cell for cell in cells if not math.isnan(cell.mean)]
    if pick is None or len(known) < 2:
        return texts
    # Cells that read alike are equally good.
    best = pick(known, key=lambda cell: cell.mean).text(digits, False)
    return [
        f"**{text}**" if cell.text(digits, False) == best else text for text, cell in zip(texts, cells, strict=True)
    ]


def _listed(value: Any) -> list[str]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _where(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(settings.get("where", {}).items())


def _key(data: Mapping[str, list[Any]], columns: Sequence[str], row: int) -> tuple[Any, ...]:
    return tuple(data[column][row] for column in columns)


def _levels(data: Mapping[str, list[Any]], columns: Sequence[str], kept: Sequence[int]) -> list[tuple[Any, ...]]:
    missing = [column for column in columns if column not in data]
    if missing:
        raise ValueError(f"table block: no column {missing[0]}; expected some of {sorted(data)}")
    return sorted({_key(data, columns, i) for i in kept})


def _shown(level: Any, names: Mapping[str, str]) -> str:
    text = f"{level:g}" if isinstance(level, float) else str(level)
    if text in names:
        return names[text]
    return grouped(level) if isinstance(level, int) else text


def grouped(number: int) -> str:
    """Return a whole number with its thousands set apart: 30 000."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")

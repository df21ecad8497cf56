"""Nested objects as columns with dotted names."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jepa_scale.foreign import DAMAGE

_DEEPEST = 30
_LONGEST = 100_000


def flattened(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an object and of the objects in it, by dotted key."""
    return dict(_leaves(row, "", 0))


def _leaves(values: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{str(key).strip()}"
        # W&B's config files wrap each value.
        if isinstance(value, Mapping) and "value" in value and set(value) <= {"value", "desc"}:
            value = value["value"]
        if isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _leaves(value, f"{name}.", depth + 1)
        else:
            yield name, value


def unfolded(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Replace columns whose cells are objects written as text, by JSON or Python, by the columns of these objects."""
    result: dict[str, Sequence[Any]] = {}
    for name, cells in columns.items():
        objects = [_object(cell) for cell in cells]
        if not any(objects) or any(found is None for found in objects):
            result[name] = cells
            continue
        rows = [flattened(found or {}) for found in objects]
        for key in dict.fromkeys(key for row in rows for key in row):
            result.setdefault(f"{name}.{key}", [row.get(key) for row in rows])
    return result


def _object(cell: Any) -> dict[str, Any] | None:
    """Return the object in a cell, empty for an empty cell; None if the cell holds something else."""
    text = cell.strip() if isinstance(cell, str) else ""
    if cell is None or (isinstance(cell, str) and not text):
        return {}
    if not (text.startswith("{") and text.endswith("}")) or len(text) > _LONGEST:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except DAMAGE:
            continue
        return found if isinstance(found, dict) else None
    return None

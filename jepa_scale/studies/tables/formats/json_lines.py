"""Tables of JSON objects: one on each line, one array of them, or a single one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jepa_scale.foreign import reading
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.content import decoded
from jepa_scale.studies.tables.format import Format
from jepa_scale.studies.tables.nesting import flattened
from jepa_scale.studies.tables.table import Table, of_rows


def read(content: bytes, source: str) -> Table:
    """Read objects of JSON; nested ones are columns with dotted names."""
    text = decoded(content, source)
    if text.lstrip().startswith("["):
        with reading(source, "an array of JSON", refuse=UserError):
            whole = json.loads(text)
        return _table(source, whole, [f"element {index + 1}" for index in range(len(whole))])
    lines = [(index, line) for index, line in enumerate(text.split("\n"), start=1) if line.strip()]
    rows = []
    # Not splitlines: a text of JSON may hold characters that end lines elsewhere.
    for index, line in lines:
        try:
            with reading(f"{source}: line {index}", "an object of JSON", refuse=UserError):
                rows.append(json.loads(line))
        except UserError:
            single = _single(text)
            if single is None:
                raise
            return _of_object(source, single)
    if len(rows) == 1 and isinstance(rows[0], dict):
        return _of_object(source, rows[0])
    return _table(source, rows, [f"line {index}" for index, _ in lines])


def _single(text: str) -> dict[str, Any] | None:
    """Return the one object that stands on several lines, if there is one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _of_object(source: str, found: dict[str, Any]) -> Table:
    """Return the table of one object: its lists as columns if it has only lists of one length, else one row."""
    lengths = {len(value) if isinstance(value, list) else -1 for value in found.values()}
    if len(lengths) == 1 and max(lengths) >= 0:
        count = max(lengths)
        columns = {str(name).strip(): value for name, value in found.items()}
        return Table(source, columns, [f"element {index + 1}" for index in range(count)], [0] * count)
    return _table(source, [found], ["the object"])


def _table(source: str, rows: Sequence[Any], places: Sequence[str]) -> Table:
    for row, place in zip(rows, places, strict=True):
        if not isinstance(row, dict):
            raise UserError(
                f"{source}: expected an object on each line, or one array of objects, got {type(row).__name__} in "
                f'{place}: write each run as {{"n": …}}'
            )
    with reading(source, "objects of JSON", refuse=UserError):
        flat = [flattened(row) for row in rows]
    return of_rows(source, flat, places)


def _recognises(content: bytes) -> bool:
    return content[:200].replace(b"\xef\xbb\xbf", b"").replace(b"\0", b"").lstrip(b"\xff\xfe \t\r\n")[:1] in (
        b"{",
        b"[",
    )


FORMAT = Format((".jsonl", ".ndjson", ".json"), 1, _recognises, read)

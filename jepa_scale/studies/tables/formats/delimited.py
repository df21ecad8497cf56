"""Tables of text with commas, semicolons, tabs or pipes between the cells."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from jepa_scale.foreign import listed, reading
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.content import decoded
from jepa_scale.studies.tables.format import Format
from jepa_scale.studies.tables.nesting import unfolded
from jepa_scale.studies.tables.table import Table

DELIMITERS = (",", ";", "\t", "|")
_LOOKED_AT = 50
"""Number of lines by which the delimiter is found."""


class _Lines:
    """Lines of a text without comments; knows the number of the last one read."""

    def __init__(self, text: str, first: int = 1) -> None:
        # Not splitlines: cells may hold characters that end lines elsewhere.
        self.lines = re.split("\r\n|\n|\r", text)
        self.number = first - 1
        self.comments: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[str]:
        inside = False
        while self.number < len(self.lines):
            line = self.lines[self.number]
            self.number += 1
            # A line within quotes belongs to a cell.
            if not inside and line.lstrip().startswith("#"):
                self.comments.append((self.number, line.lstrip().lstrip("#")))
                continue
            inside ^= line.count('"') % 2 == 1
            yield line + "\n"


def read(content: bytes, source: str) -> Table:
    """Read a table of text; lines that begin with # are comments, spaces around cells do not count.

    Raises
    ------
    UserError
        If two columns have one name, or a line has more or fewer cells than the header.
    """
    text = decoded(content, source)
    named = re.match(r'"?sep=(.)"?\r?\n', text)
    with reading(source, "a table of text", refuse=UserError):
        lines = _Lines(text, first=2 if named else 1)
        delimiter = named[1] if named else _delimiter(text)
        rows = []
        for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != "\t"):
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((lines.number, cells))
    if not rows:
        return Table(source, {}, [], [])
    line, head = rows[0]
    if any("\n" in name for name in head):
        raise UserError(f'{source}: expected a header in one line, got a quote (") that does not close there')
    body = rows[1:]
    above = [(number, text) for number, text in lines.comments if number < line]
    commented = [cell.strip() for cell in above[-1][1].split(delimiter)] if above else []
    if len(commented) == len(head) and all(map(_numeric, head)) and not any(map(_numeric, commented)):
        # The header of numpy.savetxt is a comment.
        line, head, body = above[-1][0], commented, rows
    _check(source, head, body, delimiter)
    columns = {name: [row[index] for _, row in body] for index, name in enumerate(head) if name or _full(body, index)}
    below = sum(number > line for number, _ in lines.comments)
    return Table(
        source,
        unfolded(columns),
        [f"line {number}" for number, _ in body],
        [0] * len(body),
        (delimiter,),
        (f"{source}: comment lines (#) left out below the header: {below}",) if below else (),
    )


def _check(source: str, head: Sequence[str], body: Sequence[tuple[int, list[str]]], delimiter: str) -> None:
    counts = Counter(name for index, name in enumerate(head) if name or _full(body, index))
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        shown = listed(name or "'' (no name)" for name in twice)
        raise UserError(f"{source} has several columns named {shown}: rename all but one")
    ragged = [(number, len(row)) for number, row in body if len(row) != len(head)]
    if ragged:
        number, cells = ragged[0]
        commas = delimiter == "," and len(head) > 1 and len(ragged) == len(body) and cells > len(head)
        hint = ": are there decimal commas? save it with ; between the cells" if commas else ": correct that line"
        raise UserError(f"{source}: line {number} has {cells} cells, the header has {len(head)}{hint}")


def _full(body: Sequence[tuple[int, list[str]]], index: int) -> bool:
    return any(len(row) > index and row[index] for _, row in body)


def _delimiter(text: str) -> str:
    """Return the delimiter by which the first lines have equally many cells, several at least."""
    lines: list[str] = []
    for line in _Lines(text):
        lines.append(line)
        if len(lines) == _LOOKED_AT:
            break
    lines = lines[next((index for index, line in enumerate(lines) if line.strip()), 0) :]
    best, most = ",", (False, 0)
    for delimiter in DELIMITERS:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True) if any(row)]
        if widths and widths[0] > 1:
            found = (len(set(widths)) == 1, widths[0])
            best, most = (delimiter, found) if found > most else (best, most)
    return best


def _numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


FORMAT = Format((".csv", ".tsv"), 9, lambda content: True, read)

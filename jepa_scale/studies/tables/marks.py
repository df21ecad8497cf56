"""Whether commas and dots in the numbers of a column are decimal marks or separate thousands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GROUPED = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")
"""A number whose one mark may be either."""


@dataclass(frozen=True)
class Marks:
    """Decimal mark of a column, and the marks between its thousands."""

    decimal: str | None
    thousands: frozenset[str]
    ambiguous: frozenset[str] = frozenset()
    """Marks that may be either."""


def certain(mantissas: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the marks that must be decimal in some number, and those that must separate thousands."""
    decimal, thousands = set[str](), set[str]()
    for text in mantissas:
        counts = {mark: text.count(mark) for mark in ",." if mark in text}
        if len(counts) == 2:
            last = max(counts, key=text.rindex)
            decimal.add(last)
            thousands |= set(counts) - {last}
        elif counts:
            ((mark, count),) = counts.items()
            if count > 1:
                thousands.add(mark)
            elif not GROUPED.fullmatch(text):
                decimal.add(mark)
    return frozenset(decimal), frozenset(thousands)


def marks_of(mantissas: Sequence[str], elsewhere: frozenset[str], delimiter: str) -> Marks:
    """Return what the marks of a column mean.

    Numbers that leave no choice decide for their column; then those of the file's other columns (``elsewhere``: the
    marks that are decimal in them); then the delimiter, as commas between cells leave the dot for decimals.
    """
    decimal, thousands = certain(mantissas)
    both = decimal & thousands
    ambiguous = set(both)
    either = [text for text in mantissas if GROUPED.fullmatch(text)]
    # Beside 300, 1,000 is no decimal number: nobody adds zeros to some numbers of a column.
    beside = any(re.fullmatch("[1-9][0-9]{0,2}", text) for text in mantissas)
    for mark in {text.strip("0123456789") for text in either} - decimal - thousands:
        other = "." if mark == "," else ","
        zeros = [text.endswith("000") for text in either if mark in text]
        if other in decimal:
            thousands |= {mark}
        elif other in thousands or elsewhere == {mark} or (mark == "." and elsewhere != {","}):
            if (all(zeros) and mark == ",") or (any(zeros) and beside):
                ambiguous.add(mark)
            decimal |= {mark}
        elif elsewhere == {other} or (not elsewhere and (delimiter == "," or (any(zeros) and beside))):
            thousands |= {mark}
        else:
            ambiguous.add(mark)
    return Marks(next(iter(decimal - both), None), frozenset(thousands - both), frozenset(ambiguous))

"""When a row of a table is a copy of another."""

from __future__ import annotations

from collections.abc import Hashable, Iterable


def first_rows(rows: Iterable[Iterable[Hashable]]) -> list[int]:
    """Return the index of the first of all rows that are alike, in order; NaN is like NaN.

    Examples
    --------
    >>> first_rows([(1.0, "a"), (2.0, "a"), (1.0, "a")])
    [0, 1]
    """
    seen: dict[tuple[str, ...], int] = {}
    for index, row in enumerate(rows):
        seen.setdefault(tuple(map(repr, row)), index)
    return list(seen.values())

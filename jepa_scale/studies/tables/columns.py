"""Columns of a table under the names that a law or advice uses, as numbers or texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jepa_scale.foreign import listed, short
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.expression import Expression
from jepa_scale.studies.tables.marks import GROUPED
from jepa_scale.studies.tables.names import candidates
from jepa_scale.studies.tables.numbers import decimal_marks, is_missing, parse_cells
from jepa_scale.studies.tables.success import how_to_say
from jepa_scale.studies.tables.table import Table

_SHOWN = 40
"""Number of characters of a cell that an error shows."""


class Columns:
    """A table's columns by name; ``names`` maps names to columns, or to expressions of columns."""

    def __init__(self, table: Table, names: Mapping[str, str]) -> None:
        self.table, self.names = table, names
        self.remarks: list[str] = list(table.remarks)
        self._numbers: dict[str, np.ndarray] = {}
        self._marks: dict[int, frozenset[str]] = {}
        self._rows = {part: np.flatnonzero(np.array(table.parts) == part) for part in dict.fromkeys(table.parts)}

    def has(self, name: str) -> bool:
        """Whether a name was given, or exactly one column can be meant by it."""
        return name in self.names or len(candidates(name, self.table.columns)) == 1

    def source(self, name: str) -> str:
        """Return the column that a name means, with a remark if it is spelled differently.

        Raises
        ------
        UserError
            If there is none, or several may be meant.
        """
        return self._found(self.names.get(name, name), name)

    def _found(self, wanted: str, name: str) -> str:
        found = candidates(wanted, self.table.columns)
        if len(found) == 1:
            if found[0] != wanted:
                self._remark(f"column {found[0]} is used as {wanted}")
            return found[0]
        if found:
            raise UserError(
                f"{self.table.source}: {wanted!r} may be any of the columns {listed(found)}: name one with "
                f"--columns {name}=COLUMN"
            )
        hint = how_to_say(self) if name == wanted == "regret" else ""
        raise UserError(
            f"{self.table.source} has no column {short(wanted, 80)!r}; it has {listed(self.table.columns)}; "
            + (hint or f"name it with --columns {name}=COLUMN")
        )

    def numbers(self, name: str) -> np.ndarray:
        """Return the numbers that a name means, NaN where a cell is empty.

        Raises
        ------
        UserError
            If there is no such column, or a cell holds something else than a number.
        """
        return self._named(name, ())

    def texts(self, name: str) -> list[str]:
        """Return the texts of a column; empty where a cell is.

        Raises
        ------
        UserError
            If there is no such column.
        """
        cells = self.table.columns[self.source(name)]
        return ["" if cell is None else str(cell).strip() for cell in cells]

    def column(self, column: str) -> np.ndarray:
        """Return the numbers of a column by its own name."""
        if column not in self._numbers:
            self._numbers[column] = self._parsed(column)
        return self._numbers[column]

    def _named(self, name: str, above: tuple[str, ...]) -> np.ndarray:
        source = self.names.get(name, name)
        plain = not set("+-*/^(") & set(source)
        if name not in self.names or plain or len(candidates(source, self.table.columns)) == 1:
            return self.column(self.source(name))
        known = [*self.table.columns, *self.names]

        def numbers(part: str) -> np.ndarray:
            # A name in its own definition is a column: regret=0.01*regret.
            if part in self.table.columns or part not in self.names or part in (*above, name):
                return self.column(self._found(part, name))
            return self._named(part, (*above, name))

        try:
            values = Expression(source, known, numbers).value()
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"--columns {name}={short(source, 200)}: {error}") from None
        return np.broadcast_to(values, len(self.table)).astype(float)

    def _parsed(self, column: str) -> np.ndarray:
        cells = self.table.columns[column]
        lacking = self.table.lacking.get(column)
        if lacking:
            raise NotNumbers(
                f"{lacking[0]} has no column {short(column, 80)!r}, which other tables have: give it the same header",
                False,
            )
        values, wrong, mixed = np.full(len(cells), np.nan), list[int](), False
        for part, rows in self._rows.items():
            mine = [cells[row] for row in rows.tolist()]
            unclear = any(isinstance(cell, str) and GROUPED.search(cell) for cell in mine)
            marks = self._marks_of(part) if unclear else frozenset[str]()
            parsed = parse_cells(mine, marks, self.table.delimiters[part])
            if parsed.ambiguous is not None:
                self._refuse_ambiguous(column, int(rows[parsed.ambiguous]))
            values[rows] = parsed.values
            wrong += rows[parsed.wrong].tolist()
            mixed |= parsed.percent and bool(parsed.wrong)
            if parsed.percent and not wrong:
                self._remark(f"column {column} is in percent: divided by 100")
            if parsed.prefix and not wrong:
                self._remark(f"column {column}: the number after {parsed.prefix!r} is used")
        if wrong:
            self._refuse(column, sorted(wrong), ", beside cells with and without %" if mixed else "")
        return values

    def _marks_of(self, part: int) -> frozenset[str]:
        if part not in self._marks:
            rows = self._rows[part]
            self._marks[part] = decimal_marks(
                {name: [cells[row] for row in rows.tolist()] for name, cells in self.table.columns.items()}
            )
        return self._marks[part]

    def _refuse(self, column: str, wrong: Sequence[int], also: str) -> None:
        cells = self.table.columns[column]
        first, count, total = wrong[0], len(wrong), len(cells)
        plain = sum(not is_missing(cell) for cell in cells) == count
        what = "are not numbers" if count > 1 else "is not a number"
        raise NotNumbers(
            f"{self.table.source}: column {short(column, 80)}: {count} of {total} cells {what}{also}, first "
            f"{_shown(cells[first])} in {self.table.places[first]}: write numbers there, or leave cells without a "
            "number empty",
            plain,
        )

    def _refuse_ambiguous(self, column: str, row: int) -> None:
        raise UserError(
            f"{self.table.source}: column {short(column, 80)}: {_shown(self.table.columns[column][row])} in "
            f"{self.table.places[row]} may have a decimal mark or separate thousands: write thousands without a "
            "mark, and a dot for decimals"
        )

    def _remark(self, sentence: str) -> None:
        if sentence not in self.remarks:
            self.remarks.append(sentence)


class NotNumbers(UserError):
    """Cells of a column are not numbers."""

    def __init__(self, sentence: str, nothing: bool) -> None:
        super().__init__(sentence)
        self.nothing = nothing
        """Whether the column has no number at all."""


def _shown(cell: Any) -> str:
    return repr(short(cell, _SHOWN))

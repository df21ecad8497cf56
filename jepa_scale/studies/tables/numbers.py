"""Numbers as people write them: thousands, decimal commas, k and M, percents, a prefix that a column shares."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jepa_scale.studies.tables.marks import Marks, certain, marks_of

MISSING = frozenset({"", "-", "–", "—", "nan", "none", "null", "nil", "n/a", "na", "#n/a", "<na>"})
"""Texts, in lower case, of cells without a value."""

_INFINITE = re.compile(r"[+-]?inf(inity)?")
_ALIKE = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2019": "'", "\ufeff": None})
"""Characters that look like others."""

_BODY = re.compile(r"([+-]?)([0-9.,](?:[0-9.,' _]*[0-9.,])?) ?(?:[eE]([+-]?[0-9]{1,4}))? ?([kKmMbBgGtT]?)")
_PLAIN = re.compile(r"[0-9]{1,15}|0\.[0-9]{1,30}")
"""Numbers that can be written in one way only, as most are."""

_PREFIXED = re.compile(r"([^0-9=:]*[^\W\d][^0-9=:]*[=:]\s*|[^\W\d_]+[_ -]?(?=[0-9]))(.+)")
_WHOLE = re.compile(r"[0-9]+|[0-9]{1,3}([.,' _])[0-9]{3}(?:\1[0-9]{3})*")
_LONGEST = 100
"""Longest text, in characters, that is looked at: longer ones are no numbers."""

_POWERS = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}


@dataclass
class Parsed:
    """Numbers of a column's cells, and what could not be read."""

    values: np.ndarray
    """(cells,) numbers; NaN for missing ones."""
    wrong: list[int] = field(default_factory=list)
    """Indices of cells that are neither numbers nor missing."""
    ambiguous: int | None = None
    """Index of a cell whose comma or dot may be a decimal mark or separate thousands."""
    percent: bool = False
    prefix: str = ""


def is_missing(cell: Any) -> bool:
    """Whether a cell has no value."""
    return cell is None or (isinstance(cell, str) and cell.translate(_ALIKE).strip().lower() in MISSING)


def parse_cells(cells: Sequence[Any], elsewhere: frozenset[str] = frozenset(), delimiter: str = ",") -> Parsed:
    """Read the cells of a column; ``elsewhere``: the decimal marks of the file's other columns."""
    if all(isinstance(cell, str) and _PLAIN.fullmatch(cell) for cell in cells):
        return Parsed(np.array(cells, dtype=float))
    parsed, texts = _typed(cells)
    bodies = _bodies(parsed, texts)
    matches = {index: _BODY.fullmatch(text) for index, text in bodies.items()}
    marks = marks_of([match[2] for match in matches.values() if match], elsewhere, delimiter)
    for index, match in matches.items():
        value = None if match is None else _value(match, marks, -2 if parsed.percent else 0)
        if match is not None and any(mark in match[2] for mark in marks.ambiguous) and parsed.ambiguous is None:
            parsed.ambiguous = index
        if value is None:
            parsed.wrong.append(index)
        else:
            parsed.values[index] = value
    parsed.wrong.sort()
    return parsed


def decimal_marks(columns: Mapping[str, Sequence[Any]]) -> frozenset[str]:
    """Return the marks that are decimal in some column of numbers."""
    found = set[str]()
    for cells in columns.values():
        parsed, texts = _typed(cells)
        if np.isfinite(parsed.values).any() and (parsed.values % 1 > 0).any():
            found.add(".")
        matches = [_BODY.fullmatch(text) for text in _bodies(parsed, texts).values()]
        if not parsed.wrong and all(matches):
            found |= certain([match[2] for match in matches if match])[0]
    return frozenset(found)


def _typed(cells: Sequence[Any]) -> tuple[Parsed, dict[int, str]]:
    """Return the cells that are numbers already, and the other cells' texts."""
    parsed, texts = Parsed(np.full(len(cells), np.nan)), dict[int, str]()
    for index, cell in enumerate(cells):
        if is_missing(cell):
            continue
        if isinstance(cell, str):
            text = cell.translate(_ALIKE).strip()
            if _INFINITE.fullmatch(text.lower()):
                parsed.values[index] = -math.inf if text.startswith("-") else math.inf
            elif len(text) > _LONGEST:
                parsed.wrong.append(index)
            else:
                texts[index] = text
            continue
        try:
            # Only what is a number: dates and lists are none.
            parsed.values[index] = float(cell) if hasattr(cell, "__float__") else float("x")
        except (TypeError, ValueError, OverflowError):
            parsed.wrong.append(index)
    return parsed, texts


def _bodies(parsed: Parsed, texts: dict[int, str]) -> dict[int, str]:
    """Return the texts without a sign of percent, or a prefix, that all share."""
    if any(text.endswith("%") for text in texts.values()):
        parsed.percent = True
        # A plain 0 is 0 %.
        plain = {index for index, text in texts.items() if not text.endswith("%") and text.strip("0.,")}
        plain |= set(np.flatnonzero(np.isfinite(parsed.values) & (parsed.values != 0)).tolist())
        signed = {index for index, text in texts.items() if text.endswith("%")}
        if plain:
            # Of two ways to write, the rarer one is the mistake.
            parsed.wrong += plain if len(plain) < len(signed) else signed
        return {index: text.rstrip("%").strip() for index, text in texts.items() if index not in parsed.wrong}
    if not texts or np.isfinite(parsed.values).any():
        return texts
    prefixed = {index: _PREFIXED.fullmatch(text) for index, text in texts.items()}
    prefixes = {match[1].strip() if match else "" for match in prefixed.values()}
    if len(prefixes) != 1 or "" in prefixes:
        return texts
    parsed.prefix = prefixes.pop()
    return {index: match[2].strip() for index, match in prefixed.items() if match}


def _value(match: re.Match[str], marks: Marks, power: int) -> float | None:
    sign, mantissa, exponent, suffix = match.groups(default="")
    whole, fraction = mantissa, ""
    if marks.decimal is not None and marks.decimal in mantissa:
        whole, _, fraction = mantissa.rpartition(marks.decimal)
    if fraction and not fraction.isdigit():
        return None
    if whole:
        grouped = _WHOLE.fullmatch(whole)
        if grouped is None or (grouped[1] in (",", ".") and grouped[1] not in marks.thousands):
            return None
    elif not fraction:
        return None
    digits = re.sub("[^0-9]", "", whole)
    value = float(f"{sign}{digits or 0}.{fraction or 0}e{int(exponent or 0) + _POWERS[suffix.lower()] + power}")
    return value if math.isfinite(value) else None

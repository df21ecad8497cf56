"""Expressions of columns, such as ``1-0.01*success_rate``; the text is parsed, never evaluated as code."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import NoReturn

import numpy as np

_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NAME = re.compile(r"[^\W\d][\w.]*")
_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "log": np.log, "log10": np.log10, "log2": np.log2, "exp": np.exp, "sqrt": np.sqrt, "abs": np.abs
}  # fmt: skip
FORM = f"columns and numbers with + - * / ^ ( ) and {', '.join(_FUNCTIONS)}, such as 1-0.01*success_rate"
_LONGEST, _DEEPEST = 1000, 30


class Expression:
    """Parser of one expression, which computes while it reads."""

    def __init__(self, text: str, known: Collection[str], numbers: Callable[[str], np.ndarray]) -> None:
        """``known``: names of columns, which may hold spaces and operators; ``numbers`` returns those of a name."""
        self.text, self.place, self.numbers = text, 0, numbers
        self.known = sorted((name for name in known if not _NUMBER.fullmatch(name)), key=len, reverse=True)

    def value(self) -> np.ndarray:
        """Return the numbers of every row.

        Raises
        ------
        ValueError
            If the text is no expression; the message says where.
        """
        if len(self.text) > _LONGEST:
            raise ValueError(f"expected at most {_LONGEST} letters, got {len(self.text)}")
        with np.errstate(all="ignore"):
            result = self._sum(0)
        if self._peek():
            self._fail()
        return result

    def _sum(self, depth: int) -> np.ndarray:
        if depth > _DEEPEST:
            raise ValueError(f"expected at most {_DEEPEST} levels of brackets and signs")
        value = self._product(depth)
        while (sign := self._take("+", "-")) is not None:
            right = self._product(depth)
            value = value + right if sign == "+" else value - right
        return value

    def _product(self, depth: int) -> np.ndarray:
        value = self._signed(depth)
        while (operator := None if self._ahead("**") else self._take("*", "/")) is not None:
            right = self._signed(depth)
            value = value * right if operator == "*" else value / right
        return value

    def _signed(self, depth: int) -> np.ndarray:
        if depth > _DEEPEST:
            raise ValueError(f"expected at most {_DEEPEST} levels of brackets and signs")
        if (sign := self._take("+", "-")) is not None:
            value = self._signed(depth + 1)
            return value if sign == "+" else -value
        base = self._atom(depth)
        return base ** self._signed(depth + 1) if self._take("**", "^") else base

    def _atom(self, depth: int) -> np.ndarray:
        if self._take("("):
            value = self._sum(depth + 1)
            if self._take(")") is None:
                self._fail()
            return value
        rest = self._peek()
        number = _NUMBER.match(rest)
        column = next((name for name in self.known if _begins(rest, name)), None)
        if column is not None:
            self.place += len(column)
            return self.numbers(column)
        if number is not None:
            self.place += number.end()
            return np.array(float(number[0]))
        name = _NAME.match(rest)
        if name is None:
            self._fail()
        self.place += name.end()
        if name[0] in _FUNCTIONS and self._ahead("("):
            return _FUNCTIONS[name[0]](self._atom(depth + 1))
        return self.numbers(name[0])

    def _peek(self) -> str:
        while self.place < len(self.text) and self.text[self.place].isspace():
            self.place += 1
        return self.text[self.place :]

    def _ahead(self, token: str) -> bool:
        return self._peek().startswith(token)

    def _take(self, *tokens: str) -> str | None:
        rest = self._peek()
        found = next((token for token in tokens if rest.startswith(token)), None)
        self.place += len(found or "")
        return found

    def _fail(self) -> NoReturn:
        raise ValueError(f"expected {FORM}; got {self.text[self.place : self.place + 20] or 'the end'!r}")


def _begins(text: str, name: str) -> bool:
    """Whether a text begins with a column's name as a whole."""
    return bool(name) and text.startswith(name) and not re.match(r"[\w.]", text[len(name) :])

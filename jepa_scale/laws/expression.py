"""Formulas of any form as symbolic expressions with derivatives; the text is parsed, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jepa_scale.laws.formula import Tokens

if TYPE_CHECKING:
    import sympy

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([^\W\d]\w*)|(\*\*|[-+*/^(),=]))")
FUNCTIONS = ("log", "exp", "sqrt", "min", "max", "saturating")
FORMS = (
    f"TARGET = an expression of columns, parameters and numbers with + - * / ^ ( ) and {', '.join(FUNCTIONS)}; a name "
    "that is no column of the table is a parameter, such as loss = 1.6 + A C^-alpha"
)
_LONGEST, _DEEPEST = 1000, 30


@dataclass(frozen=True)
class Expression:
    """A parsed formula."""

    target: str
    body: sympy.Expr
    columns: tuple[str, ...]
    parameters: tuple[str, ...]
    """Names of the parameters; like the columns in the order of the text."""


def parse_expression(text: str, columns: Collection[str]) -> Expression:
    """Parse a formula; names in ``columns`` are columns, other names are parameters.

    Two factors side by side are multiplied, ``^`` binds tighter than a sign before it and to the right.

    Raises
    ------
    ValueError
        Shows where reading stopped and what a formula looks like.

    Examples
    --------
    >>> formula = parse_expression("loss = 1.6 + A C^-alpha", {"loss", "C"})
    >>> formula.columns, formula.parameters, str(formula.body)
    (('C',), ('A', 'alpha'), 'A/C**alpha + 1.6')
    """
    reader = _Reader(text, columns)
    target = reader.take()
    if not re.fullmatch(r"[^\W\d]\w*", target):
        reader.fail(f"a name for the target before {target!r}")
    reader.expect("=")
    body = reader.sum(0)
    if reader.peek() is not None:
        reader.fail("the end")
    if target in {*reader.columns, *reader.parameters}:
        raise ValueError(f"expected the target {target} on the left of {text!r} only")
    if not reader.columns:
        raise ValueError(f"expected at least one column in {text!r}; columns are {', '.join(sorted(columns))}")
    if not reader.parameters:
        raise ValueError(f"expected at least one parameter in {text!r}: {FORMS}")
    return Expression(target, body, tuple(reader.columns), tuple(reader.parameters))


class _Reader(Tokens):
    def __init__(self, text: str, columns: Collection[str]) -> None:
        if len(text) > _LONGEST:
            raise ValueError(f"expected a formula of at most {_LONGEST} letters, got {len(text)}")
        super().__init__(text, _TOKEN, FORMS)
        self.known = columns
        self.columns: dict[str, None] = {}
        self.parameters: dict[str, None] = {}

    def sum(self, depth: int) -> Any:
        if depth > _DEEPEST:
            self.fail(f"at most {_DEEPEST} levels of brackets")
        value = self.product(depth)
        while self.peek() in ("+", "-"):
            value = value + self.product(depth) if self.take() == "+" else value - self.product(depth)
        return value

    def product(self, depth: int) -> Any:
        value = self.signed(depth)
        while (token := self.peek()) is not None and (
            token in ("*", "/", "(") or token[0].isalnum() or token[0] in "_."
        ):
            operator = self.take() if token in ("*", "/") else "*"
            factor = self.signed(depth)
            value = value / factor if operator == "/" else value * factor
        return value

    def signed(self, depth: int) -> Any:
        if self.peek() in ("+", "-"):
            if depth > _DEEPEST:
                self.fail(f"at most {_DEEPEST} signs")
            return self.signed(depth + 1) if self.take() == "+" else -self.signed(depth + 1)
        base = self.atom(depth)
        if self.peek() not in ("^", "**"):
            return base
        self.take()
        exponent = self.signed(depth + 1)
        return self.number(base, exponent) if base.is_number and exponent.is_number else base**exponent

    def number(self, base: Any, exponent: Any) -> Any:
        """Return a power of two numbers as a float: the exact one may not fit into memory."""
        import sympy

        try:
            value = float(base) ** float(exponent)
        except (OverflowError, ZeroDivisionError):
            value = float("inf")
        if isinstance(value, complex) or not abs(value) < float("inf"):
            self.fail("a power that is a finite number, not this one,")
        return sympy.Float(value)

    def atom(self, depth: int) -> Any:
        import sympy

        token = self.take()
        if token == "(":
            value = self.sum(depth + 1)
            self.expect(")")
            return value
        if token[0].isdigit() or token[0] == ".":
            if len(token) > 30:
                self.fail("a shorter number")
            number = float(token)
            return sympy.Integer(int(number)) if number.is_integer() and number < 1e6 else sympy.Float(number)
        if not re.fullmatch(r"[^\W\d]\w*", token):
            self.place -= 1
            self.fail("a name, a number or a bracket")
        if token in FUNCTIONS and self.peek() == "(":
            return self.call(token, depth)
        if token in self.known:
            self.columns[token] = None
            return sympy.Symbol(token, positive=True)
        self.parameters[token] = None
        return sympy.Symbol(token, real=True)

    def call(self, name: str, depth: int) -> Any:
        import sympy

        self.expect("(")
        given = [self.sum(depth + 1)]
        while self.peek() == ",":
            self.take()
            given.append(self.sum(depth + 1))
        self.expect(")")
        wanted = {"saturating": (2, 2), "min": (2, 5), "max": (2, 5)}.get(name, (1, 1))
        if not wanted[0] <= len(given) <= wanted[1]:
            self.fail(f"{wanted[0]} argument{'s' * (wanted[0] > 1)} of {name}, not {len(given)},")
        if name == "saturating" and given[1].is_number and not given[1].is_positive:
            self.fail(f"a ceiling above 0, not {given[1]},")
        if name == "saturating":
            return given[0] / (1 + given[0] / given[1])
        known: dict[str, Callable[..., Any]] = {
            "log": sympy.log, "exp": sympy.exp, "sqrt": sympy.sqrt, "min": sympy.Min, "max": sympy.Max
        }  # fmt: skip
        return known[name](*given)

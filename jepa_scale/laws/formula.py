"""Grammar and parser of laws written as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([^\W\d]\w*)|([-+*/^(),=]))")
GRAMMAR = (
    "TARGET = [FLOOR +] TERM + TERM …, or TARGET = [FLOOR +] (TERM + TERM …)^POWER, or TARGET = saturating(…, TOP); "
    "a TERM is COEFFICIENT COLUMN^-EXPONENT COLUMN^EXPONENT …, such as loss = E + A N^-alpha + B D^-beta"
)


@dataclass(frozen=True)
class Power:
    """A column raised to an exponent, a factor of a term."""

    column: str
    exponent: str | float
    """Exponent: the name of a parameter, or a number ≥ 0."""
    sign: int
    """The sign before the exponent."""


@dataclass(frozen=True)
class Term:
    """A coefficient times powers of columns; a constant if there are no powers."""

    coefficient: str
    powers: tuple[Power, ...]


@dataclass(frozen=True)
class Formula:
    """A parsed law: target = S(floor + (Σ terms)^power), S(h) = h/(1 + h/ceiling) if there is a ceiling."""

    target: str
    terms: tuple[Term, ...]
    power: str | float
    floor: str | None
    """A constant outside the power; inside it, where the power is 1, a constant is a term without columns."""
    ceiling: str | float | None
    """Column or number at which the law saturates."""


def parse(text: str) -> Formula:
    """Parse a law.

    Raises
    ------
    ValueError
        Shows where reading stopped and what a law looks like, or which name was used twice.
    """
    reader = _Reader(text)
    target = reader.name("the target")
    reader.expect("=")
    ceiling: str | float | None = None
    if reader.peek() == "saturating":
        reader.take()
        reader.expect("(")
        terms, power, floor = reader.body()
        reader.expect(",")
        ceiling = reader.number_or_name("the ceiling")
        reader.expect(")")
    else:
        terms, power, floor = reader.body()
    if reader.peek() is not None:
        reader.fail("the end")
    formula = Formula(target, terms, power, floor, ceiling)
    _check_names(formula, text)
    return formula


def _check_names(formula: Formula, text: str) -> None:
    coefficients = [term.coefficient for term in formula.terms] + ([formula.floor] if formula.floor else [])
    columns = {power.column for term in formula.terms for power in term.powers}
    exponents = {
        power.exponent for term in formula.terms for power in term.powers if isinstance(power.exponent, str)
    } | ({formula.power} if isinstance(formula.power, str) else set())
    twice = {name for name in coefficients if coefficients.count(name) > 1}
    others = columns | exponents
    twice |= set(coefficients) & others | (columns & exponents) | ({formula.target} & (others | set(coefficients)))
    if twice:
        raise ValueError(f"expected a name of its own for each part of {text!r}, got {', '.join(sorted(twice))} twice")
    if isinstance(formula.ceiling, float) and not 0 < formula.ceiling < float("inf"):
        raise ValueError(f"expected a ceiling above 0 in {text!r}, got {formula.ceiling:g}")
    numbers = [power.exponent for term in formula.terms for power in term.powers if isinstance(power.exponent, float)]
    if any(number > 1e3 for number in numbers):
        raise ValueError(f"expected exponents of a sensible size in {text!r}, got {max(numbers):g}")
    if sum(not term.powers for term in formula.terms) > 1:
        raise ValueError(f"expected at most one constant in {text!r}: two cannot be told apart")
    if not columns:
        raise ValueError(f"expected at least one column in {text!r}: {GRAMMAR}")


class Tokens:
    """The tokens of a law as text, read from left to right; ``pattern`` has a group for each kind of token.

    Raises
    ------
    ValueError
        Where a token cannot be read; the message has ``forms``, what a law looks like.
    """

    def __init__(self, text: str, pattern: re.Pattern[str], forms: str) -> None:
        self.text, self.forms = text, forms
        self.tokens: list[str] = []
        self.place = place = 0
        while place < len(text.rstrip()):
            match = pattern.match(text, place)
            if not match:
                raise ValueError(f"cannot read {text[place:].strip()!r} in the law {text!r}: expected {forms}")
            self.tokens.append(next(part for part in match.groups() if part is not None))
            place = match.end()

    def peek(self, ahead: int = 0) -> str | None:
        """Return a token without taking it; None after the last one."""
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else None

    def take(self) -> str:
        """Take the next token and return it."""
        token = self.peek()
        if token is None:
            self.fail("more")
        self.place += 1
        return str(token)

    def fail(self, wanted: str) -> NoReturn:
        """Raise an error that says what was expected here."""
        left = " ".join(self.tokens[self.place :]) or "the end"
        raise ValueError(f"expected {wanted} at {left!r} in the law {self.text!r}: {self.forms}")

    def expect(self, token: str) -> None:
        """Take a token that must be there."""
        if self.peek() != token:
            self.fail(f"{token!r}")
        self.place += 1


class _Reader(Tokens):
    def __init__(self, text: str) -> None:
        super().__init__(text, _TOKEN, GRAMMAR)

    def name(self, what: str) -> str:
        token = self.peek()
        if token is None or not (token[0].isalpha() or token[0] == "_"):
            self.fail(f"a name for {what}")
        return self.take()

    def number_or_name(self, what: str) -> str | float:
        token = self.peek()
        if token is not None and (token[0].isdigit() or token[0] == "."):
            return float(self.take())
        return self.name(what)

    def body(self) -> tuple[tuple[Term, ...], str | float, str | None]:
        floor = None
        if self.peek() != "(" and self.peek(1) == "+" and self.peek(2) == "(":
            floor = self.name("the floor")
            self.expect("+")
        if self.peek() != "(":
            return self.sum(), 1.0, None
        self.expect("(")
        terms = self.sum()
        self.expect(")")
        power: str | float = 1.0
        if self.peek() == "^":
            self.take()
            power = self.number_or_name("the power")
            if power == 0:
                self.fail("a power above 0")
        if power == 1.0 and floor is not None:
            return (Term(floor, ()), *terms), 1.0, None
        return terms, power, floor

    def sum(self) -> tuple[Term, ...]:
        terms = [self.term()]
        while self.peek() == "+":
            self.take()
            terms.append(self.term())
        return tuple(terms)

    def term(self) -> Term:
        coefficient = self.name("a coefficient")
        powers: list[Power] = []
        while (token := self.peek()) is not None and (token in "*/" or token[0].isalpha() or token[0] == "_"):
            flip = -1 if token == "/" else 1
            if token in "*/":
                self.take()
            powers.append(self.factor(flip))
        return Term(coefficient, tuple(powers))

    def factor(self, flip: int) -> Power:
        column = self.name("a column")
        if self.peek() != "^":
            return Power(column, 1.0, flip)
        self.take()
        closing = self.peek() == "("
        if closing:
            self.take()
        sign = flip
        if self.peek() == "-":
            self.take()
            sign = -flip
        exponent = self.number_or_name("an exponent")
        if closing:
            self.expect(")")
        return Power(column, exponent, sign)

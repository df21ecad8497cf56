"""Laws: a target as a saturating power of a sum of power terms over named columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jepa_scale.laws.formula import Formula, Power, parse
from jepa_scale.shapes import Float64

EXPONENT_BOUNDS = {-1: (0.0, 10.0), 1: (-4.0, 10.0)}
"""Default bounds of an exponent, by the sign before it in the formula."""


@dataclass(frozen=True)
class Shape:
    """A parameter in which a law is not linear: an exponent, or the power m of the whole sum."""

    name: str
    low: float
    high: float
    fixed: float | None = None
    """Value of a parameter that is not fitted; None if it is fitted."""
    theory: float | None = None
    """Value that the theory predicts."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"expected bounds low < high for {self.name}, got low={self.low}, high={self.high}")
        if self.fixed is not None and not np.isfinite(self.fixed):
            raise ValueError(f"expected a finite fixed value for {self.name}, got {self.fixed}")

    def grid(self, points: int) -> Float64[np.ndarray, " points"]:
        """Return starting values: geometric if the bounds allow it, so that slow and fast decays are told apart."""
        if self.fixed is not None:
            return np.array([self.fixed])
        if self.low >= 0:
            # Below a five-hundredth of the range a power cannot be told from a constant, which has a term of its own.
            return np.geomspace(max(self.low, 2e-3 * self.high), self.high, points)
        return np.linspace(self.low, self.high, points)


@dataclass(frozen=True)
class Law:
    """A law R = S(c + (Σ_j A_j Π_i x_i^{e_ij})^m), with A_j, c ≥ 0 and S(h) = h or the saturating h / (1 + h/C).

    Declared by its formula, for example ``loss = E + A N^-alpha + B D^-beta``, ``regret = c + (A k^-g + B k^p n^-q)^m``
    or ``regret = saturating(A tail + B k^p n^-q, regret_random)``; `formula.parse` has the grammar. m = 1 unless the
    formula says otherwise. ``bounds``, ``fixed`` and ``theory`` speak of exponents by name.

    Raises
    ------
    ValueError
        If the formula cannot be read, or ``bounds``, ``fixed`` or ``theory`` name something else than its exponents.
    """

    name: str
    formula: str
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    theory: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(f"expected a name for the law {self.formula!r}, got an empty one")
        parsed = parse(self.formula)
        known = [shape.name for shape in _shapes(parsed, self.bounds, self.fixed, self.theory)]
        for what in ("bounds", "fixed", "theory"):
            for name in getattr(self, what):
                if name not in known:
                    raise ValueError(
                        f"{self.name}: {what} names {name!r}, but the exponents of {self.formula!r} are {known}"
                    )
        object.__setattr__(self, "_parsed", parsed)

    @property
    def parsed(self) -> Formula:
        """The parsed formula."""
        return self._parsed  # type: ignore[attr-defined]

    @property
    def target(self) -> str:
        """Name of the column that the law describes."""
        return self.parsed.target

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the law reads, in the order of the formula."""
        names = [power.column for term in self.parsed.terms for power in term.powers]
        if isinstance(self.parsed.ceiling, str):
            names.append(self.parsed.ceiling)
        return tuple(dict.fromkeys(names))

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the coefficients inside the power m, then of the floor outside it if there is one."""
        floor = () if self.parsed.floor is None else (self.parsed.floor,)
        return (*(term.coefficient for term in self.parsed.terms), *floor)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Exponents in the order of the formula, fixed ones included, then m if it has a name."""
        return _shapes(self.parsed, self.bounds, self.fixed, self.theory)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters θ: coefficients, then shapes."""
        return (*self.terms, *(shape.name for shape in self.shapes))

    @property
    def free(self) -> np.ndarray:
        """(parameters,) boolean: which parameters are fitted."""
        return np.array([True] * len(self.terms) + [shape.fixed is None for shape in self.shapes])

    def predict(
        self, theta: Float64[np.ndarray, "*draws parameters"], columns: Mapping[str, Float64[np.ndarray, " rows"]]
    ) -> Float64[np.ndarray, "*draws rows"]:
        """Return R for parameters in the formula's own units, ordered as ``names``.

        Raises
        ------
        ValueError
            If ``theta`` does not end in one entry per parameter, or a column is missing.
        """
        theta, rows = asked(self.formula, self.names, self.columns, theta, columns)
        value = dict(zip(self.names, np.moveaxis(theta, -1, 0)[..., None], strict=True))
        total = np.zeros(())
        with np.errstate(over="ignore", divide="ignore"):
            for term in self.parsed.terms:
                size = value[term.coefficient]
                for power in term.powers:
                    size = size * rows[power.column] ** _exponent(power, value)
                total = total + size
            total = np.broadcast_to(total, np.broadcast_shapes(total.shape, (*theta.shape[:-1], _length(rows))))
            m = self.parsed.power
            total = total ** (value[m] if isinstance(m, str) else m)
        if self.parsed.floor is not None:
            total = total + value[self.parsed.floor]
        ceiling = self.parsed.ceiling
        if ceiling is None:
            return np.array(total)
        top = rows[ceiling] if isinstance(ceiling, str) else ceiling
        return total / (1 + total / top)


@dataclass(frozen=True)
class LawFamily:
    """A law for several targets: one formula each, with shared names, bounds and predictions of the theory."""

    name: str
    formulas: Mapping[str, str]
    """Formulas by target, ``risk`` and ``regret`` for studies."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    theory: Mapping[str, float] = field(default_factory=dict)
    otherwise: str = ""
    """Right-hand side of the formula for every other target; empty: the family has none."""

    def on(self, target: str) -> Law:
        """Return the law of one target.

        Raises
        ------
        ValueError
            If the family has no formula for it.
        """
        if not self.describes(target):
            raise ValueError(f"{self.name} has formulas for {list(self.formulas)}, none for {target!r}")
        bounds = {name: (float(low), float(high)) for name, (low, high) in self.bounds.items()}
        formula = self.formulas.get(target, f"{target} = {self.otherwise}")
        return Law(self.name, formula, bounds, dict(self.fixed), dict(self.theory))

    def describes(self, target: str) -> bool:
        """Whether the family has a law for a target."""
        return target in self.formulas or bool(self.otherwise)


def asked(
    formula: str,
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    theta: np.ndarray,
    columns: Mapping[str, np.ndarray],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return parameters and columns as arrays of floats.

    Raises
    ------
    ValueError
        If ``theta`` does not end in one entry per name, or a column is missing.
    """
    theta = np.asarray(theta, dtype=np.float64)
    if theta.shape[-1] != len(names):
        raise ValueError(f"expected {len(names)} parameters {names}, got {theta.shape[-1]}")
    if any(name not in columns for name in wanted):
        raise ValueError(f"{formula} needs the columns {wanted}, got {tuple(columns)}")
    return theta, {name: np.asarray(columns[name], dtype=np.float64) for name in wanted}


def _shapes(
    parsed: Formula,
    bounds: Mapping[str, tuple[float, float]],
    fixed: Mapping[str, float],
    theory: Mapping[str, float],
) -> tuple[Shape, ...]:
    signs: dict[str, int] = {}
    for term in parsed.terms:
        for power in term.powers:
            if isinstance(power.exponent, str):
                signs.setdefault(power.exponent, power.sign)
    shapes = [
        Shape(name, *bounds.get(name, EXPONENT_BOUNDS[sign]), fixed.get(name), theory.get(name))
        for name, sign in signs.items()
    ]
    if isinstance(parsed.power, str):
        m = parsed.power
        shapes.append(Shape(m, *bounds.get(m, (0.1, 4.0)), fixed.get(m), theory.get(m)))
    return tuple(shapes)


def _exponent(power: Power, value: Mapping[str, np.ndarray]) -> np.ndarray | float:
    if isinstance(power.exponent, str):
        return power.sign * value[power.exponent]
    return power.sign * power.exponent


def _length(rows: Mapping[str, np.ndarray]) -> int:
    return max((len(column) for column in rows.values()), default=1)

"""Laws of any formula: derivatives by sympy, starts by variable projection, the same Newton steps as other laws."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from jepa_scale.laws.expression import Expression, parse_expression
from jepa_scale.laws.law import Law, LawFamily, asked
from jepa_scale.laws.losses import Loss
from jepa_scale.laws.problem import State
from jepa_scale.laws.rows import Rows
from jepa_scale.shapes import Float64

_MOST_PARAMETERS = 10
_FREE = 1e12
"""Bounds of a parameter if none are given."""


@dataclass(frozen=True)
class GeneralLaw:
    """A law R = any expression of columns and parameters.

    ``columns_known`` says which names are columns; ``bounds`` are of parameters, and there are none otherwise.

    Raises
    ------
    ValueError
        If the formula cannot be read, has too many parameters, or ``bounds`` names something else.

    Examples
    --------
    >>> law = GeneralLaw("pinned", "loss = 1.6 + A C^-alpha", frozenset({"C"}))
    >>> law.names, law.linear
    (('A', 'alpha'), ('A',))
    >>> law.predict(np.array([2.0, 0.5]), {"C": np.array([4.0, 16.0])})
    array([2.6, 2.1])
    """

    name: str
    formula: str
    columns_known: Collection[str]
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.names) > _MOST_PARAMETERS:
            raise ValueError(f"expected at most {_MOST_PARAMETERS} parameters in {self.formula!r}, got {self.names}")
        for name in self.bounds:
            if name not in self.names:
                raise ValueError(f"{self.name}: bounds names {name!r}, but the parameters are {self.names}")

    @cached_property
    def expression(self) -> Expression:
        """The parsed formula."""
        return parse_expression(self.formula, self.columns_known)

    @property
    def target(self) -> str:
        """Name of the column that the law describes."""
        return self.expression.target

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the law reads."""
        return self.expression.columns

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters θ."""
        return self.expression.parameters

    terms = names
    shapes: tuple[Any, ...] = ()
    """Shapes, which only laws that are sums of powers have; empty here."""

    @property
    def free(self) -> np.ndarray:
        """(parameters,) boolean, all true: a fixed parameter is written as a number in the formula."""
        return np.ones(len(self.names), dtype=bool)

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """Parameters in which the law is jointly linear."""
        body = self.expression.body
        symbols: list[Any] = []
        for symbol in self._symbols:
            if body.diff(symbol, 2) == 0 and all(body.diff(symbol, chosen) == 0 for chosen in symbols):
                symbols.append(symbol)
        return tuple(str(symbol) for symbol in symbols)

    @cached_property
    def _symbols(self) -> tuple[Any, ...]:
        import sympy

        return tuple(sympy.Symbol(name, real=True) for name in self.names)

    @cached_property
    def exponents(self) -> frozenset[str]:
        """Parameters that stand in an exponent."""
        import sympy

        symbols = {symbol for power in self.expression.body.atoms(sympy.Pow) for symbol in power.exp.free_symbols}
        return frozenset(str(symbol) for symbol in symbols) & frozenset(self.names)

    @cached_property
    def _compiled(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Functions of all parameters and columns: R, and R with its first and second derivatives."""
        import sympy

        body, count = self.expression.body, len(self.names)
        first = [body.diff(symbol) for symbol in self._symbols]
        second = [first[i].diff(self._symbols[j]) for i in range(count) for j in range(i + 1)]
        arguments = [*self._symbols, *(sympy.Symbol(name, positive=True) for name in self.columns)]
        # The derivative of a kink (min, max) is a step; that at the kink itself does not matter.
        options: dict[str, Any] = {
            "modules": [{"Heaviside": lambda x, *_: (x > 0) * 1.0, "DiracDelta": _none}, "numpy"]
        }
        value = sympy.lambdify(arguments, body, cse=True, **options)
        every = sympy.lambdify(arguments, [body, *first, *second], cse=True, **options)
        return value, every

    def values(self, theta: np.ndarray, columns: Mapping[str, np.ndarray]) -> Float64[np.ndarray, "*draws rows"]:
        """Return R for parameters ``theta`` (…, parameters)."""
        rows = np.broadcast_shapes(*(np.shape(columns[name]) for name in self.columns))
        with np.errstate(all="ignore"):
            values = self._compiled[0](*np.moveaxis(theta, -1, 0)[..., None], *(columns[name] for name in self.columns))
        return np.array(np.broadcast_to(values, (*theta.shape[:-1], *rows)), dtype=float)

    def derivatives(
        self, theta: Float64[np.ndarray, "draws parameters"], columns: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return R, ∂R and ∂²R: (draws, rows), (draws, parameters, rows), (draws, parameters, parameters, rows)."""
        count, rows = len(self.names), len(columns[self.columns[0]])
        with np.errstate(all="ignore"):
            parts = self._compiled[1](*np.moveaxis(theta, -1, 0)[..., None], *(columns[name] for name in self.columns))
        every = [np.broadcast_to(np.asarray(array, dtype=float), (len(theta), rows)) for array in parts]
        first, second = np.stack(every[1 : count + 1], axis=1), np.empty((len(theta), count, count, rows))
        places = [(i, j) for i in range(count) for j in range(i + 1)]
        for (i, j), part in zip(places, every[count + 1 :], strict=True):
            second[:, i, j] = second[:, j, i] = part
        return every[0], first, second

    def predict(
        self, theta: Float64[np.ndarray, "*draws parameters"], columns: Mapping[str, Float64[np.ndarray, " rows"]]
    ) -> Float64[np.ndarray, "*draws rows"]:
        """Return R for parameters ordered as ``names``.

        Raises
        ------
        ValueError
            If ``theta`` does not end in one entry per parameter, or a column is missing.
        """
        return self.values(*asked(self.formula, self.names, self.columns, theta, columns))


def law_of(formula: str, columns: Collection[str]) -> Law | GeneralLaw:
    """Return the law of a formula: a ``Law`` if it is a sum of powers, else a ``GeneralLaw``.

    Raises
    ------
    ValueError
        If neither can be read; the message is that of the general form.
    """
    try:
        plain = Law(formula, formula)
    except ValueError:
        return GeneralLaw(formula, formula, frozenset(columns))
    # As a sum of powers, a column in the place of a coefficient or an exponent is read as a parameter.
    if not set(plain.names) & set(columns):
        return plain
    try:
        return GeneralLaw(formula, formula, frozenset(columns))
    except ValueError:
        return plain


@dataclass(frozen=True)
class FormulaFamily(LawFamily):
    """A family of laws with one formula of any form, for one target."""

    columns: frozenset[str] = frozenset()
    """Names that are columns; other names are parameters."""

    def on(self, target: str) -> Law | GeneralLaw:  # type: ignore[override]
        """Return the law of the family's target.

        Raises
        ------
        ValueError
            If it has no formula for it.
        """
        if not self.describes(target):
            raise ValueError(f"{self.name} has formulas for {list(self.formulas)}, none for {target!r}")
        return law_of(self.formulas[target], self.columns)


def _none(*arguments: Any) -> float:
    return 0.0


@dataclass(frozen=True)
class GeneralProblem:
    """The fit min_θ Σ_i w_i ℓ(ln R_θ(x_i); R_i) of a law of any formula, each parameter in units of its ``scale``."""

    law: GeneralLaw
    rows: Rows
    loss: Loss
    scale: Float64[np.ndarray, " parameters"]
    prior: None = None

    @property
    def free(self) -> np.ndarray:
        """(parameters,) boolean"""
        return self.law.free

    @cached_property
    def low(self) -> Float64[np.ndarray, " parameters"]:
        """Lower bounds."""
        return np.array([self.law.bounds.get(name, (-_FREE, _FREE))[0] for name in self.law.names]) / self.scale

    @cached_property
    def high(self) -> Float64[np.ndarray, " parameters"]:
        """Upper bounds."""
        return np.array([self.law.bounds.get(name, (-_FREE, _FREE))[1] for name in self.law.names]) / self.scale

    @cached_property
    def smooth(self) -> GeneralProblem:
        """The same problem with the kinks of its loss smoothed."""
        stages = self.loss.stages(float(np.median(np.abs(self.rows.target))))
        return self if stages[-1] == self.loss else replace(self, loss=stages[1])

    def natural(self, theta: Float64[np.ndarray, "*draws parameters"]) -> Float64[np.ndarray, "*draws parameters"]:
        """Return parameters in the formula's own units."""
        return theta * self.scale

    def state(self, theta: Float64[np.ndarray, "draws parameters"]) -> State:
        """Evaluate the law; ln R is NaN where R ≤ 0, which makes the objective infinite."""
        value = self.law.values(theta * self.scale, self.rows.columns)
        with np.errstate(invalid="ignore", divide="ignore"):
            y = np.where(np.isfinite(value) & (value > 0), np.log(value), np.nan)
        return State(theta, theta, value, value, value, y)

    def objective(self, state: State, weights: np.ndarray, target: np.ndarray) -> Float64[np.ndarray, " draws"]:
        """Return Σ w ℓ; infinite where the law is not above 0."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = (weights * self.loss.value(state.y, self.rows, target)).sum(axis=1)
        return np.where(np.isfinite(value), value, np.inf)

    def _slopes(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Return first and second derivatives of y = ln R."""
        value, first, second = self.law.derivatives(state.theta * self.scale, self.rows.columns)
        with np.errstate(all="ignore"):
            slope = first * self.scale[:, None] / value[:, None]
            bend = second * (self.scale[:, None] * self.scale)[..., None] / value[:, None, None]
        bend = bend - slope[:, :, None] * slope[:, None]
        return np.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0), np.nan_to_num(
            bend, nan=0.0, posinf=0.0, neginf=0.0
        )

    def sensitivity(self, state: State) -> Float64[np.ndarray, "draws parameters rows"]:
        """Return ∂y/∂θ."""
        return self._slopes(state)[0]

    def curvature(
        self, state: State, weights: np.ndarray, target: np.ndarray, exact: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return gradient, Hessian and a positive diagonal; see ``Problem.curvature``."""
        slopes = self.loss.slopes(state.y, self.rows, target)
        slope, bend = self._slopes(state)
        first, major = weights * slopes.first, weights * slopes.majorant
        gradient = np.matmul(slope, first[..., None])[..., 0]
        diagonal = np.matmul(slope**2, major[..., None])[..., 0]
        outer = np.where(exact[:, None], weights * slopes.second, major)
        hessian = np.matmul(slope * outer[:, None], slope.transpose(0, 2, 1))
        hessian += np.where(exact, 1.0, 0.0)[:, None, None] * np.einsum("dpqr,dr->dpq", bend, first)
        return gradient, hessian, diagonal

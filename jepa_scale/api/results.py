"""Results for notebooks: short to print, tables and plots to look at, values to compute with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from jepa_scale.laws.table import FittedLaw, TableStudy
from jepa_scale.records import Advice
from jepa_scale.runs.errors import UserError

if TYPE_CHECKING:
    from jepa_scale.laws.outlook import Outlook
    from jepa_scale.studies.advising import Answer


def new_axes(axes: Any = None) -> Any:
    """Return axes to draw on: those given, else new ones of a figure that pyplot knows."""
    if axes is not None:
        return axes
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def _html(head: list[str], rows: list[list[str]], caption: str = "") -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{cells}</tr>{body}</table>"


def frame(columns: Mapping[str, Any]) -> Any:
    """Return a pandas data frame.

    Raises
    ------
    ImportError
        If pandas is not installed.
    """
    from importlib import import_module

    try:
        pandas = import_module("pandas")
    except ImportError:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from None
    return pandas.DataFrame(dict(columns))


@dataclass(frozen=True)
class FitResult:
    """Laws fitted to a table; ``laws`` holds each with its fit, back-tests and profiles.

    Examples
    --------
    >>> import jepa_scale, numpy as np
    >>> N = np.logspace(5, 8, 20)
    >>> runs = jepa_scale.Runs.from_dataframe({"N": N, "loss": 1.7 + 400 * N**-0.34})
    >>> fit = runs.fit("loss = E + A N^-a", draws=50)
    >>> fit
    FitResult(loss = E + A N^-a: E = 1.7, A = 400, a = 0.34; 20 runs)
    >>> fit.predict(N=[1e9]).round(3)
    array([2.048])
    """

    study: TableStudy = field(repr=False)

    @property
    def laws(self) -> tuple[FittedLaw, ...]:
        """The fitted laws."""
        return self.study.laws

    @property
    def best(self) -> FittedLaw:
        """The law of smallest AICc among those that converged.

        Raises
        ------
        ValueError
            If none did; the message says why.
        """
        converged = [law for law in self.laws if law.fit.status == "converged"]
        if not converged:
            reasons = "; ".join(f"{law.fit.law}: {law.fit.status}, {law.fit.reason}" for law in self.laws)
            raise UserError(f"no law was fitted: {reasons}")
        return min(converged, key=lambda law: law.fit.aicc)

    @property
    def parameters(self) -> dict[str, tuple[float, float, float]]:
        """Value, low and high of each parameter of the best law, by name."""
        return {item.name: (item.value, item.low, item.high) for item in self.best.fit.parameters}

    def predict(self, **columns: Any) -> np.ndarray:
        """Return the best law's value at points, a number or array for each of its columns.

        Raises
        ------
        ValueError
            If a column is missing, or one is not the law's.
        """
        law = self.best.law
        if set(columns) != set(law.columns):
            raise UserError(f"expected {', '.join(law.columns)}, got {', '.join(columns) or 'nothing'}")
        points = np.broadcast_arrays(*(np.atleast_1d(np.asarray(columns[name], float)) for name in law.columns))
        theta = np.array([item.value for item in self.best.fit.parameters])
        return law.predict(theta, dict(zip(law.columns, points, strict=True)))

    def to_pandas(self) -> Any:
        """Return a data frame with a row for each parameter of each law.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        head = ("law", "parameter", "value", "low", "high")
        return frame(dict(zip(head, zip(*self._rows(), strict=True), strict=True)))

    def plot(self, axes: Any = None) -> Any:
        """Plot the runs and the best law along them, by the size of the run; returns the axes."""
        axes, study, law = new_axes(axes), self.study, self.best
        order = np.argsort(study.scale)
        axes.plot(study.scale, study.columns[study.target], "o", markersize=3, alpha=0.6, label="runs")
        axes.plot(study.scale[order], law.fitted[order], "k.", markersize=3, label=law.fit.law)
        axes.set_xscale("log")
        axes.set_xlabel(study.scale_name)
        axes.set_ylabel(study.target)
        axes.legend()
        return axes

    def _rows(self) -> list[tuple[str, str, float, float, float]]:
        return [
            (law.fit.law, item.name, item.value, item.low, item.high)
            for law in self.laws
            for item in law.fit.parameters
        ]

    def _repr_html_(self) -> str:
        rows = [[law, name, f"{value:.5g}", f"[{low:.3g}, {high:.3g}]"] for law, name, value, low, high in self._rows()]
        level = f"{100 * self.laws[0].fit.level:.0f} % interval"
        return _html(["law", "parameter", "value", level], rows, f"{self.study.source}: {len(self.study.scale)} runs")

    def __repr__(self) -> str:
        parts = []
        for law in self.laws:
            shown = ", ".join(f"{item.name} = {item.value:.3g}" for item in law.fit.parameters)
            parts.append(f"{law.fit.formula}: {shown if law.fit.status == 'converged' else law.fit.status}")
        return f"FitResult({' | '.join(parts)}; {len(self.study.scale)} runs)"


@dataclass(frozen=True)
class ForecastResult:
    """Forecasts of one run at points: mean, interval, and whether the point is as near as forecasts were checked."""

    n: np.ndarray
    k: np.ndarray
    predicted: np.ndarray
    low: np.ndarray
    high: np.ndarray
    checked: np.ndarray
    level: float
    draws: np.ndarray = field(repr=False)
    """(draws, points): draws of one run."""

    @classmethod
    def of(cls, outlook: Outlook, n: np.ndarray, k: np.ndarray, level: float) -> ForecastResult:
        """Forecast points by an outlook."""
        draws = outlook.run_draws(k, n, 0)
        predicted = outlook.predicted(k, n)
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        far_n, far_k = outlook.decades(k, n)
        checked = (far_n <= outlook.checked[0] + 1e-9) & (far_k <= outlook.checked[1] + 1e-9)
        return cls(n, k, predicted, np.minimum(low, predicted), np.maximum(high, predicted), checked, level, draws)

    def probability(self, target_regret: float) -> np.ndarray:
        """Return P(regret of one run ≤ target) at each point."""
        return np.asarray((self.draws <= target_regret).mean(axis=0))

    def to_pandas(self) -> Any:
        """Return a data frame with a row for each point.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        names = ("n", "k", "predicted", "low", "high", "checked")
        return frame({name: getattr(self, name) for name in names})

    def plot(self, axes: Any = None) -> Any:
        """Plot the intervals over n, one colour for each k; returns the axes."""
        axes = new_axes(axes)
        for width in np.unique(self.k):
            here = np.flatnonzero(self.k == width)
            here = here[np.argsort(self.n[here])]
            (line,) = axes.plot(self.n[here], self.predicted[here], "D-", markersize=4, label=f"k = {width:g}")
            axes.vlines(self.n[here], self.low[here], self.high[here], color=line.get_color(), alpha=0.5, linewidth=4)
        axes.set_xscale("log")
        axes.set_xlabel("n")
        axes.set_ylabel("regret of one run")
        axes.legend()
        return axes

    def _lines(self) -> list[list[str]]:
        columns = zip(self.n, self.k, self.predicted, self.low, self.high, self.checked, strict=True)
        return [
            [f"{n:g}", f"{k:g}", f"{mean:.3g}", f"[{low:.3g}, {high:.3g}]", "" if checked else "farther than checked"]
            for n, k, mean, low, high, checked in columns
        ]

    def _repr_html_(self) -> str:
        return _html(["n", "k", "regret", f"{100 * self.level:.0f} % interval of one run", ""], self._lines())

    def __repr__(self) -> str:
        shown = [
            f"n = {n}, k = {k}: {mean} {ends}{f' ({note})' if note else ''}"
            for n, k, mean, ends, note in self._lines()[:3]
        ]
        more = f"; {len(self.n) - 3} more" if len(self.n) > 3 else ""
        return f"ForecastResult({'; '.join(shown)}{more})"


@dataclass(frozen=True)
class AdviceResult:
    """The answer to one question: ``verdict``, ``probability``, ``lines`` and the whole ``advice``."""

    answer: Answer = field(repr=False)

    @property
    def advice(self) -> Advice:
        """The record that everything else is read from."""
        return self.answer.advice

    @property
    def verdict(self) -> str:
        """``sufficient``, ``insufficient``, ``undecided`` or ``cannot say``."""
        return self.advice.verdict.status

    @property
    def probability(self) -> float | None:
        """P(regret of one run ≤ target); None if it cannot be estimated."""
        return self.advice.verdict.probability

    @property
    def lines(self) -> list[str]:
        """The sentences that ``jepa-scale advise`` prints."""
        from jepa_scale.report.advice import advice_lines

        told = [f"Caution: {finding}." for finding in self.answer.findings]
        return [*told, *self.answer.remarks, *advice_lines(self.advice)]

    def to_pandas(self) -> Any:
        """Return the runs to do next, a row for each.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        runs = self.advice.next_runs
        return frame({name: [getattr(run, name) for run in runs] for name in ("n", "k", "seeds", "hours", "why")})

    def plot(self, axes: Any = None) -> Any:
        """Plot the forecast regret over n and k as contours, with the point asked about; returns the axes."""
        axes, surface, verdict = new_axes(axes), self.advice.surface, self.advice.verdict
        drawn = axes.pcolormesh(surface.n, surface.k, np.asarray(surface.regret).T, shading="nearest")
        axes.figure.colorbar(drawn, ax=axes, label="regret")
        axes.plot(verdict.n, verdict.k, "rD", label=f"{verdict.status} at n = {verdict.n}, k = {verdict.k}")
        axes.set_xscale("log")
        axes.set_yscale("log", base=2)
        axes.set_xlabel("n")
        axes.set_ylabel("k")
        axes.legend()
        return axes

    def _repr_html_(self) -> str:
        first, *others = self.lines
        items = "".join(f"<li>{escape(line)}</li>" for line in others)
        return f"<p><b>{escape(first)}</b></p><ul>{items}</ul>"

    def __repr__(self) -> str:
        verdict = self.advice.verdict
        chance = "" if verdict.probability is None else f", P = {verdict.probability:.2g}"
        return f"AdviceResult({verdict.status} at n = {verdict.n}, k = {verdict.k}{chance})"

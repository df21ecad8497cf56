"""Fit problem of a law on rows, in coordinates centred on them: predictions and derivatives for parameter batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import Loss
from jepa_scale.laws.rows import Rows
from jepa_scale.shapes import Float64

_EXTREME = 600.0
"""Largest |ln φ|: beyond it exp overflows, and no fit ends there."""
_TINY = 1e-60
"""Smallest Σ c φ: the logarithm of 0 is infinite, and a step from there must not be."""


@dataclass(frozen=True)
class State:
    """Predictions of a batch of parameters, with intermediate values."""

    theta: Float64[np.ndarray, "draws parameters"]
    basis: Float64[np.ndarray, "draws terms rows"]
    """φ_j at the rows, divided by φ_j at the centre."""
    total: Float64[np.ndarray, "draws rows"]
    """S = Σ_j c_j φ_j"""
    raised: Float64[np.ndarray, "draws rows"]
    """h = S^m"""
    level: Float64[np.ndarray, "draws rows"]
    """H = C + h, before the ceiling."""
    y: Float64[np.ndarray, "draws rows"]
    """ln R̂"""


@dataclass(frozen=True)
class Problem:
    """The fit min_θ Σ_i w_i ℓ(ln R_θ(x_i); R_i) over c ≥ 0 and bounded shapes.

    A coefficient is measured as the size of its term at the centre of the rows (geometric mean of each column):
    c̃_j = c_j φ_j(centre). That centres the logarithms of all columns; without it A and α have correlation .999.
    Parameters leave this class in the formula's own units by ``natural`` only.
    """

    law: Law
    rows: Rows
    loss: Loss
    prior: tuple[np.ndarray, np.ndarray] | None = None
    """Centre and precision of a Gaussian prior on the centred parameters, (parameters,) each; the objective is then
    −ln posterior if the weights are those of a likelihood. For designs with fewer cells than parameters."""

    @cached_property
    def free(self) -> np.ndarray:
        """(parameters,) boolean: which parameters are fitted."""
        return self.law.free

    @cached_property
    def low(self) -> Float64[np.ndarray, " parameters"]:
        """Lower bounds: 0 for coefficients."""
        return np.array([0.0] * len(self.law.terms) + [s.low if s.fixed is None else s.fixed for s in self.law.shapes])

    @cached_property
    def high(self) -> Float64[np.ndarray, " parameters"]:
        """Upper bounds: none for coefficients."""
        shapes = [s.high if s.fixed is None else s.fixed for s in self.law.shapes]
        return np.array([np.inf] * len(self.law.terms) + shapes)

    @cached_property
    def smooth(self) -> Problem:
        """The same problem with the kinks of its loss smoothed, for curvatures, which kinks do not have."""
        stages = self.loss.stages(float(np.median(np.abs(self.rows.target))))
        return self if stages[-1] == self.loss else replace(self, loss=stages[1])

    @property
    def inner(self) -> int:
        """Number of terms inside the power."""
        return len(self.law.parsed.terms)

    @cached_property
    def logarithms(self) -> dict[str, np.ndarray]:
        """ln of each column less its mean over the rows; −∞ at 0."""
        logarithms = {}
        with np.errstate(divide="ignore"):
            for term in self.law.parsed.terms:
                for power in term.powers:
                    column = np.log(self.rows.columns[power.column])
                    logarithms[power.column] = column - column[np.isfinite(column)].mean()
        return logarithms

    @cached_property
    def means(self) -> dict[str, float]:
        """Mean of the logarithm of each column."""
        with np.errstate(divide="ignore"):
            logarithms = {name: np.log(self.rows.columns[name]) for name in self.logarithms}
        return {name: float(column[np.isfinite(column)].mean()) for name, column in logarithms.items()}

    @cached_property
    def offsets(self) -> Float64[np.ndarray, "rows terms"]:
        """ln of the part of φ_j that no parameter changes."""
        offsets = np.zeros((len(self.rows), self.inner))
        for j, term in enumerate(self.law.parsed.terms):
            for power in term.powers:
                if isinstance(power.exponent, float) and power.exponent != 0:
                    offsets[:, j] += power.sign * power.exponent * self.logarithms[power.column]
        return offsets

    @cached_property
    def slots(self) -> tuple[tuple[int, int, np.ndarray], ...]:
        """Term j, parameter q and the column that q multiplies inside ln φ_j, for every exponent with a name."""
        place = {name: index for index, name in enumerate(self.law.names)}
        columns: dict[tuple[int, int], np.ndarray] = {}
        for j, term in enumerate(self.law.parsed.terms):
            for power in term.powers:
                if isinstance(power.exponent, str):
                    key = j, place[power.exponent]
                    columns[key] = columns.get(key, 0.0) + power.sign * self.logarithms[power.column]
        return tuple((j, q, column) for (j, q), column in columns.items())

    @cached_property
    def power_index(self) -> int | None:
        """Index of m among the parameters; None if it is a number."""
        m = self.law.parsed.power
        return self.law.names.index(m) if isinstance(m, str) else None

    @property
    def floor_index(self) -> int | None:
        """Index of the floor outside the power among the parameters; None if there is none."""
        return None if self.law.parsed.floor is None else self.inner

    @cached_property
    def ceiling(self) -> np.ndarray | None:
        """Ceiling C of the saturating link, (rows,) or (1,); None without one."""
        top = self.law.parsed.ceiling
        if top is None:
            return None
        return self.rows.columns[top] if isinstance(top, str) else np.array([top])

    def powers(self, theta: Float64[np.ndarray, "draws parameters"]) -> np.ndarray:
        """Return m as (draws, 1) or (1, 1)."""
        if self.power_index is None:
            return np.full((1, 1), float(self.law.parsed.power))
        return theta[:, self.power_index, None]

    @cached_property
    def plain(self) -> bool:
        """Whether H = S: m = 1 and no floor outside."""
        return self.power_index is None and self.floor_index is None and float(self.law.parsed.power) == 1.0

    def natural(self, theta: Float64[np.ndarray, "*draws parameters"]) -> Float64[np.ndarray, "*draws parameters"]:
        """Return centred parameters in the formula's own units."""
        return self._scaled(theta, -1.0)

    def centred(self, theta: Float64[np.ndarray, "*draws parameters"]) -> Float64[np.ndarray, "*draws parameters"]:
        """Return parameters in the formula's own units in centred coordinates."""
        return self._scaled(theta, 1.0)

    def _scaled(self, theta: np.ndarray, sign: float) -> np.ndarray:
        result = np.array(theta, dtype=np.float64)
        place = {name: index for index, name in enumerate(self.law.names)}
        for j, term in enumerate(self.law.parsed.terms):
            shift = np.zeros(result.shape[:-1])
            for power in term.powers:
                exponent = result[..., place[power.exponent]] if isinstance(power.exponent, str) else power.exponent
                shift = shift + power.sign * exponent * self.means[power.column]
            result[..., j] *= np.exp(sign * shift)
        return result

    def basis(self, theta: Float64[np.ndarray, "draws parameters"]) -> Float64[np.ndarray, "draws terms rows"]:
        """Return φ_j at the rows divided by φ_j at the centre."""
        basis = np.empty((len(theta), self.inner, len(self.rows)))
        for j in range(self.inner):
            slots = [(q, column) for term, q, column in self.slots if term == j]
            logarithm = self.offsets[:, j]
            for q, column in slots:
                logarithm = logarithm + theta[:, q, None] * column
            # A constant needs no exponential for each draw.
            basis[:, j] = np.exp(np.minimum(logarithm, _EXTREME))
        return basis

    def state(self, theta: Float64[np.ndarray, "draws parameters"]) -> State:
        """Evaluate the law."""
        basis = self.basis(theta)
        total = np.maximum(np.matmul(theta[:, None, : self.inner], basis)[:, 0], _TINY)
        m = self.powers(theta)
        with np.errstate(over="ignore"):
            raised = total if self.power_index is None and m[0, 0] == 1.0 else np.maximum(total**m, _TINY)
        level = raised if self.floor_index is None else theta[:, self.floor_index, None] + raised
        y = np.log(level)
        if self.ceiling is not None:
            y = y - np.log1p(level / self.ceiling)
        return State(theta, basis, total, raised, level, y)

    def objective(
        self, state: State, weights: Float64[np.ndarray, "draws rows"], target: np.ndarray
    ) -> Float64[np.ndarray, " draws"]:
        """Return Σ w ℓ; infinite where a prediction overflows, so that such a step is never kept."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = (weights * self.loss.value(state.y, self.rows, target)).sum(axis=1)
        if self.prior is not None:
            value = value + 0.5 * ((state.theta - self.prior[0]) ** 2 * self.prior[1]).sum(axis=1)
        return np.where(np.isfinite(value), value, np.inf)

    def sensitivity(self, state: State) -> Float64[np.ndarray, "draws parameters rows"]:
        """Return ∂y/∂θ."""
        gradient = self._total_gradient(state)
        level = self._level_gradient(state, gradient)
        return level * self._link(state)[:, None]

    def _link(self, state: State) -> np.ndarray:
        """Return ∂y/∂ln H."""
        return np.ones((1, 1)) if self.ceiling is None else 1.0 / (1.0 + state.level / self.ceiling)

    def _total_gradient(self, state: State) -> Float64[np.ndarray, "draws parameters rows"]:
        """Return ∂ ln S/∂θ."""
        inner = self.inner
        gradient = np.zeros((len(state.y), state.theta.shape[1], len(self.rows)))
        np.divide(state.basis, state.total[:, None], out=gradient[:, :inner])
        for j, q, column in self.slots:
            gradient[:, q] += state.theta[:, j, None] * gradient[:, j] * column
        return gradient

    def _level_gradient(self, state: State, gradient: np.ndarray) -> np.ndarray:
        """Return ∂ ln H/∂θ from ∂ ln S/∂θ."""
        if self.plain:
            return gradient
        share = state.raised / state.level
        result = gradient * (self.powers(state.theta) * share)[:, None]
        if self.power_index is not None:
            result[:, self.power_index] += np.log(state.total) * share
        if self.floor_index is not None:
            result[:, self.floor_index] += 1.0 / state.level
        return result

    def curvature(
        self, state: State, weights: Float64[np.ndarray, "draws rows"], target: np.ndarray, exact: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return gradient, Hessian and a positive diagonal, of Σ w ℓ in θ.

        ``exact``, (draws,) boolean: the exact Hessian, or the majorant J^T κ J whose steps always descend.
        """
        slopes = self.loss.slopes(state.y, self.rows, target)
        first = weights * slopes.first
        link = self._link(state)
        total = self._total_gradient(state)
        level = self._level_gradient(state, total)
        gradient = np.matmul(level, (first * link)[..., None])[..., 0]
        major = weights * slopes.majorant * link**2
        diagonal = np.matmul(level**2, major[..., None])[..., 0]
        bend = weights * slopes.second * link**2 - first * link * (1 - link)
        outer = np.where(exact[:, None], bend, major)
        hessian = np.matmul(level * outer[:, None], level.transpose(0, 2, 1))
        if exact.any():
            hessian += np.where(exact, 1.0, 0.0)[:, None, None] * self._bend(state, first * link, total)
        if self.prior is not None:
            gradient = gradient + (state.theta - self.prior[0]) * self.prior[1]
            hessian = hessian + np.diag(self.prior[1])
            diagonal = diagonal + self.prior[1]
        return gradient, hessian, diagonal

    def _bend(self, state: State, pull: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Return Σ_i pull_i ∇² ln H_i."""
        m, share = self.powers(state.theta), state.raised / state.level
        simple = self.power_index is None and self.floor_index is None
        # ∇² ln S = (second derivatives of S)/S − ∇ ln S ∇ ln Sᵀ, and ln H bends in ln S where there is a floor.
        own = pull * (m**2 * share * (1 - share) - m * share)
        result = np.matmul(total * own[:, None], total.transpose(0, 2, 1))
        scaled = pull * m * share
        terms = total[:, : self.inner]
        for j, q, column in self.slots:
            pulled = scaled * terms[:, j]
            mixed = pulled @ column
            result[:, j, q] += mixed
            result[:, q, j] += mixed
            for term, r, second in self.slots:
                if term == j:
                    result[:, q, r] += state.theta[:, j] * (pulled @ (column * second))
        if not simple:
            self._bend_outside(state, pull, total, result)
        return result

    def _bend_outside(self, state: State, pull: np.ndarray, total: np.ndarray, result: np.ndarray) -> None:
        """Add the second derivatives that involve m or the floor."""
        m, share, s = self.powers(state.theta), state.raised / state.level, np.log(state.total)
        mixture = share * (1 - share)
        if self.power_index is not None:
            p = self.power_index
            with_total = np.matmul(total, (pull * (share + m * s * mixture))[..., None])[..., 0]
            result[:, p, :] += with_total
            result[:, :, p] += with_total
            result[:, p, p] += (pull * s**2 * mixture).sum(axis=1)
        if self.floor_index is not None:
            c = self.floor_index
            with_total = np.matmul(total, (-pull * m * share / state.level)[..., None])[..., 0]
            result[:, c, :] += with_total
            result[:, :, c] += with_total
            result[:, c, c] -= (pull / state.level**2).sum(axis=1)
            if self.power_index is not None:
                both = -(pull * s * share / state.level).sum(axis=1)
                result[:, c, self.power_index] += both
                result[:, self.power_index, c] += both

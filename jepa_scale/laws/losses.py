"""Losses between prediction and observation, with two derivatives in the logarithm of the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import special

from jepa_scale.laws.rows import Rows
from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class Slopes:
    """Value and derivatives of a loss at y = ln R̂, for draws × rows."""

    value: Float64[np.ndarray, "draws rows"]
    first: Float64[np.ndarray, "draws rows"]
    """∂ℓ/∂y"""
    second: Float64[np.ndarray, "draws rows"]
    """∂²ℓ/∂y²"""
    majorant: Float64[np.ndarray, "draws rows"]
    """A positive curvature, with which a step descends even where ``second`` is 0 or negative."""


class Loss(Protocol):
    """A loss ℓ(y; observation) in y = ln R̂, where positive predictions need no bounds."""

    @property
    def name(self) -> str:
        """For reports."""

    @property
    def relative(self) -> bool:
        """Whether residuals are differences of logarithms."""

    def check(self, rows: Rows) -> None:
        """Raise ValueError for targets for which the loss is undefined."""

    def value(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Float64[np.ndarray, "draws rows"]:
        """Return ℓ; infinite where the prediction is impossible."""

    def slopes(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Slopes:
        """Return ℓ with its derivatives."""

    def stages(self, scale: float = 1.0) -> Sequence[Loss]:
        """Return the smooth losses to minimise one after another; the loss itself is the last if it is smooth.

        ``scale`` is the size of the target, for losses in its units.
        """


def _positive(rows: Rows, what: str) -> None:
    bad = np.flatnonzero(rows.target <= 0)
    if len(bad):
        raise ValueError(
            f"{what} takes the logarithm of the target, which is {rows.target[bad[0]]:g} in row {bad[0]} "
            f"({len(bad)} of {len(rows)} rows): use weighted squares, or a binomial loss on counts"
        )


@dataclass(frozen=True)
class HuberLog:
    """Huber_δ(ln R̂ − ln R) = r²/2 for |r| ≤ δ, else δ(|r| − δ/2); least squares of logarithms for δ = ∞.

    The loss of published scaling fits (δ = 10⁻³, natural logarithms, summed; Hoffmann et al., arXiv:2203.15556). δ is
    in units of ln R and belongs to the noise: 1.345 of its sd where seeds are replicated.
    """

    delta: float = 1e-3

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise ValueError(f"expected a Huber δ above 0, got {self.delta}")

    @property
    def name(self) -> str:
        """For reports."""
        return f"Huber(ln R̂ − ln R), δ = {self.delta:g}" if np.isfinite(self.delta) else "squares of ln R̂ − ln R"

    @property
    def relative(self) -> bool:
        """Whether residuals are logarithms: yes."""
        return True

    def check(self, rows: Rows) -> None:
        """Refuse targets without a logarithm."""
        _positive(rows, self.name)

    def value(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Float64[np.ndarray, "draws rows"]:
        """Return ℓ."""
        del rows
        size = np.abs(y - np.log(target))
        if not np.isfinite(self.delta):
            return 0.5 * size**2
        return np.where(size <= self.delta, 0.5 * size**2, self.delta * (size - 0.5 * self.delta))

    def slopes(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Slopes:
        """Return ℓ with its derivatives."""
        del rows
        residual = y - np.log(target)
        size = np.abs(residual)
        first = np.clip(residual, -self.delta, self.delta)
        inside = size <= self.delta
        majorant = np.ones_like(size) if not np.isfinite(self.delta) else self.delta / np.maximum(size, self.delta)
        return Slopes(np.abs(first) * (size - 0.5 * np.abs(first)), first, inside.astype(float), majorant)

    def stages(self, scale: float = 1.0) -> Sequence[Loss]:
        """Return the loss itself, which is smooth enough."""
        del scale
        return (self,)


@dataclass(frozen=True)
class Squares:
    """(R̂ − R)²/2 on the scale of R itself: the loss for regrets that are 0, weights 1/variance."""

    @property
    def name(self) -> str:
        """For reports."""
        return "weighted squares"

    @property
    def relative(self) -> bool:
        """Residuals are on the scale of R."""
        return False

    def check(self, rows: Rows) -> None:
        """Accept every target."""

    def value(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Float64[np.ndarray, "draws rows"]:
        """Return ℓ."""
        del rows
        return 0.5 * (np.exp(y) - target) ** 2

    def slopes(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Slopes:
        """Return ℓ with its derivatives."""
        del rows
        predicted = np.exp(y)
        residual = predicted - target
        first = residual * predicted
        return Slopes(0.5 * residual**2, first, predicted**2 + first, predicted**2)

    def stages(self, scale: float = 1.0) -> Sequence[Loss]:
        """It is smooth."""
        del scale
        return (self,)


@dataclass(frozen=True)
class Absolute:
    """Absolute deviation: ``over`` (R̂ − R)₊ + ``under`` (R − R̂)₊, of logarithms or of R itself.

    Least absolute deviations for equal weights. With ``under`` ≪ ``over`` the fit is a lower envelope of the runs,
    for runs that were not tuned well enough and lie above the law. ``smoothing`` rounds the kink over that width, in
    units of the residual; a fit shrinks it until it does not matter and then solves for the kinks.
    """

    over: float = 1.0
    under: float = 1.0
    logarithmic: bool = True
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.over < np.inf and 0 < self.under < np.inf):
            raise ValueError(f"expected finite weights above 0 on both sides, got {self.over:g} and {self.under:g}")

    @property
    def name(self) -> str:
        """For reports."""
        residual = "ln R̂ − ln R" if self.logarithmic else "R̂ − R"
        sides = "" if self.over == self.under else f", ×{self.over:g} above and ×{self.under:g} below the data"
        return f"absolute {residual}{sides}"

    @property
    def relative(self) -> bool:
        """Whether residuals are logarithms."""
        return self.logarithmic

    def check(self, rows: Rows) -> None:
        """Refuse targets without a logarithm where one is taken."""
        if self.logarithmic:
            _positive(rows, self.name)

    def residual(self, y: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the residual and its slope in y."""
        if self.logarithmic:
            return y - np.log(target), np.ones_like(y)
        predicted = np.exp(y)
        return predicted - target, predicted

    def value(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Float64[np.ndarray, "draws rows"]:
        """Return ℓ."""
        del rows
        residual, _ = self.residual(y, target)
        size, side = np.abs(residual), np.where(residual > 0, self.over, self.under)
        if self.smoothing == 0:
            return side * size
        inside = size <= self.smoothing
        return side * np.where(inside, 0.5 * size**2 / self.smoothing, size - 0.5 * self.smoothing)

    def slopes(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Slopes:
        """Return ℓ with its derivatives."""
        residual, slope = self.residual(y, target)
        width = max(self.smoothing, 1e-300)
        size, side = np.abs(residual), np.where(residual > 0, self.over, self.under)
        toward = side * np.clip(residual / width, -1.0, 1.0)
        inside = size <= width
        bend = np.zeros_like(y) if self.logarithmic else toward * slope
        second = np.where(inside, side / width, 0.0) * slope**2 + bend
        return Slopes(self.value(y, rows, target), toward * slope, second, side / np.maximum(size, width) * slope**2)

    def stages(self, scale: float = 1.0) -> Sequence[Loss]:
        """Return losses with ever less smoothing of the kink, in units of ``scale``; ``vertex.settle`` ends the fit."""
        scale = 1.0 if self.logarithmic else scale
        return tuple(replace(self, smoothing=scale * 10.0**power) for power in (-1, -2, -3, -4, -5, -7, -9))


@dataclass(frozen=True)
class Binomial:
    """Binomial loss: −ln likelihood of failures in ``rows.episodes`` trials at probability R̂, less that at R̂ = R.

    Half the deviance; ``target`` is the observed rate of failure. With overdispersion ρ > 0 the beta-binomial, where
    trials of one run are correlated by ρ: planners that share a model fail together.
    """

    overdispersion: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.overdispersion < 1:
            raise ValueError(f"expected an overdispersion inside [0, 1), got {self.overdispersion}")

    @property
    def name(self) -> str:
        """For reports."""
        return f"beta-binomial, ρ = {self.overdispersion:g}" if self.overdispersion else "binomial"

    @property
    def relative(self) -> bool:
        """Residuals are on the scale of R."""
        return False

    def check(self, rows: Rows) -> None:
        """Refuse targets that are not rates of whole numbers of episodes."""
        if rows.episodes is None:
            raise ValueError("a binomial loss needs the number of episodes behind each rate: name that column")
        if (rows.episodes % 1 != 0).any():
            raise ValueError(
                f"a binomial loss needs whole numbers of episodes, got {rows.episodes[rows.episodes % 1 != 0][0]:g}"
            )
        if (rows.episodes < 1).any() or ((rows.target < 0) | (rows.target > 1)).any():
            raise ValueError(
                f"a binomial loss needs rates in [0, 1] of at least one episode, got rates from {rows.target.min():g} "
                f"to {rows.target.max():g} and episodes from {rows.episodes.min():g}"
            )

    def value(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Float64[np.ndarray, "draws rows"]:
        """Return ℓ."""
        return self._likelihood(np.exp(y), rows, target)[0]

    def slopes(self, y: np.ndarray, rows: Rows, target: np.ndarray) -> Slopes:
        """Return ℓ with its derivatives."""
        predicted = np.exp(y)
        value, first, second = self._likelihood(predicted, rows, target)
        assert rows.episodes is not None
        spread = 1 + (rows.episodes - 1) * self.overdispersion
        information = rows.episodes / np.maximum(predicted * (1 - predicted), 1e-300) / spread
        return Slopes(
            value,
            first * predicted,
            second * predicted**2 + first * predicted,
            np.where(predicted < 1, information * predicted**2, 1.0),
        )

    def _likelihood(self, rate: np.ndarray, rows: Rows, target: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return ℓ and its derivatives in the rate."""
        assert rows.episodes is not None
        trials = rows.episodes
        failures, successes = target * trials, (1 - target) * trials
        possible = (rate < 1) & (rate > 0)
        safe = np.where(possible, rate, 0.5)
        if self.overdispersion == 0:
            best = special.xlogy(failures, target) + special.xlogy(successes, 1 - target)
            value = best - special.xlogy(failures, safe) - special.xlog1py(successes, -safe)
            first = successes / (1 - safe) - failures / safe
            second = successes / (1 - safe) ** 2 + failures / safe**2
        else:
            size = (1 - self.overdispersion) / self.overdispersion
            a, b = safe * size, (1 - safe) * size
            value = special.betaln(a, b) - special.betaln(a + failures, b + successes)
            first = size * (
                special.digamma(a) - special.digamma(a + failures) - special.digamma(b) + special.digamma(b + successes)
            )
            second = size**2 * (
                special.polygamma(1, a)
                - special.polygamma(1, a + failures)
                + special.polygamma(1, b)
                - special.polygamma(1, b + successes)
            )
        return np.where(possible, value, np.inf), first, second

    def stages(self, scale: float = 1.0) -> Sequence[Loss]:
        """It is smooth."""
        del scale
        return (self,)

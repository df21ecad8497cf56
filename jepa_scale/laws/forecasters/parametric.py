"""Families of curves with priors on their parameters, and what they miss carried along."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import least_squares

from jepa_scale.laws.forecasters.base import Averaged, Forecaster, Seen, normal_draws
from jepa_scale.laws.forecasters.odds import deviation_of_odds, from_odds, log_odds
from jepa_scale.shapes import Float64

_LENGTHS = (2.0, 1.0)
"""Units of ln n and ln k over which what a family misses stays alike."""


@dataclass(frozen=True)
class Posterior:
    """Parameters of a family given the cells, for one size of what it misses, by Laplace's approximation."""

    family: Parametric
    seen: Seen
    misfit: float
    """sd of the log odds that the family misses."""
    best: Float64[np.ndarray, " parameters"]
    root: Float64[np.ndarray, "parameters parameters"]
    """Square root of the posterior covariance."""
    log_evidence: float

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        return _places(self.seen, self.seen.n, self.seen.k)

    def draws(self, n: np.ndarray, k: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        """Return draws of y: parameters, and the miss given the cells' residuals under these parameters."""
        (u, v), (at_u, at_v) = self._places, _places(self.seen, n, k)
        theta = self.best + generator.standard_normal((count, len(self.best))) @ self.root.T
        seen_odds = log_odds(self.family.level(theta, u, v))
        odds = log_odds(self.family.level(theta, at_u, at_v))
        cross = self.misfit**2 * _alike(at_u, at_v, u, v)
        factor = cho_factor(_covariance(self.seen, u, v, self.misfit), lower=True)
        gain = cho_solve(factor, cross.T).T
        left = self.misfit**2 * _alike(at_u, at_v, at_u, at_v) - gain @ cross.T
        open_ = normal_draws(left, count, generator)
        return np.maximum(from_odds(odds + (log_odds(self.seen.mean) - seen_odds) @ gain.T + open_), 0.0)


@dataclass(frozen=True)
class Parametric(Forecaster):
    """log odds of y = log odds of level(θ; ln n − ln n₀, ln k − mean) + miss + seed noise, θ normal a priori.

    The miss is a Gaussian process that stays alike over a few units of ln n: near the runs what a family misses is
    carried along, far from them the family is alone. The size of the miss is averaged by its evidence.
    """

    centre: tuple[float, ...] = ()
    """Mean of each parameter a priori."""
    spread: tuple[float, ...] = ()
    """sd of each parameter a priori."""
    misfits: tuple[float, ...] = (0.1, 0.4)

    def __post_init__(self) -> None:
        if len(self.centre) != len(self.spread) or min((*self.spread, *self.misfits), default=0) <= 0:
            raise ValueError(f"expected as many spreads above 0 as centres, and misfits above 0, got {self}")

    @abstractmethod
    def level(
        self, theta: Float64[np.ndarray, "draws parameters"], u: np.ndarray, v: np.ndarray
    ) -> Float64[np.ndarray, "draws points"]:
        """Return y in [0, 1] for each draw of the parameters at ln n − ln n₀ and ln k − its mean over the runs."""

    def fit(self, seen: Seen) -> Averaged:
        """Find the parameters for each size of the miss and weigh the sizes by their evidence."""
        posteriors: list[Posterior] = []
        for misfit in self.misfits:
            # The first from several starts, the others from its end.
            posteriors.append(self._posterior(seen, misfit, posteriors[-1].best if posteriors else None))
        return Averaged.by(posteriors, [one.log_evidence for one in posteriors])

    def _posterior(self, seen: Seen, misfit: float, start: np.ndarray | None) -> Posterior:
        u, v = _places(seen, seen.n, seen.k)
        centre, spread = np.array(self.centre), np.array(self.spread)
        factor = np.linalg.cholesky(_covariance(seen, u, v, misfit))
        observed = log_odds(seen.mean)

        def whitened(standard: np.ndarray) -> np.ndarray:
            miss = observed - log_odds(self.level((centre + spread * standard)[None], u, v))[0]
            return np.concatenate([np.linalg.solve(factor, miss), standard])

        starts = self._starts() if start is None else [(start - centre) / spread]
        found = min(
            (least_squares(whitened, first, method="lm", max_nfev=200) for first in starts),
            key=lambda result: float(result.cost),
        )
        values, vectors = np.linalg.eigh(found.jac.T @ found.jac)
        # The prior alone gives every direction a precision of at least 1.
        values = np.maximum(values, 1.0)
        root = spread[:, None] * (vectors / np.sqrt(values))
        evidence = -float(found.cost) - float(np.log(np.diag(factor)).sum()) - 0.5 * float(np.log(values).sum())
        return Posterior(self, seen, misfit, centre + spread * found.x, root, evidence)

    def _starts(self) -> list[np.ndarray]:
        count = len(self.centre)
        return [np.zeros(count), np.random.default_rng(7).standard_normal(count) * 0.7]


def _places(seen: Seen, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.log(n / seen.n.min()), np.log(k) - float(np.log(np.unique(seen.k)).mean())


def _alike(u: np.ndarray, v: np.ndarray, u2: np.ndarray, v2: np.ndarray) -> np.ndarray:
    return np.exp(-np.abs(u[:, None] - u2[None]) / _LENGTHS[0] - np.abs(v[:, None] - v2[None]) / _LENGTHS[1])


def _covariance(seen: Seen, u: np.ndarray, v: np.ndarray, misfit: float) -> np.ndarray:
    return misfit**2 * _alike(u, v, u, v) + np.diag(deviation_of_odds(seen) ** 2 + 1e-9)


@dataclass(frozen=True)
class DoseResponse(Parametric):
    """y = f + (1 − f) · σ(−s (u − μ(v))), μ quadratic in v, ln(f/(1 − f)) linear in v.

    Errors below the margin cost nothing (B5), so regret falls like a dose-response curve, faster than any power of n,
    down to what a width cannot represent. θ = ln s, μ₀, μ₁, μ₂, f₀, f₁. Priors: medians over surfaces of exact learners
    and twice their spread.
    """

    centre: tuple[float, ...] = (0.04, 2.55, 0.03, 0.07, -1.98, -2.48)
    spread: tuple[float, ...] = (0.28, 4.5, 0.4, 0.2, 3.4, 1.7)

    def level(self, theta: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return y."""
        log_s, m0, m1, m2, f0, f1 = (column[:, None] for column in theta.T)
        floor = _sigmoid(f0 + f1 * v)
        return floor + (1 - floor) * _sigmoid(-np.exp(np.clip(log_s, -6, 4)) * (u - m0 - m1 * v - m2 * v**2))


@dataclass(frozen=True)
class SumLaw(Parametric):
    """y = x / (1 + x⁴)^¼, x² = A k^−g + B k^p n^−q: the shape of T6 under B1, levelling off at random plans.

    θ = ln A, g, ln B, p, ln q with k relative to the mean of ln k and n to the smallest. Priors: medians over surfaces
    of exact learners and 1.5 times their spread.
    """

    centre: tuple[float, ...] = (-3.43, 2.44, 0.75, -0.11, -0.08)
    spread: tuple[float, ...] = (2.3, 1.1, 2.4, 0.15, 0.52)

    def level(self, theta: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return y."""
        a, g, b, p, log_q = (column[:, None] for column in theta.T)
        total = np.exp(np.clip(a - g * v, -30, 30)) + np.exp(
            np.clip(b + p * v - np.exp(np.clip(log_q, -6, 3)) * u, -30, 30)
        )
        return np.sqrt(total) / (1 + total**2) ** 0.25


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))

"""Linear dynamics with Gaussian noise: the spectrum of the joint operator in closed form."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class LinearGaussian:
    """x⁺ = A x + B a + w, a ~ N(0, C), w ~ N(0, W) independent of each other and of the past; x is stationary.

    Then (x, a, x⁺) is jointly normal, so that the canonical correlations of linear functions determine the whole
    operator (``product_values``).

    Raises
    ------
    ValueError
        If the spectral radius of A is 1 or above, or W is not positive definite.
    """

    transition: Float64[np.ndarray, "d d"]
    """A"""
    control: Float64[np.ndarray, "d m"]
    """B"""
    action_covariance: Float64[np.ndarray, "m m"]
    """C"""
    noise_covariance: Float64[np.ndarray, "d d"]
    """W"""

    def __post_init__(self) -> None:
        radius = float(np.abs(np.linalg.eigvals(self.transition)).max())
        if not radius < 1:
            raise ValueError(
                f"expected a spectral radius of A below 1, as x has no stationary law otherwise: {radius=}"
            )
        least = float(np.linalg.eigvalsh(self.noise_covariance).min())
        if not least > 0:
            raise ValueError(f"expected a positive definite W, as T is infinite without noise; {least=} eigenvalue")

    @cached_property
    def stationary(self) -> Float64[np.ndarray, "d d"]:
        """Σ = A Σ Aᵀ + B C Bᵀ + W, the covariance of x."""
        driven = self.control @ self.action_covariance @ self.control.T
        return np.asarray(solve_discrete_lyapunov(self.transition, driven + self.noise_covariance))

    @cached_property
    def joint_correlations(self) -> Float64[np.ndarray, " d"]:
        """Canonical correlations of x⁺ and (x, a), decreasing: ρ_i² = 1 − λ_i(Σ⁻¹W).

        The part of x⁺ that (x, a) does not determine has covariance W out of Σ.
        """
        return _correlations(self.noise_covariance, self.stationary)

    @cached_property
    def fixed_action_correlations(self) -> Float64[np.ndarray, " d"]:
        """Canonical correlations of x⁺ and x at a fixed action, the same for every a: ρ_i² = 1 − λ_i(Σ_a⁻¹W).

        Σ_a = A Σ Aᵀ + W is the covariance of x⁺ given a.
        """
        return _correlations(self.noise_covariance, self.stationary - self._driven)

    @property
    def _driven(self) -> np.ndarray:
        return np.asarray(self.control @ self.action_covariance @ self.control.T)


def _correlations(unexplained: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """√(1 − λ) of the eigenvalues λ of whole⁻¹ unexplained, decreasing."""
    inverse = np.linalg.inv(np.linalg.cholesky(whole))
    shares = np.linalg.eigvalsh(inverse @ unexplained @ inverse.T)
    # Rounding may put a share of 1 above it, not one of 0 below: W is positive definite.
    return np.sqrt(np.clip(1 - shares, 0, None))


def product_total(correlations: Float64[np.ndarray, " d"]) -> float:
    """T = ‖M̄‖² = Π_i 1/(1 − ρ_i²), the constant's 1 included.

    Mehler: two jointly normal vectors with canonical correlations ρ_i have the operator ⊗_i Σ_m ρ_i^m H_m ⊗ H_m in
    normalised Hermite polynomials, so its singular values are all products Π_i ρ_i^{m_i}.

    Examples
    --------
    >>> round(product_total(np.array([0.6, 0.8])), 4)
    4.3403
    """
    _check(correlations)
    return float(np.prod(1 / (1 - correlations**2)))


def linear_total(correlations: Float64[np.ndarray, " d"]) -> float:
    """T that linear features see: 1 + Σ_i ρ_i², products of degree 0 and 1."""
    return float(1 + (correlations**2).sum())


def product_values(correlations: Float64[np.ndarray, " d"], count: int) -> Float64[np.ndarray, " count"]:
    """The ``count`` largest singular values Π_i ρ_i^{m_i}, decreasing, from 1; zeros where there are no more.

    Every multiset of indices is reached once: repeat its last index, or replace that by the next one.

    Raises
    ------
    ValueError
        If a correlation is outside [0, 1) or ``count`` is below 1.

    Examples
    --------
    >>> product_values(np.array([0.5, 0.8]), 4).round(3).tolist()
    [1.0, 0.8, 0.64, 0.512]
    """
    _check(correlations)
    if count < 1:
        raise ValueError(f"expected at least one singular value, got {count=}")
    decreasing = np.sort(correlations[correlations > 0])[::-1]
    values = np.zeros(count)
    values[0] = 1.0
    # (logarithm of the value with its sign flipped, its last index)
    costs = -np.log(decreasing)
    queue = [(float(costs[0]), 0)] if len(costs) else []
    for place in range(1, count):
        if not queue:
            break
        cost, last = heapq.heappop(queue)
        values[place] = math.exp(-cost)
        heapq.heappush(queue, (cost + float(costs[last]), last))
        if last + 1 < len(costs):
            heapq.heappush(queue, (cost + float(costs[last + 1] - costs[last]), last + 1))
    return values


def product_tail(correlations: Float64[np.ndarray, " d"], k: int) -> float:
    """tail_k = T − Σ_{i≤k} σ_i²: what no latent of width k sees.

    Raises
    ------
    ValueError
        If k is negative.
    """
    if k < 0:
        raise ValueError(f"expected a rank k ≥ 0, got {k=}")
    leading = (product_values(correlations, k) ** 2).sum() if k else 0.0
    # All of it may be seen but for rounding.
    return max(product_total(correlations) - float(leading), 0.0)


def _check(correlations: np.ndarray) -> None:
    if not ((correlations >= 0) & (correlations < 1)).all():
        raise ValueError(f"expected correlations in [0, 1), as T is infinite at 1, got {correlations.tolist()}")

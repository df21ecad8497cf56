"""T3: sample error of the empirical risk minimiser (arXiv:2606.27014, Theorem 4.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis

Constants = Literal["proof", "published_45", "published_46"]
"""``proof``: from the paper's proof, eq. (62). ``published_45``, ``published_46``: as its Theorems 4.5 and 4.6 print
them (E5)."""


@dataclass(frozen=True)
class Sampling:
    """What is known of the sample, the class of models and the training.

    Raises
    ------
    ValueError
        If n < 2, k < 1, κ ≤ 0, δ is outside (0, 1) or a complexity is negative.
    """

    n: int
    """Independent transitions with the action in question."""
    k: int
    """Latent width."""
    kappa: float
    """κ: every coordinate of f and g is at most this, for every model of the class."""
    delta: float
    """δ: the bound may fail with this probability."""
    encoder_complexity: float
    """Rad_{n/2}(F), worst case over samples, of scalar coordinates."""
    predictor_complexity: float
    """Rad_{n/2}(G∘F), worst case over samples, of scalar coordinates."""
    minimises: bool = True
    """Whether (f̂, ĝ) minimises the empirical risk of every action over the class; descent does not promise it."""
    holds_optimum: bool = True
    """Whether the class holds a model with R(a) = tail_k(a) for every action; one encoder for all may not exist
    (E6)."""

    def __post_init__(self) -> None:
        if self.n < 2 or self.k < 1 or not self.kappa > 0 or not 0 < self.delta < 1:
            raise ValueError(
                f"expected n ≥ 2, k ≥ 1, κ > 0 and 0 < δ < 1; got n={self.n}, k={self.k}, kappa={self.kappa}, "
                f"delta={self.delta}"
            )
        if not min(self.encoder_complexity, self.predictor_complexity) >= 0:
            raise ValueError(
                f"expected Rademacher complexities ≥ 0, got {self.encoder_complexity=}, {self.predictor_complexity=}"
            )


def hypotheses(sampling: Sampling) -> tuple[Hypothesis, ...]:
    """Empirical risk minimisation; that the class is bounded by κ is the caller's word."""
    detail = "exact minimiser" if sampling.minimises else "trained by descent: not known to be a minimiser"
    return (Hypothesis("(f̂, ĝ) minimises the empirical risk over its class", sampling.minimises, detail),)


def constants(k: int, kappa: float, form: Constants = "proof") -> tuple[float, float]:
    """(c₁, c₂): 32k²κ³ + 32kκ from the proof, 16k²κ² + 16k²κ as printed later (E5); c₂ = 8kκ² + 2k²κ⁴."""
    # Of a huge κ the constants are infinite, and the bound vacuous: no error.
    with np.errstate(over="ignore"):
        return _constants(k, np.float64(kappa), form)


def _constants(k: int, kappa: np.float64, form: Constants) -> tuple[float, float]:
    first = 32 * k**2 * kappa**3 + 32 * k * kappa if form == "proof" else 16 * k**2 * kappa**2 + 16 * k**2 * kappa
    return float(first), float(8 * k * kappa**2 + 2 * k**2 * kappa**4)


def sample_error(sampling: Sampling, form: Constants = "proof") -> float:
    """c₁ (Rad(G∘F) + Rad(F)) + c₂ (√(log(2/δ)/n) + δ); ``published_45`` has the product of the two complexities
    (26)."""
    first, second = constants(sampling.k, sampling.kappa, form)
    pair = (sampling.predictor_complexity, sampling.encoder_complexity)
    complexity = pair[0] * pair[1] if form == "published_45" else sum(pair)
    return first * complexity + second * (math.sqrt(math.log(2 / sampling.delta) / sampling.n) + sampling.delta)


def value(sampling: Sampling) -> BoundValue:
    """R(f̂, ĝ, a) − R(f*, g*, a) ≤ ``sample_error``, with probability ≥ 1 − δ.

    Trivially the excess is at most 4kκ² + k²κ⁴, the range of the loss when |gᵀf| ≤ kκ²; a bound above that is vacuous.
    The additive δ inside c₂(…) is the paper's: it keeps the bound above a floor however large n is.
    """
    with np.errstate(over="ignore"):
        inner = sampling.k * np.float64(sampling.kappa) ** 2
        trivial = float(4 * inner + inner**2)
    return BoundValue("t3", "T3 (Theorem 4.4)", sample_error(sampling), hypotheses(sampling), "excess_risk", trivial)

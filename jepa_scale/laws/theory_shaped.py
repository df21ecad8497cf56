"""The law with the shape of the paper's bound, on the measured spectral tail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.base import Law, Shape
from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class TheoryShaped(Law):
    """R(k, n)^(1/m) = A tail(k) + B k^p n^(−q), with A, B ≥ 0; m = 1 for the risk, m = 1/2 for the regret.

    Shape of arXiv:2606.27014: Theorems 4.3 and 4.4 (T2, T3) add a sample term to the tail Σ_{i>k} σ_i² of the risk,
    and Theorems 4.5 and 4.6 (T6) bound the expected regret by the root of the same sum. With norms independent of k
    and Rademacher complexities ~ n^(−1/2), p = 2 and q = 1/2 (up to a log n). The theorem is an upper bound: it
    predicts p ≤ 2 and q ≥ 1/2 as rates, and no coefficient. A = 1 for the risk if training reaches the best
    rank-k factors.

    ``p`` and ``q`` are fitted where None. A negative p says that the sample term falls in k, as in the generic law.

    Raises
    ------
    ValueError
        If ``name`` is empty.
    """

    name: str = "theory_free"
    p: float | None = None
    q: float | None = None
    p_low: float = -2.0
    p_high: float = 6.0
    q_low: float = 0.02
    q_high: float = 6.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("expected a name for the law, got an empty one: give it the name of its file in conf/law")

    @property
    def terms(self) -> tuple[str, ...]:
        """Coefficients of the tail and of the sample term."""
        return ("A", "B")

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The exponents of the sample term."""
        return (
            Shape("p", "B", self.p_low, self.p_high, theory=2.0, fixed=self.p, needs_interior_optimum=True),
            Shape("q", "B", self.q_low, self.q_high, theory=0.5, fixed=self.q),
        )

    @property
    def uses_tail(self) -> bool:
        """The first term is the measured tail."""
        return True

    def formula(self, target: str) -> str:
        """Return the formula as text, with the fixed exponents filled in."""
        p = "p" if self.p is None else f"{self.p:g}"
        q = "q" if self.q is None else f"{self.q:g}"
        left = "regret^2" if target == "regret" else target
        return f"{left} = A tail(k) + B k^{p} n^-{q}"

    def power(self, target: str) -> float:
        """Return m: the regret is bounded by the root of the risk (T4, T5)."""
        return 0.5 if target == "regret" else 1.0

    def basis(
        self,
        shape: Float64[np.ndarray, "*draws 2"],
        k: Float64[np.ndarray, "*#cells"],
        n: Float64[np.ndarray, "*#cells"],
        tail: Float64[np.ndarray, "*#cells"],
    ) -> Float64[np.ndarray, "*draws cells 2"]:
        """Return (tail, k^p n^−q)."""
        sample = np.exp(shape[..., 0:1] * np.log(k) - shape[..., 1:2] * np.log(n))
        return np.stack([np.broadcast_to(tail, sample.shape), sample], axis=-1)

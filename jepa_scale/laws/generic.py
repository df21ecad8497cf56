"""The generic law: a floor, a power of the width and a power of the sample size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.base import Law, Shape
from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class Generic(Law):
    """R(k, n) = E + A k^(−α) + B n^(−β), with E, A, B ≥ 0.

    The form in common use for losses (Hoffmann et al., arXiv:2203.15556, with k in place of parameters). It falls in
    k everywhere, so it cannot show the interior optimum k*(n) that the theory (T6) predicts: it is the rival.

    ``low`` and ``high`` bound both exponents. An exponent below ``low`` could not be told from a constant on any
    affordable grid, one above ``high`` not from a term that is present in the first row of the grid only.
    """

    name: str = "generic"
    low: float = 0.02
    high: float = 6.0

    @property
    def terms(self) -> tuple[str, ...]:
        """The floor E and the two coefficients."""
        return ("E", "A", "B")

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The two exponents; the theory predicts neither."""
        return (Shape("alpha", "A", self.low, self.high), Shape("beta", "B", self.low, self.high))

    def formula(self, target: str) -> str:
        """Return the formula as text."""
        return f"{target} = E + A k^-alpha + B n^-beta"

    def basis(
        self,
        shape: Float64[np.ndarray, "*draws 2"],
        k: Float64[np.ndarray, "*#cells"],
        n: Float64[np.ndarray, "*#cells"],
        tail: Float64[np.ndarray, "*#cells"],
    ) -> Float64[np.ndarray, "*draws cells 3"]:
        """Return (1, k^−α, n^−β)."""
        del tail  # the generic law knows nothing of the world's spectrum
        width = np.exp(-shape[..., 0:1] * np.log(k))
        sample = np.exp(-shape[..., 1:2] * np.log(n))
        return np.stack([np.ones_like(width), width, sample], axis=-1)

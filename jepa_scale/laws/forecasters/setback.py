"""Runs that learnt late: with more data and the same steps they would learn later still, and regret may rise again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.forecasters.base import Seen
from jepa_scale.laws.forecasters.library import Library
from jepa_scale.laws.lateness import LATE, expected_share
from jepa_scale.shapes import Float64

RISE = 0.05
"""Rise of y at the next size that counts as a setback."""
_ALIKE = 0.25
"""Scale on which two shares of late learning are alike."""
_PRIOR = 2.0
"""Curves without a setback that stand for all that is not known."""
_STEP = 0.5
"""Decades between the sizes of the library's studies; nearer, a setback is as much less likely."""


@dataclass(frozen=True)
class Setback:
    """What happened to the regret of other studies' runs that learnt as late as these.

    Of other studies it is known, at each size and width, which share s of what is learnt was expected to come in the
    second half of the epochs at the next size (``expected_share``), and the setback b = (y_next − y) / (1 − y) there,
    0 where y rose by less than 0.05. A curve with a share of s has a setback with the probability
    Σ K(s − s_i) 1{b_i > 0} / (2 + Σ K(s − s_i)), K Gaussian with scale 0.25, or 0 for s < 0.4, and its size is that
    of one of them; it stays at every larger n.
    """

    late: Float64[np.ndarray, " pairs"]
    """Expected shares of late learning."""
    setback: Float64[np.ndarray, " pairs"]

    @classmethod
    def of(cls, library: Library) -> Setback:
        """Return what a library knows."""
        return cls(library.late, library.setback)

    def probability(self, late: float) -> tuple[float, Float64[np.ndarray, " pairs"]]:
        """Return P(setback), and the weights of the pairs whose setback it would be."""
        alike = np.exp(-0.5 * ((late - self.late) / _ALIKE) ** 2)
        rose = alike * (self.setback > 0) * (late >= LATE)
        return float(rose.sum() / (_PRIOR + alike.sum())), rose

    def applied(
        self,
        drawn: Float64[np.ndarray, "draws points"],
        seen: Seen,
        n: Float64[np.ndarray, " points"],
        k: Float64[np.ndarray, " points"],
        generator: np.random.Generator,
    ) -> Float64[np.ndarray, "draws points"]:
        """Raise draws beyond the largest n of a width that learnt late; all widths of one draw are set back or none."""
        if seen.late is None or not np.isfinite(seen.late).any() or not len(self.late):
            return drawn
        drawn, chance = drawn.copy(), generator.random(len(drawn))
        which = generator.random(len(drawn))
        for width in np.unique(k):
            curve = seen.curve(float(width))
            assert curve.late is not None
            share = expected_share(curve.late)[-1]
            if not np.isfinite(share):
                continue
            probability, weights = self.probability(float(share))
            if probability <= 0:
                continue
            place = np.searchsorted(np.cumsum(weights) / weights.sum(), which)
            raised = curve.mean[-1] + (1 - curve.mean[-1]) * self.setback[np.minimum(place, len(weights) - 1)]
            for point in np.flatnonzero((k == width) & (n > curve.n[-1])):
                near = min(float(np.log10(n[point] / curve.n[-1])) / _STEP, 1.0)
                rows = chance < probability * near
                drawn[rows, point] = np.maximum(drawn[rows, point], raised[rows])
        return drawn

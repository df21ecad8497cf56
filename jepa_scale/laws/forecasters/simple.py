"""The dumbest forecasts, which any other has to beat: no change, and rulers through the last two sizes of a width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.forecasters.base import PointForecaster, Seen

_ZERO = 1e-6
"""What stands for a regret of 0 in a logarithm."""


@dataclass(frozen=True)
class NoChange(PointForecaster):
    """The mean at the same k and the largest n seen, ± seed noise."""

    def at(self, curve: Seen, seen: Seen, n: float) -> tuple[float, float]:
        """Return the last mean and its error."""
        del n  # whatever comes, nothing changes
        last = float(curve.mean[-1])
        return last, float(seen.deviation(last, curve.seeds[-1]))


@dataclass(frozen=True)
class PowerLaw(PointForecaster):
    """y ∝ n^e through the last two sizes of the same k; sd half of the change, and seed noise."""

    def at(self, curve: Seen, seen: Seen, n: float) -> tuple[float, float]:
        """Return the power law's value."""
        last = float(curve.mean[-1])
        value = last
        if len(curve.n) > 1:
            before, after = np.log(np.maximum(curve.mean[-2:], _ZERO))
            exponent = (after - before) / np.log(curve.n[-1] / curve.n[-2])
            value = float(min(np.exp(after + exponent * np.log(n / curve.n[-1])), max(last, 1.0)))
        return value, _spread(value, last, curve, seen)


@dataclass(frozen=True)
class Linear(PointForecaster):
    """A straight line in ln n through the last two sizes of the same k; sd half of the change, and seed noise."""

    def at(self, curve: Seen, seen: Seen, n: float) -> tuple[float, float]:
        """Return the line's value, between 0 and the level of random plans."""
        last = float(curve.mean[-1])
        value = last
        if len(curve.n) > 1:
            slope = float(curve.mean[-1] - curve.mean[-2]) / np.log(curve.n[-1] / curve.n[-2])
            value = float(np.clip(last + slope * np.log(n / curve.n[-1]), 0.0, max(last, 1.0)))
        return value, _spread(value, last, curve, seen)


def _spread(value: float, last: float, curve: Seen, seen: Seen) -> float:
    return float(np.hypot(abs(value - last) / 2, seen.deviation(last, curve.seeds[-1])))

"""An average of forecasters: weights minimise the CRPS of back-tests, intervals are widened by what these missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from jepa_scale.laws.forecasters.averaging import Forecasts, averaged, joint_average, least_weights
from jepa_scale.laws.forecasters.base import Fitted, Forecaster, Seen, thinned
from jepa_scale.laws.forecasters.level import Level
from jepa_scale.laws.forecasters.library import Library, distance_class, shipped, situation
from jepa_scale.laws.forecasters.parametric import DoseResponse
from jepa_scale.laws.forecasters.setback import Setback
from jepa_scale.laws.forecasters.simple import NoChange
from jepa_scale.laws.forecasters.trend import Trend
from jepa_scale.shapes import Float64

_BACKTEST_DRAWS = 200
_CUTS = 8
"""Sizes from which back-tests forecast, at most."""
_LEVEL = 0.9
"""Level of the intervals whose misses are counted."""
_LEAST_HALF = 2e-3
"""Smallest half-width that a miss is measured by."""
_CHECKED = 1.0
"""Decades beyond the largest n at which most studies of the library have forecasts."""
_COUNTS = 0.005
"""Weight below which a member is left out of the draws."""
_LEAST_UNIT = 5e-3
"""Smallest mean CRPS, in units of random regret, that back-tests are measured by."""
_FACTORS = (0.7, 4.0)
"""Range of the factors of intervals."""

STEEP = Trend(
    regimes=(
        *((-0.8, 0.4, bend) for bend in (0.05, 0.15, 0.3, 0.6)),
        *((-0.1, 0.2, bend) for bend in (0.05, 0.15, 0.3, 0.6)),
        (0.0, 0.07, 0.02),
    ),
    unexplained=(0.03, 0.1, 0.25, 0.5),
)
"""A trend with other regimes: steeper ones, and studies that hardly learn."""
SETTLING = Trend(
    regimes=((-0.5, 0.4, 0.15), (-0.5, 0.4, 0.6), (0.0, 0.07, 0.02)),
    shared=(0.1, 0.6),
    lengths=(0.7,),
    settles=(3.0,),
)
"""A trend that dies away."""


def default_members() -> dict[str, Forecaster]:
    """Return the members of a stack, by name."""
    return {
        "no_change": NoChange(),
        "steep_trend": STEEP,
        "settling_trend": SETTLING,
        "dose_response": DoseResponse(),
        "level": Level(),
    }


@dataclass(frozen=True)
class BackTest:
    """Forecasts of the cells of each size of a study from all smaller ones."""

    draws: tuple[Float64[np.ndarray, "members draws _"], ...]
    """Draws of each cut, with seed noise."""
    observed: tuple[Float64[np.ndarray, " _"], ...]
    decades: tuple[Float64[np.ndarray, " _"], ...]

    @cached_property
    def forecasts(self) -> Forecasts | None:
        """All of them; None where there is none."""
        if not self.draws:
            return None
        parts = [Forecasts.of(drawn, observed) for drawn, observed in zip(self.draws, self.observed, strict=True)]
        return Forecasts(
            np.concatenate([part.quantiles for part in parts], axis=1),
            np.concatenate([part.observed for part in parts]),
        )

    @property
    def farthest(self) -> float:
        """Largest distance of a forecast, decades."""
        return max((float(part.max()) for part in self.decades), default=0.0)


@dataclass(frozen=True)
class FittedStack(Fitted):
    """Members fitted to a study, their weights, and the factors of the intervals."""

    members: Mapping[str, Fitted]
    weights: Float64[np.ndarray, " members"]
    factors: Float64[np.ndarray, "3"]
    """Factor of the ends of a 90 % interval, by class of distance."""
    seen: Seen
    setback: Setback
    backtest: BackTest

    @property
    def shares(self) -> Mapping[str, float]:
        """Weight of each member."""
        return dict(zip(self.members, self.weights.tolist(), strict=True))

    @property
    def checked(self) -> float:
        """Decades of the farthest back-test here, and one that the other studies have checked."""
        return max(self.backtest.farthest, _CHECKED)

    def draws(
        self, n: np.ndarray, k: np.ndarray, count: int, generator: np.random.Generator
    ) -> Float64[np.ndarray, "count points"]:
        """Return draws of y: the members' quantiles are averaged, then each point is widened by its factor."""
        n, k = np.asarray(n, float), np.asarray(k, float)
        counts = self.weights > _COUNTS
        weights = self.weights[counts] / self.weights[counts].sum()
        members = [member for member, one in zip(self.members.values(), counts, strict=True) if one]
        each = np.array([member.draws(n, k, count, generator) for member in members])
        drawn = joint_average(each, weights, generator)
        decades = np.log10(n / self.seen.n.max())
        # Between the runs nothing was back-tested, and no factor is needed.
        factors = np.where(decades > 1e-9, self.factors[distance_class(decades)], 1.0)
        return self.setback.applied(stretched(drawn, factors), self.seen, n, k, generator)


@dataclass(frozen=True)
class Stack(Forecaster):
    """Forecasters whose quantiles are averaged, by weights of the least CRPS in back-tests here and in other studies.

    The weights minimise the CRPS of the average (``averaging.least_weights``) over the forecasts of rolling back-tests,
    each in units of the best member's mean CRPS, and over those of the library, in units of the simple forecasts', its
    studies weighted by how much they looked alike; the library counts as ``strength`` forecasts. Intervals: factors by
    distance, the .9 quantile of misses over half-widths, again with the library as ``strength`` misses; they stretch a
    distribution's ends and leave its middle.
    """

    members: Mapping[str, Forecaster] = field(default_factory=default_members, hash=False)
    strength: float = 12.0
    without: str = ""
    """A study that the library shall not know, to judge forecasts of it."""

    def __post_init__(self) -> None:
        if not self.members or not self.strength > 0:
            raise ValueError(f"expected members and a strength above 0, got {list(self.members)} and {self.strength}")

    def forgetting(self, study: str) -> Stack:
        """Return the stack without a study in its library."""
        return replace(self, without=study)

    def fit(self, seen: Seen) -> FittedStack:
        """Back-test the members, weigh them, and fit them to all cells."""
        return self.fit_with(seen, shipped().without(self.without) if self.without else shipped())

    def fit_with(self, seen: Seen, library: Library) -> FittedStack:
        """Fit with another library."""
        backtest = self.backtested(seen, library)
        weights = self._weights(seen, backtest, library)
        return FittedStack(
            {name: member.fit(seen) for name, member in self.members.items()},
            weights,
            self._factors(backtest, weights, library),
            seen,
            Setback.of(library),
            backtest,
        )

    def weights(self, seen: Seen, library: Library) -> Float64[np.ndarray, " members"]:
        """Return the members' weights alone."""
        return self._weights(seen, self.backtested(seen, library), library)

    def _weights(self, seen: Seen, backtest: BackTest, library: Library) -> np.ndarray:
        parts, weights = library.recalled(tuple(self.members), situation(seen))
        weights = [self.strength * weight for weight in weights]
        own = backtest.forecasts
        if own is not None:
            unit = max(float(own.scores.mean(axis=1).min()), _LEAST_UNIT)
            parts, weights = [*parts, own], [*weights, len(own) / unit]
        if not parts:
            # Nothing known of these members: each as good as any other.
            return np.full(len(self.members), 1 / len(self.members))
        return least_weights(parts, weights)

    def backtested(self, seen: Seen, library: Library) -> BackTest:
        """Forecast the cells of each size from all smaller ones, as soon as there are two of them."""
        draws, observed, decades = [], [], []
        # Of many sizes, as in a random search, some: each cut is a fit of every member.
        for cut in thinned(np.unique(seen.n)[1:-1], _CUTS):
            ahead = seen.where((seen.n > cut) & np.isin(seen.k, seen.k[seen.n <= cut]))
            if not len(ahead.n):
                continue
            draws.append(self.member_draws(seen.where(seen.n <= cut), ahead, library))
            observed.append(ahead.mean)
            decades.append(np.log10(ahead.n / cut))
        return BackTest(tuple(draws), tuple(observed), tuple(decades))

    def member_draws(self, seen: Seen, ahead: Seen, library: Library) -> Float64[np.ndarray, "members draws points"]:
        """Return each member's draws of cells ahead, with what set other studies back and the noise of their seeds."""
        drawn, setback = [], Setback.of(library)
        for member in self.members.values():
            generator = np.random.default_rng(1)
            one = member.fit(seen).draws(ahead.n, ahead.k, _BACKTEST_DRAWS, generator)
            one = setback.applied(one, seen, ahead.n, ahead.k, generator)
            sd = seen.deviation(np.clip(one, 0.0, 1.0), ahead.seeds)
            drawn.append(np.maximum(one + sd * generator.standard_normal(one.shape), 0.0))
        return np.array(drawn)

    def _factors(self, backtest: BackTest, weights: np.ndarray, library: Library) -> np.ndarray:
        own: list[list[np.ndarray]] = [[], [], []]
        for drawn, observed, decades in zip(backtest.draws, backtest.observed, backtest.decades, strict=True):
            found, place = misses(averaged(drawn, weights), observed), distance_class(decades)
            for distance in range(len(own)):
                own[distance].append(found[place == distance])
        factors = []
        for distance, parts in enumerate(own):
            mine, (theirs, share) = np.concatenate([np.zeros(0), *parts]), library.misses(distance)
            values = np.concatenate([mine, theirs])
            weight = np.concatenate([np.ones(len(mine)), self.strength * share])
            factors.append(weighted_quantile(values, weight, _LEVEL) if len(values) else 1.0)
        # What is far is no surer than what is near.
        return np.asarray(np.maximum.accumulate(np.clip(factors, *_FACTORS)))


def misses(draws: Float64[np.ndarray, "draws points"], observed: np.ndarray) -> Float64[np.ndarray, " points"]:
    """Return |y − median| over the half-width of the 90 % interval on that side."""
    low, middle, high = np.quantile(draws, [(1 - _LEVEL) / 2, 0.5, (1 + _LEVEL) / 2], axis=0)
    half = np.where(observed > middle, high - middle, middle - low)
    return np.asarray(np.abs(observed - middle) / np.maximum(half, _LEAST_HALF))


def weighted_quantile(values: np.ndarray, weights: np.ndarray, level: float) -> float:
    """Return the smallest value with at least ``level`` of the weight at or below it."""
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(below, level - 1e-12)), len(values) - 1)])


def stretched(
    draws: Float64[np.ndarray, "draws points"], factors: Float64[np.ndarray, " points"]
) -> Float64[np.ndarray, "draws points"]:
    """Move the ends of a 90 % interval away from the median by a factor; the middle half hardly moves.

    A draw at quantile p is moved by 1 + (factor − 1) (|2p − 1| / .9)⁶, at most 1.3 of the factor's excess.
    """
    count = len(draws)
    rank = (np.argsort(np.argsort(draws, axis=0), axis=0) + 0.5) / count
    share = np.minimum((np.abs(2 * rank - 1) / _LEVEL) ** 6, 1.3)
    middle = np.median(draws, axis=0)
    return np.maximum(middle + (draws - middle) * (1 + (factors - 1) * share), 0.0)

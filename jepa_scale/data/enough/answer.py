"""Whether a recording is large enough for what a reference learner can use."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from jepa_scale.data.enough.forecast import Interval, forecast
from jepa_scale.data.enough.ladder import Ladder, measure
from jepa_scale.records import Episodes
from jepa_scale.terminal import Step, untold

HORIZONS = (1, 5)
"""Steps ahead that are predicted; the second only where episodes are long enough."""
WORTHWHILE = 0.05
"""Share of the error that twice the data must remove to be worth recording, unless another is asked for."""
NEGLIGIBLE = 0.002
"""Share of the variance that counts as nothing, whatever part of the error it is."""
_SURE = 0.9
_NOTHING = 0.01
"""Share of the variance that a learner must explain to have learned anything."""
_REACH = 0.95


class Status(StrEnum):
    """Answers."""

    ENOUGH = "enough"
    MORE_HELPS = "more data helps"
    CANNOT_TELL = "cannot tell"
    NOTHING = "nothing is predicted"
    """The learner does no better than the mean change: what more data would bring to another cannot be told."""


@dataclass(frozen=True)
class Check:
    """The last rung, forecast from those below it."""

    n: float
    forecast: Interval
    measured: float
    no_change: float
    """Error of the rung before."""

    @property
    def held(self) -> bool:
        """Whether the measured error lies in the interval."""
        return self.forecast.low <= self.measured <= self.forecast.high


@dataclass(frozen=True)
class Curve:
    """Errors by n at one horizon, and what follows from them."""

    ladder: Ladder
    status: Status
    p_worthwhile: float
    """P(twice the data removes at least what is worthwhile)."""
    doubling: Interval
    """Share of the error that twice the data would remove."""
    tenfold: Interval
    floor: Interval
    """E∞, the error that no amount of such data removes from this learner: noise, what is hidden, or its own limits."""
    reach: Interval
    """n at which 95 % of what the learner can ever explain is explained; infinite where the error stays at 1."""
    check: Check | None
    """None for fewer than four rungs."""


@dataclass(frozen=True)
class Enough:
    """Answer for a recording: that of the horizon at which more data helps most."""

    source: str
    status: Status
    worthwhile: float
    curves: tuple[Curve, ...]

    @property
    def deciding(self) -> Curve:
        """The curve that the answer is of."""
        return max(self.curves, key=lambda curve: curve.p_worthwhile)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON can hold it."""
        content = asdict(self)
        for curve, mine in zip(content["curves"], self.curves, strict=True):
            ladder = mine.ladder
            curve["ladder"] |= {"mean": ladder.means.tolist(), "standard_error": ladder.errors_of_means.tolist()}
        plain: dict[str, Any] = _plain(content)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, StrEnum):
        return value.value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def enough(episodes: Episodes, worthwhile: float = WORTHWHILE, seed: int = 0, step: Step = untold) -> Enough:
    """Say whether twice the data would lower the prediction error of held-out episodes by what is worthwhile.

    No model is trained: the learner is a ridge regression on random features (``ladder.measure``), at one and at five
    steps ahead. The answer is *enough* if with a probability of 0.9 twice the data removes less than ``worthwhile`` of
    the error at both horizons, or less than 0.2 % of the variance; *more data helps* if at either it removes more with
    that probability. Where the last rung, forecast from those below, missed in a way that speaks against the answer,
    nothing is told. Episodes too short for five steps are asked about one.

    Parameters
    ----------
    episodes
        At the steps of the model.
    worthwhile
        Share of the error, in (0, 1).
    seed
        Of the order of episodes and of the features.
    step
        Called with the name of each rung before it is fitted.

    Raises
    ------
    ValueError
        If ``worthwhile`` is not a share, there are fewer than 16 episodes of three rows, or nothing moves.
    """
    if not 0 < worthwhile < 1:
        raise ValueError(f"expected a share of the error above 0 and below 1, got {worthwhile}")
    curves = [_curve(measure(episodes, HORIZONS[0], seed, step), worthwhile, seed)]
    if int(np.median(episodes.lengths)) > 2 * HORIZONS[1]:
        with suppress(ValueError):
            # Gaps may leave too few stretches of so many steps.
            curves.append(_curve(measure(episodes, HORIZONS[1], seed, step), worthwhile, seed))
    status = min((curve.status for curve in curves), key=_FIRST.index)
    return Enough(episodes.source, status, worthwhile, tuple(curves))


_FIRST = (Status.MORE_HELPS, Status.CANNOT_TELL, Status.ENOUGH, Status.NOTHING)
"""Statuses, that which decides first."""


def _curve(ladder: Ladder, worthwhile: float, seed: int) -> Curve:
    draws = forecast(ladder, seed)
    double = draws.gain(2.0)
    small = (double < worthwhile) | (draws.level * double < NEGLIGIBLE)
    worth = 1 - float(small.mean())
    check = _check(ladder, seed)
    return Curve(
        ladder,
        _status(ladder, worth, check),
        worth,
        Interval.of(double),
        Interval.of(draws.gain(10.0)),
        Interval.of(draws.level * draws.floor),
        Interval.of(draws.reach(_REACH)),
        check,
    )


def _status(ladder: Ladder, worth: float, check: Check | None) -> Status:
    last, error = float(ladder.means[-1]), float(ladder.errors_of_means[-1])
    if last > 1 - max(_NOTHING, 2 * error):
        return Status.NOTHING
    gained_more = check is not None and check.measured < check.forecast.low
    gained_less = check is not None and check.measured > check.forecast.high
    if worth <= 1 - _SURE:
        # What is too small to matter is so whatever the forecast.
        return Status.CANNOT_TELL if gained_more and last > NEGLIGIBLE else Status.ENOUGH
    return Status.MORE_HELPS if worth >= _SURE and not gained_less else Status.CANNOT_TELL


def _check(ladder: Ladder, seed: int) -> Check | None:
    if len(ladder.n) < 4:
        return None
    below = replace(ladder, n=ladder.n[:-1], episodes=ladder.episodes[:-1], errors=ladder.errors[:-1])
    found = Interval.of(forecast(below, seed).errors(float(ladder.n[-1])))
    return Check(float(ladder.n[-1]), found, float(ladder.means[-1]), float(ladder.means[-2]))

"""What the alignment check finds, as values, and the sentence that says so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The four answers; only a shift refuses a recording."""

    ALIGNED = "aligned"
    SHIFTED = "shifted"
    ACTION_IS_STATE = "action is the state"
    CANNOT_TELL = "cannot tell"


class Reason(StrEnum):
    """Why it cannot be told."""

    TOO_FEW = "too few"
    NO_EFFECT = "no effect"
    DELAYED = "delayed"
    FEEDBACK = "feedback"
    SEVERAL_LAGS = "several lags"


@dataclass(frozen=True)
class Gain:
    """What the action of one lag adds to the prediction of x_{t+1}."""

    lag: int
    """j of a_{t+j}, the action that stands j rows below."""
    value: float
    """Share of the variance of x_{t+1} unexplained by x_t and x_{t-1} that a_{t+j} explains beyond all other lags."""
    error: float
    """Standard error over whole episodes."""
    partial: float
    """The same as a share of what is left without it: 1 where only this action is missing."""

    @property
    def sure(self) -> bool:
        """Whether it is above 0 by more than chance among seven lags and two regressions."""
        return self.value > SURE * self.error


SURE = 4.0
"""Standard errors that count as sure."""


@dataclass(frozen=True)
class Alignment:
    """Verdict of the alignment check with its evidence."""

    verdict: Verdict
    reason: Reason | None
    """Why it cannot be told; None for the other verdicts."""
    lag: int | None
    """Rows from a transition's own row to the one with its action; for ``ACTION_IS_STATE`` to that state's."""
    gains: tuple[Gain, ...]
    explained: float
    """Share of the variance unexplained by x_t and x_{t-1} that the actions of all lags explain, out of sample."""
    explained_error: float
    n: int
    """Number of transitions."""
    episodes: int
    """Number of episodes they come from."""
    interaction: bool
    """Whether the action's effect was let depend on the observation."""
    exogenous: bool | None
    """Whether actions are chosen without a view to the observations, as far as can be seen; None: not asked."""

    @property
    def refuses(self) -> bool:
        """Whether training on the recording as it is would be a mistake."""
        return self.verdict is Verdict.SHIFTED

    @property
    def sentence(self) -> str:
        """The finding in one sentence, with what to do."""
        evidence = f"{_shown(self.gains)} ({self.n} transitions of {self.episodes} episodes)"
        if self.verdict is Verdict.ALIGNED:
            return f"actions are aligned: {evidence}"
        if self.verdict is Verdict.SHIFTED:
            assert self.lag is not None
            rows = _rows(self.lag)
            return (
                f"actions are shifted by {rows}: x_t+1 follows the action {rows} below; {evidence}; "
                f"move the action column up by {rows} within each episode"
            )
        if self.verdict is Verdict.ACTION_IS_STATE:
            return f"actions are a linear function of {_STATES[self.lag or 0]} ({self.n} transitions)"
        assert self.reason is not None
        if self.reason is Reason.TOO_FEW:
            return f"cannot tell whether actions are aligned: {self.n} transitions inside episodes are too few"
        if self.reason is Reason.DELAYED:
            assert self.lag is not None
            return (
                f"cannot tell whether actions are aligned: x_t+1 follows the action {_rows(-self.lag)} above; the "
                f"robot answers late or the rows are shifted, which look alike: {evidence}; ask who recorded it"
            )
        return f"cannot tell whether actions are aligned, {_WHY[self.reason]}: {evidence}"


def _rows(count: int) -> str:
    return "one row" if count == 1 else f"{count} rows"


_STATES = {
    -1: "the observation of the row before: they may be recorded late, or not be what was commanded",
    0: "the observation of their own row: they say nothing of the transition, or are commanded positions recorded late",
    1: "the observation of the next row: the target is reached at once, or the next observation contains the action",
    2: "the observation two rows below: they may be recorded early, or be what a slow robot reaches",
}
_WHY = {
    Reason.NO_EFFECT: "as no lag of the action adds to the prediction",
    Reason.FEEDBACK: "as a policy that answers the observation would look like this as well",
    Reason.SEVERAL_LAGS: "as several lags of the action add to the prediction",
}


def _shown(gains: tuple[Gain, ...]) -> str:
    listed = [gain for gain in gains if gain.lag in (-1, 0, 1) or gain.sure]
    best = ", ".join(f"{gain.value:.3f} ± {gain.error:.3f} at lag {gain.lag:+d}" for gain in listed)
    # A gain out of sample is a little below 0 where there is none.
    best = best.replace("-0.000", "0.000").replace("+0", "0")
    return f"beyond x_t, x_t-1 and the other lags the action explains {best}"

"""The card of a recording as values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from jepa_scale.data.alignment.verdict import Alignment

Z95 = 1.959964


@dataclass(frozen=True)
class Value:
    """An estimate with the standard error over whole episodes."""

    value: float
    """NaN where it cannot be estimated."""
    error: float
    n: int
    """Number of rows or pairs that it rests on."""
    positive: bool = False
    """Whether it is above 0 by nature and skewed: its interval is then that of its logarithm."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.value / self._factor if self.positive else self.value - Z95 * self.error

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.value * self._factor if self.positive else self.value + Z95 * self.error

    @property
    def _factor(self) -> float:
        return math.exp(Z95 * self.error / self.value)


class Code(StrEnum):
    """Findings about a recording."""

    SHIFTED = "shifted"
    STILL = "still"
    LOST = "lost"
    FEW_EPISODES = "few episodes"
    NOT_FINITE = "not finite"
    BREAKS = "breaks"
    DUPLICATES = "duplicates"
    NEAR_DUPLICATES = "near duplicates"
    CONSTANT = "constant coordinates"
    TIME_INDEX = "time index"
    EPISODE_CONSTANT = "constant in episodes"
    ACTION_CONSTANT = "constant action"
    ACTION_UNUSED = "unused action"
    ACTION_DETERMINED = "determined action"


RUINOUS = frozenset({Code.SHIFTED, Code.STILL, Code.LOST})
"""Findings that make training pointless; only these give the command's exit code 1."""


@dataclass(frozen=True)
class Remark:
    """A finding with its sentence."""

    code: Code
    sentence: str

    @property
    def ruins(self) -> bool:
        """Whether training on the recording as it is would be pointless."""
        return self.code in RUINOUS


@dataclass(frozen=True)
class Content:
    """What is in the recording."""

    episodes: int
    rows: int
    transitions: int
    lengths: tuple[int, ...]
    """Shortest, lower quartile, median, upper quartile and longest number of rows."""
    breaks: int
    """Rows inside episodes whose action cannot be used: gaps, missing numbers, steps left out."""
    not_finite: int
    """Rows with an observation that is not finite."""
    duplicates: int
    """Episodes that are copies of an earlier one."""
    near_duplicates: int
    """Episodes that stay within a fiftieth of the usual distance of an earlier one."""
    compared: int
    """Episodes compared for near-duplicates."""


@dataclass(frozen=True)
class Coordinate:
    """Range of one coordinate of observations, in the recording's units."""

    index: int
    low: float
    high: float
    mean: float
    deviation: float
    constant: bool
    """Whether it never changes."""
    fixed: bool
    """Whether it changes between episodes only: a goal, or something that tells episodes apart."""
    clock: bool
    """Whether it is a linear function of the row's place in its episode."""


class PolicyKind(StrEnum):
    """What the actions look like."""

    CONSTANT = "constant"
    RANDOM = "random"
    """Drawn afresh in each row: neither the action before nor the observation predicts it."""
    STICKY = "sticky"
    """Predicted by the action before, not further by the observation."""
    FEEDBACK = "feedback"
    """Predicted by the observation in part: an expert, an operator, or a policy with noise."""
    SCRIPTED = "scripted"
    """A function of the observation, as far as can be seen."""


@dataclass(frozen=True)
class Policy:
    """What the policy does."""

    kind: PolicyKind
    autocorrelation: Value
    """Correlation of an action with the one before, mean over coordinates."""
    entropy: Value
    """Of discrete actions in nats; of continuous ones by nearest neighbours, in nats with unit deviations."""
    state_share: Value
    """Share of the variance of actions that x_t and x_{t−1} predict, out of sample."""
    state_beyond_past: Value
    """The same beyond the three actions before, as a share of what those leave."""


@dataclass(frozen=True)
class CurvePoint:
    """Reach and predictability with the first n transitions."""

    n: int
    episodes: int
    distance: Value
    """Distance of a held-out row from the nearest of the n rows, in deviations per coordinate."""
    unpredicted: Value
    """Share of the variance of held-out steps x_{t+1} − x_t that a ridge regression on x_t, x_{t−1}, a_t leaves."""
    participation: float
    """(Σλ)² / Σλ² of the covariance of the n rows: the number of directions that vary."""


@dataclass(frozen=True)
class Coverage:
    """How far the recording reaches."""

    resolution: float
    """Distance in deviations per coordinate within which two rows count as one state."""
    states: Value
    """Effective number of states: 1 / P(two rows of different episodes are one state)."""
    bounded: bool
    """Whether no two rows met, so that ``states`` is a lower bound."""
    entropy: Value
    """Nearest-neighbour entropy in nats of the leading principal coordinates, in units of their deviations."""
    dimensions: int
    """Number of those coordinates."""
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Sample:
    """How many independent rows the transitions are worth."""

    n: int
    effective: Value
    """Rows that would give means of the observations the same error, were they independent."""


@dataclass(frozen=True)
class DataCard:
    """Card of a recording."""

    source: str
    kind: str
    """Shapes of observations and actions, in words."""
    content: Content
    coordinates: tuple[Coordinate, ...]
    policy: Policy | None
    """None where there are too few transitions in a row."""
    effect: Value | None
    """Share of the variance of x_{t+1} unexplained by x_t and x_{t−1} that a_t explains, out of sample."""
    coverage: Coverage | None
    sample: Sample | None
    alignment: Alignment
    findings: tuple[Remark, ...]
    notes: tuple[str, ...]
    """What the reader skipped, repaired or doubted."""

    @property
    def ruined(self) -> bool:
        """Whether any finding makes training pointless."""
        return any(finding.ruins for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON can hold it, with null for what cannot be estimated."""
        content = asdict(self)
        content["alignment"]["sentence"] = self.alignment.sentence
        content["findings"] = [asdict(finding) | {"ruins": finding.ruins} for finding in self.findings]
        return {**_plain(content), "ruined": self.ruined}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    return None if isinstance(value, float) and not math.isfinite(value) else value

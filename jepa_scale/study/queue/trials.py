"""Runs of a study as Optuna trials: parameters, outcomes, and what is kept beside them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from jepa_scale.records import RunRecord
from jepa_scale.records.dials import Dial
from jepa_scale.study.design import DesignPoint
from jepa_scale.study.sampler import SECONDS

# Wide ranges rather than categories: a categorical value space cannot be extended when the study grows.
_WIDE = {"n": IntDistribution(1, 2**40, log=True), "k": IntDistribution(1, 2**30, log=True)}
DISTRIBUTIONS: dict[str, BaseDistribution] = {**_WIDE, "seed": IntDistribution(0, 2**31 - 1)}


def suggest(trial: Trial, name: str, space: BaseDistribution) -> None:
    """Have a trial take a parameter that was queued for it."""
    if isinstance(space, IntDistribution):
        trial.suggest_int(name, space.low, space.high, log=space.log)
    elif isinstance(space, FloatDistribution):
        trial.suggest_float(name, space.low, space.high, log=space.log)
    elif isinstance(space, CategoricalDistribution):
        trial.suggest_categorical(name, space.choices)


OUTCOME = "outcome"
"""User attribute of a trial that was told as FAIL: an ``Outcome``."""
Outcome = Literal["died", "diverged", "failed"]
"""Its worker died under it, training diverged, or the run ended with an error."""
DIED = "its worker died"
"""Reason of a run whose worker died; in journals from before ``OUTCOME`` it begins so, and nothing else says it."""


def distribution(dial: Dial) -> BaseDistribution:
    """Optuna's distribution of a dial beside n and k: as wide as may be where it is a number, so that it can grow."""
    if not dial.numeric:
        return CategoricalDistribution(dial.values)
    log = dial.scale == "log"
    if all(isinstance(value, int) for value in dial.values):
        return IntDistribution(1 if log else -(2**40), 2**40, log=log)
    return FloatDistribution(1e-30 if log else -1e30, 1e30, log=log)


def outcome_of(trial: FrozenTrial) -> Outcome | None:
    """How a trial ended that has no value; None for one that has, or that has not ended."""
    if trial.state != TrialState.FAIL:
        return None
    told: Outcome | None = trial.user_attrs.get(OUTCOME)
    if told is not None:
        return told
    reason = str(trial.user_attrs.get("reason", ""))
    return "died" if reason.startswith(DIED) else "diverged" if reason.startswith("diverged: ") else "failed"


def outcome(record: RunRecord) -> Outcome:
    """How a run ended that has a record and no value."""
    return "diverged" if record.status == "diverged" else "failed"


def regret_of(record: RunRecord) -> float | None:
    """The run's regret under its own planner's score; None if it did not finish."""
    score = record.config["planner"].get("score")
    return record.final.get(f"regret/{score}") if record.status == "finished" else None


_MARKS = ("run", "purpose", "label", "resources")


def kept(trial: FrozenTrial, attempt: int) -> dict[str, Any]:
    """What is kept of a trial when its run is queued again."""
    return {**{name: trial.user_attrs[name] for name in _MARKS if name in trial.user_attrs}, "attempt": attempt}


def age(trial: FrozenTrial) -> datetime.timedelta:
    """Time since a trial was taken."""
    started = trial.datetime_start
    if started is None:
        return datetime.timedelta.max
    return datetime.datetime.now(datetime.UTC) - started.astimezone(datetime.UTC)


def marks(point: DesignPoint) -> dict[str, Any]:
    """Which run a trial is, and what it needs; one that is no cell of the table says what it is for."""
    found = {"run": point.run_id, "resources": point.resources}
    return found if point.purpose == "cell" else {**found, "purpose": point.purpose, "label": point.label}


def parameters(point: DesignPoint) -> dict[str, Any]:
    """Parameters of the trial of a run."""
    return {"n": point.n, "k": point.k, **point.dials, "seed": point.seed}


def finished_trial(point: DesignPoint, record: RunRecord, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """The trial of a run that has a record already."""
    held = parameters(point)
    value: float | None = regret_of(record)
    seconds = record.times.get("wall_seconds")
    attributes: dict[str, Any] = {**marks(point), "attempt": 1, SECONDS: seconds}
    if value is None:
        attributes |= {OUTCOME: outcome(record), "reason": f"{record.status}: {record.reason}"}
    return create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        value=value,
        params=held,
        distributions={name: space[name] for name in held},
        user_attrs=attributes,
    )

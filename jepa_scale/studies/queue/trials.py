"""Runs of a study as Optuna trials: parameters, outcomes and user attributes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from jepa_scale.records import RunRecord
from jepa_scale.records.dials import Dial
from jepa_scale.studies.design import DesignPoint
from jepa_scale.studies.sampler import SECONDS

# Wide ranges rather than categories: a categorical value space cannot be extended when the study grows.
_WIDE = {"n": IntDistribution(1, 2**40, log=True), "k": IntDistribution(1, 2**30, log=True)}
DISTRIBUTIONS: dict[str, BaseDistribution] = {**_WIDE, "seed": IntDistribution(0, 2**31 - 1)}


def suggest(trial: Trial, name: str, space: BaseDistribution) -> None:
    """Make a trial take the value of a parameter that was queued for it."""
    if isinstance(space, IntDistribution):
        trial.suggest_int(name, space.low, space.high, log=space.log)
    elif isinstance(space, FloatDistribution):
        trial.suggest_float(name, space.low, space.high, log=space.log)
    elif isinstance(space, CategoricalDistribution):
        trial.suggest_categorical(name, space.choices)


OUTCOME = "outcome"
"""User attribute of a trial in state FAIL: its ``Outcome``."""
Outcome = Literal["died", "diverged", "failed"]
"""Why a trial has no value: its worker died, training diverged, or the run ended with an error."""
DIED = "its worker died"
"""Reason stored for a run whose worker died; journals older than ``OUTCOME`` show a death only by this prefix."""


def distribution(dial: Dial) -> BaseDistribution:
    """Optuna's distribution of a dial other than n and k; as wide as possible for numbers, so that it can grow."""
    if not dial.numeric:
        return CategoricalDistribution(dial.values)
    log = dial.scale == "log"
    if all(isinstance(value, int) for value in dial.values):
        return IntDistribution(1 if log else -(2**40), 2**40, log=log)
    return FloatDistribution(1e-30 if log else -1e30, 1e30, log=log)


def outcome_of(trial: FrozenTrial) -> Outcome | None:
    """Outcome of a trial that ended without a value; None if it has a value or has not ended."""
    if trial.state != TrialState.FAIL:
        return None
    stored: Outcome | None = trial.user_attrs.get(OUTCOME)
    if stored is not None:
        return stored
    reason = str(trial.user_attrs.get("reason", ""))
    return "died" if reason.startswith(DIED) else "diverged" if reason.startswith("diverged: ") else "failed"


def outcome(record: RunRecord) -> Outcome:
    """Outcome of a run whose record holds no value."""
    return "diverged" if record.status == "diverged" else "failed"


def reason_of(record: RunRecord) -> str:
    """Why a run has no value."""
    if record.status == "finished":
        return "the study's target is not among its estimates"
    return f"{record.status}: {record.reason}"


def regret_of(record: RunRecord) -> float | None:
    """The run's regret under its own planner's score; None if it did not finish."""
    score = record.config["planner"].get("score")
    return record.final.get(f"regret/{score}") if record.status == "finished" else None


_MARKS = ("run", "purpose", "label", "resources")


def kept(trial: FrozenTrial, attempt: int) -> dict[str, Any]:
    """User attributes that a trial passes on when its run is queued again."""
    return {**{name: trial.user_attrs[name] for name in _MARKS if name in trial.user_attrs}, "attempt": attempt}


def age(trial: FrozenTrial) -> datetime.timedelta:
    """Time since a worker claimed the trial."""
    started = trial.datetime_start
    if started is None:
        return datetime.timedelta.max
    return datetime.datetime.now(datetime.UTC) - started.astimezone(datetime.UTC)


def marks(point: DesignPoint) -> dict[str, Any]:
    """User attributes of a run's trial: run id and resources; for runs that are not cells, also purpose and label."""
    attributes = {"run": point.run_id, "resources": point.resources}
    return attributes if point.purpose == "cell" else {**attributes, "purpose": point.purpose, "label": point.label}


def parameters(point: DesignPoint) -> dict[str, Any]:
    """Parameters of a run's trial."""
    return {"n": point.n, "k": point.k, **point.dials, "seed": point.seed}


def finished_trial(
    point: DesignPoint,
    record: RunRecord,
    space: Mapping[str, BaseDistribution],
    value: float | None,
    curve: Mapping[int, float],
) -> FrozenTrial:
    """Build the trial of a run that already has a record, from its value and its learning curve."""
    params = parameters(point)
    seconds = record.times.get("wall_seconds")
    attributes: dict[str, Any] = {**marks(point), "attempt": 1, SECONDS: seconds}
    if value is None:
        attributes |= {OUTCOME: outcome(record), "reason": reason_of(record)}
    return create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        value=value,
        params=params,
        distributions={name: space[name] for name in params},
        user_attrs=attributes,
        intermediate_values=dict(curve),
    )

"""Listing the trials of a study on a database server, in one statement for each of Optuna's tables.

Optuna makes an object of every row and reads every distribution anew: of 10⁵ trials that takes ten times as long.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

_FEW = 64
"""Characters up to which a text of an attribute may be that of many trials, so that what it says is kept."""


def trials(storage: RDBStorage, study_id: int, states: Sequence[TrialState] | None = None) -> list[FrozenTrial]:
    """List trials, oldest first, as ``Study.get_trials`` does; of some ``states`` or of all.

    They share their distributions, so they must not be changed.
    """
    trial, value, point = models.TrialModel, models.TrialValueModel, models.TrialIntermediateValueModel
    user, system, parameter = models.TrialUserAttributeModel, models.TrialSystemAttributeModel, models.TrialParamModel
    wanted = [trial.study_id == study_id, *([] if states is None else [trial.state.in_(states)])]

    with _create_scoped_session(storage.scoped_session) as session:

        def by_trial(order: Any, read: Callable[..., Any], *columns: Any) -> dict[int, dict[Any, Any]]:
            """What each trial has, by the first of the columns, as read from the others."""
            model = order.class_
            chosen = select(model.trial_id, *columns).join(trial, trial.trial_id == model.trial_id).where(*wanted)
            found: dict[int, dict[Any, Any]] = {}
            for trial_id, key, *stored in session.execute(chosen.order_by(order)):
                found.setdefault(trial_id, {})[key] = read(*stored)
            return found

        chosen = select(
            trial.trial_id, trial.number, trial.state, trial._datetime_start_utc, trial._datetime_complete_utc
        )
        rows = session.execute(chosen.where(*wanted).order_by(trial.trial_id)).all()
        attributes = by_trial(user.trial_user_attribute_id, _content, user.key, user.value_json)
        fixed = by_trial(system.trial_system_attribute_id, _content, system.key, system.value_json)
        parameters = by_trial(
            parameter.param_id, _parameter, parameter.param_name, parameter.param_value, parameter.distribution_json
        )
        values = by_trial(value.objective, value.stored_repr_to_value, value.objective, value.value, value.value_type)
        curves = by_trial(
            point.trial_intermediate_value_id,
            point.stored_repr_to_intermediate_value,
            point.step,
            point.intermediate_value,
            point.intermediate_value_type,
        )
    listed = []
    for trial_id, number, state, started, ended in rows:
        own = parameters.get(trial_id, {})
        told = values.get(trial_id)
        listed.append(
            FrozenTrial(
                number=number,
                state=state,
                value=None,
                values=None if told is None else list(told.values()),
                datetime_start=_here(started),
                datetime_complete=_here(ended),
                params={name: number for name, (number, _) in own.items()},
                distributions={name: space for name, (_, space) in own.items()},
                user_attrs=attributes.get(trial_id, {}),
                system_attrs=fixed.get(trial_id, {}),
                intermediate_values=curves.get(trial_id, {}),
                trial_id=trial_id,
            )
        )
    return listed


def _here(utc: datetime.datetime | None) -> datetime.datetime | None:
    """A stored time, in UTC, as this machine's local time without its zone, which is what Optuna gives."""
    return None if utc is None else utc.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)


def _content(text: str) -> Any:
    return _kept(text) if len(text) <= _FEW and text[:1] not in "[{" else json.loads(text)


@lru_cache(maxsize=4096)
def _kept(text: str) -> Any:
    return json.loads(text)


def _parameter(stored: float, distribution: str) -> tuple[Any, BaseDistribution]:
    space = _space(distribution)
    return space.to_external_repr(stored), space


@lru_cache(maxsize=256)
def _space(text: str) -> BaseDistribution:
    return json_to_distribution(text)

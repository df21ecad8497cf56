"""Queueing and claiming runs on a database server by Optuna's own tables, many in one transaction.

Optuna's interface takes a dozen statements and as many commits for each run, and counts all earlier runs to number one.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import TrialState
from sqlalchemy import func, insert, select

from jepa_scale.studies.queue.places import Place, place_of

_FIXED = "fixed_params"
"""System attribute in which Optuna keeps the values that were queued for a trial."""


def enqueue(storage: RDBStorage, study_id: int, trials: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Queue trials, each given by its parameters and user attributes, as ``Study.enqueue_trial`` does one."""
    if not trials:
        return
    with _create_scoped_session(storage.scoped_session) as session:
        # Whoever numbers trials holds the study's row.
        models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
        ours = models.TrialModel.study_id == study_id
        first = session.scalar(select(func.count(models.TrialModel.trial_id)).where(ours)) or 0
        rows = [
            {"study_id": study_id, "number": first + place, "state": TrialState.WAITING} for place in range(len(trials))
        ]
        made = insert(models.TrialModel).returning(models.TrialModel.trial_id, sort_by_parameter_order=True)
        ids = session.scalars(made, rows).all()
        fixed = [
            {"trial_id": trial_id, "key": _FIXED, "value_json": json.dumps(dict(parameters))}
            for trial_id, (parameters, _) in zip(ids, trials, strict=True)
        ]
        marks = [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            for trial_id, (_, attributes) in zip(ids, trials, strict=True)
            for key, value in attributes.items()
        ]
        session.execute(insert(models.TrialSystemAttributeModel), fixed)
        session.execute(insert(models.TrialUserAttributeModel), marks)


def waiting(storage: RDBStorage, study_id: int) -> list[Place]:
    """List the trials that wait, oldest first, in one query."""
    trial, attribute = models.TrialModel, models.TrialUserAttributeModel
    with _create_scoped_session(storage.scoped_session) as session:
        rows = (
            session.query(trial.trial_id, attribute.key, attribute.value_json)
            .join(attribute, attribute.trial_id == trial.trial_id)
            .filter(trial.study_id == study_id, trial.state == TrialState.WAITING)
            .filter(attribute.key.in_(("run", "attempt", "resources")))
            .order_by(trial.trial_id)
            .all()
        )
    found: dict[int, dict[str, Any]] = {}
    for trial_id, key, value in rows:
        found.setdefault(int(trial_id), {})[key] = json.loads(value)
    return [place_of(trial_id, attributes) for trial_id, attributes in found.items()]


def claim(
    storage: RDBStorage, candidates: Sequence[int], most: int, worker: str, space: Mapping[str, BaseDistribution]
) -> list[int]:
    """Take up to ``most`` of the candidates that wait, in order, for a worker; return the ids of their trials.

    Those that another worker is just taking are passed over, not waited for.
    """
    with _create_scoped_session(storage.scoped_session) as session:
        rows = (
            session.query(models.TrialModel)
            .filter(models.TrialModel.trial_id.in_(candidates), models.TrialModel.state == TrialState.WAITING)
            .order_by(models.TrialModel.trial_id)
            .limit(most)
            .with_for_update(skip_locked=True)
            .all()
        )
        taken = [int(row.trial_id) for row in rows]
        attribute = models.TrialSystemAttributeModel
        held = session.query(attribute).filter(attribute.trial_id.in_(taken), attribute.key == _FIXED).all()
        fixed = {int(one.trial_id): json.loads(str(one.value_json)) for one in held}
        for row in rows:
            row.state = TrialState.RUNNING
            row.datetime_start = datetime.datetime.now()
            session.add(
                models.TrialUserAttributeModel(trial_id=row.trial_id, key="worker", value_json=json.dumps(worker))
            )
            for name, value in fixed.get(int(row.trial_id), {}).items():
                kind = space[name]
                session.add(
                    models.TrialParamModel(
                        trial_id=row.trial_id,
                        param_name=name,
                        param_value=kind.to_internal_repr(value),
                        distribution_json=distribution_to_json(kind),
                    )
                )
    return taken

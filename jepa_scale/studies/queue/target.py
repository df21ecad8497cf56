"""The target of a study in Optuna: the direction of the study, and the value and learning curve of each trial."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from jepa_scale.records import RunRecord
from jepa_scale.records.quantities import BY_NAME, Target
from jepa_scale.studies.table import named

MOST_POINTS = 100_000
"""Most points of learning curves in one study; whoever opens a journal reads every line of it."""


TARGET = "target"
"""User attribute of the study: the quantity of its values and the end that is better; without it, the regret."""


def create_study(name: str, storage: BaseStorage, target: Target, sampler: BaseSampler) -> optuna.Study:
    """Create a study, or load the one that another process has just created."""
    direction = StudyDirection.MAXIMIZE if target.better == "higher" else StudyDirection.MINIMIZE
    study = optuna.create_study(
        study_name=name, storage=storage, direction=direction, load_if_exists=True, sampler=sampler
    )
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([target.quantity])
    if target != Target() and TARGET not in study.user_attrs:
        study.set_user_attr(TARGET, {"quantity": target.quantity, "better": target.better})
    return study


def stored_target(study: optuna.Study) -> Target:
    """Return the target that a study was created with; the regret where it names none."""
    stored = study.user_attrs.get(TARGET)
    return Target() if stored is None else Target(stored["quantity"], stored["better"])


def estimate_of(target: Target, record: RunRecord) -> str:
    """Name of the estimate that a target is in a run; empty where it is known exactly and not estimated."""
    declared = BY_NAME.get(target.name)
    if declared is None:
        return target.quantity
    return declared.final.format(score=record.config["planner"].get("score"))


def value_of(record: RunRecord, target: Target) -> float | None:
    """Return the target's value at the end of a run; None if the run did not finish, or has no such number."""
    if record.status != "finished":
        return None
    declared = BY_NAME.get(target.name)
    value = named(record, target.name) if declared is None else declared.of(record)
    return float(value) if value is not None and math.isfinite(value) else None


def curve_of(rows: Iterable[Mapping[str, Any]], estimate: str, most: int) -> dict[int, float]:
    """Return the values of an estimate by optimiser step, at most so many, evenly spread and the last among them.

    ``rows`` are those of ``metrics.jsonl``. Fewer than two points are no curve.
    """
    values = {int(row["step"]): row["value"] for row in rows if row["name"] == estimate}
    points = sorted((step, float(value)) for step, value in values.items() if _is_number(value))
    count = min(len(points), most)
    if count < 2:
        return {}
    places = {round(place * (len(points) - 1) / (count - 1)) for place in range(count)}
    return dict(points[place] for place in sorted(places))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

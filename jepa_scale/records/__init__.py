"""Frozen records that the parts of the program exchange, with units and shapes.

A number that is missing is ``None`` or NaN, never a default in its place. A failure that a study must survive is a
status with a sentence (``diverged``, ``not_identified``, ``vacuous``), never an exception.
"""

from jepa_scale.records.advice import Advice, Ask, MoreData, NextRun, Surface, Verdict
from jepa_scale.records.data import ActionSpace, Batch, Episodes, Trajectories, View
from jepa_scale.records.evaluation import Evaluation, EvaluationRecord, PairedDifference, TaskOutcomes
from jepa_scale.records.findings import Finding
from jepa_scale.records.laws import Comparison, Forecast, ForecastPoint, LawFit, Parameter, TheoryVerdict, Vuong
from jepa_scale.records.runs import (
    ArmValues,
    BoundedQuantity,
    BoundValue,
    Estimate,
    GoalLaw,
    Hypothesis,
    Negatives,
    Regret,
    RunRecord,
    RunStatus,
    RunTable,
    Score,
)
from jepa_scale.records.studies import SAMPLED, Arm, Budget, ExactLearner, StudyResult, TuningCheck, TuningRun

__all__ = [
    "SAMPLED",
    "ActionSpace",
    "Advice",
    "Arm",
    "ArmValues",
    "Ask",
    "Batch",
    "BoundValue",
    "BoundedQuantity",
    "Budget",
    "Comparison",
    "Episodes",
    "Estimate",
    "Evaluation",
    "EvaluationRecord",
    "ExactLearner",
    "Finding",
    "Forecast",
    "ForecastPoint",
    "GoalLaw",
    "Hypothesis",
    "LawFit",
    "MoreData",
    "Negatives",
    "NextRun",
    "PairedDifference",
    "Parameter",
    "Regret",
    "RunRecord",
    "RunStatus",
    "RunTable",
    "Score",
    "StudyResult",
    "Surface",
    "TaskOutcomes",
    "TheoryVerdict",
    "Trajectories",
    "TuningCheck",
    "TuningRun",
    "Verdict",
    "View",
    "Vuong",
]

"""Conclusions of a study: sentences derived from its numbers only."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions import (
    advice,
    arms,
    bounds,
    budget,
    completeness,
    finetuning,
    forecasts,
    laws,
    optimum,
    prediction,
    risk,
    success,
    theory,
    tuning,
)
from jepa_scale.report.conclusions.base import Conclusion

__all__ = ["Conclusion", "conclusions", "headline", "warnings"]

_TOPICS = {
    "Success": success,
    "Prediction": prediction,
    "Best width": optimum,
    "Fine-tuning": finetuning,
    "Budget": budget,
    "Tuning": tuning,
    "Risk": risk,
    "Bounds": bounds,
    "Laws": laws,
    "Theory": theory,
    "Forecast": forecasts,
    "Advice": advice,
    "Completeness": completeness,
}


def conclusions(result: StudyResult) -> dict[str, tuple[Conclusion, ...]]:
    """Return all conclusions by topic; a study without runs has only one."""
    if len(result.table) == 0:
        return {"Completeness": tuple(completeness.conclude(result))}
    if result.arms:
        tuned = [conclusion for arm in result.arms for conclusion in finetuning.conclude(arm.result, arm.label)]
        topics = {"Arms": tuple(arms.conclude(result)), "Fine-tuning": tuple(tuned)}
        return {
            **{topic: group for topic, group in topics.items() if group},
            "Completeness": tuple(completeness.conclude(result)),
        }
    topics = {topic: tuple(module.conclude(result)) for topic, module in _TOPICS.items()}
    # A study without fine-tuning says nothing of it, nor one with plans of predictions, nor one trained long enough.
    return {
        topic: group for topic, group in topics.items() if group or topic not in ("Budget", "Fine-tuning", "Prediction")
    }


def warnings(result: StudyResult) -> list[str]:
    """Return what contradicts or fails, of what belongs in the opening."""
    every = [conclusion for group in conclusions(result).values() for conclusion in group]
    return [conclusion.text for conclusion in every if conclusion.alarm and conclusion.headline]


def headline(result: StudyResult) -> str:
    """Return the opening paragraph."""
    return " ".join(
        conclusion.text for group in conclusions(result).values() for conclusion in group if conclusion.headline
    )

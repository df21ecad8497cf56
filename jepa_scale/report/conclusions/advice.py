"""Conclusions on whether the largest run suffices, and on how such advice fared."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.report.advice import advice_lines, score_lines
from jepa_scale.report.conclusions.base import Conclusion


def conclude(result: StudyResult) -> list[Conclusion]:
    """Return the verdict and the score of back-tested verdicts; the rest is in the section on advice."""
    if result.advice is None:
        return [Conclusion(f"No advice: {result.no_advice}.")] if result.no_advice else []
    sentences = [Conclusion(advice_lines(result.advice)[0] + ".")]
    return sentences + [Conclusion(line) for line in score_lines(result.judged, result.target_regret)]

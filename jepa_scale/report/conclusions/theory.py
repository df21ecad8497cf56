"""Conclusions on the evidence of the cells for the theory's law."""

from __future__ import annotations

from jepa_scale.records import Comparison, StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.wording import law_name, listed, number, probability, whole

_STATUS = {
    "for": "speaks for the theory's shape of the law",
    "against": "speaks against the theory's shape of the law",
    "refused": "gives no verdict on the theory",
}


def conclude(result: StudyResult) -> list[Conclusion]:
    """Return the verdict on each target, or why there is none, with the tests behind it."""
    sentences = []
    for comparison in result.comparisons:
        sentences.append(
            Conclusion(
                f"On {comparison.target}, this study {_STATUS[comparison.verdict.status]}: "
                f"{comparison.verdict.reason}.",
                headline=comparison.target == "regret",
                alarm=comparison.verdict.status == "against",
            )
        )
        sentences += _tests(comparison)
    return sentences or [Conclusion("No laws were compared, so nothing is said of the theory.")]


def _tests(comparison: Comparison) -> list[Conclusion]:
    sentences = []
    if comparison.u_turns:
        where = listed([whole(n) for n in comparison.u_turns])
        sentences.append(f"a width inside the grid beats both ends beyond chance at n = {where}")
    for test in comparison.vuong:
        one, other = law_name(test.one), law_name(test.other)
        closer = one if test.z > 0 else other
        sentences.append(
            f"Vuong's test of {one} against {other}: z = {number(test.z)} ({probability(test.p)}, {closer} closer)"
        )
    if comparison.fixed_exponents_p is not None:
        sentences.append(f"p = 2 and q = 1/2 inside the free law: {probability(comparison.fixed_exponents_p)}")
    if comparison.bayes:
        sentences.append(
            "BIC weights "
            + ", ".join(f"{law_name(law)} {number(weight, 2)}" for law, weight in comparison.bayes.items())
        )
    return [Conclusion(f"{comparison.target}: {'; '.join(sentences)}.")] if sentences else []

"""Sentences on what the cells say of the theory's law."""

from __future__ import annotations

from jepa_scale.records import Comparison, StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.wording import listed, number, probability, whole

_STATUS = {
    "for": "speaks for the theory's shape of the law",
    "against": "speaks against the theory's shape of the law",
    "refused": "gives no verdict on the theory",
}


def conclude(result: StudyResult) -> list[Conclusion]:
    """Give the verdict on each target, or why there is none, with the tests behind it."""
    found = []
    for one in result.comparisons:
        found.append(
            Conclusion(
                f"On {one.target}, this study {_STATUS[one.verdict.status]}: {one.verdict.reason}.",
                headline=one.target == "regret",
                alarm=one.verdict.status == "against",
            )
        )
        found += _tests(one)
    return found or [Conclusion("No laws were compared, so nothing is said of the theory.")]


def _tests(one: Comparison) -> list[Conclusion]:
    sentences = []
    if one.u_turns:
        where = listed([whole(n) for n in one.u_turns])
        sentences.append(f"a width inside the grid beats both ends beyond chance at n = {where}")
    for test in one.vuong:
        closer = test.one if test.z > 0 else test.other
        sentences.append(
            f"Vuong's test of {test.one} against {test.other}: z = {number(test.z)} ({probability(test.p)}, {closer} "
            "closer)"
        )
    if one.fixed_exponents_p is not None:
        sentences.append(f"p = 2 and q = 1/2 inside the free law: {probability(one.fixed_exponents_p)}")
    if one.bayes:
        sentences.append("BIC weights " + ", ".join(f"{law} {number(weight, 2)}" for law, weight in one.bayes.items()))
    return [Conclusion(f"{one.target}: {'; '.join(sentences)}.")] if sentences else []

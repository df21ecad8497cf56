"""Conclusions on the fitted laws against the theory's predictions."""

from __future__ import annotations

import math

from jepa_scale.laws.compare import comparable
from jepa_scale.records import LawFit, Parameter, StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.wording import interval, law_name, listed, number, percent, plural, probability

TIE = 2.0
"""Difference in AICc below which two laws are called tied."""

_ALLOWED = {"p": "below", "q": "above"}
"""Side of the theory's exponents that its theorem, an upper bound on the sample term k^p n^−q, allows."""

_UNTESTED = ("no_interior_optimum", "wide_spread", "coefficient_zero")
"""Findings on a parameter that make its interval uninformative about the theory."""

POOR = 0.01
"""p value of the lack-of-fit test below which a law is said to miss the cell means."""


def conclude(result: StudyResult) -> list[Conclusion]:
    """Conclude which law the cells prefer, what its exponents are and whether it fits at all."""
    if not result.fits:
        return [Conclusion("No law was fitted.", headline=True)]
    summary = _summary(result.fits)
    sentences = [summary] if summary else []
    for fit in result.fits:
        if fit.status != "converged":
            status = fit.status.replace("_", " ")
            # A law that a user wrote, with a name that no run has: a mistake.
            mistake = "=" in fit.law and fit.reason is not None and fit.reason.code == "column_missing"
            said = f"{law_name(fit.law)} on {fit.target}: {status}: {fit.reason or 'no reason given'}."
            sentences.append(Conclusion(said, headline=mistake, alarm=mistake))
            continue
        sentences += [exponent(fit, parameter) for parameter in fit.parameters if _tested(parameter)]
    sentences += _lack(result.fits)
    for target in dict.fromkeys(fit.target for fit in result.fits):
        sentences.append(_preferred([fit for fit in result.fits if fit.target == target], target))
    return sentences


def _tested(parameter: Parameter) -> bool:
    return parameter.theory is not None and not parameter.fixed


def exponent(fit: LawFit, parameter: Parameter) -> Conclusion:
    """Compare one exponent with the theory's, or say why the grid does not allow it."""
    assert parameter.theory is not None  # only such parameters are compared
    name, theory = parameter.name, number(parameter.theory)
    start = f"{law_name(fit.law)} on {fit.target}: {name} = {number(parameter.value)}"
    basis = f"{percent(fit.level)} cluster bootstrap, {plural(fit.cells, 'cell')}, {plural(fit.runs, 'run')}"
    reasons = doubts(fit, parameter)
    if math.isfinite(parameter.low) and math.isfinite(parameter.high):
        start += f" {interval(parameter.low, parameter.high)} ({basis})"
    if reasons:
        return Conclusion(f"{start}; whether it is the theory's {theory} this grid cannot say ({'; '.join(reasons)}).")
    inside = parameter.low <= parameter.theory <= parameter.high
    if inside:
        return Conclusion(f"{start}; the interval contains the theory's {theory}.")
    side = "above" if parameter.low > parameter.theory else "below"
    poor = fit.lack_of_fit_p is not None and fit.lack_of_fit_p < POOR
    caution = " (and this law itself misses the cell means)" if poor else ""
    allowed = _ALLOWED.get(name)
    verdict = "the predicted rate is not what this study shows"
    if allowed == side:
        verdict += ", though an upper bound allows that side"
    elif allowed is not None:
        verdict += ", on the side that even an upper bound forbids"
    return Conclusion(
        f"{start}: the interval lies {side} the theory's {theory}{caution}; {verdict}.", alarm=allowed != side
    )


def _summary(fits: tuple[LawFit, ...]) -> Conclusion | None:
    """Return one sentence on all tested exponents, for the opening paragraph."""
    parts = []
    for fit in fits:
        if fit.status != "converged":
            continue
        for item in filter(_tested, fit.parameters):
            assert item.theory is not None  # ``_tested`` asked for it
            inside = item.low <= item.theory <= item.high
            verdict = "cannot say" if doubts(fit, item) else "contained" if inside else "not contained"
            value = f"{number(item.value)} {interval(item.low, item.high)}"
            parts.append(
                f"{item.name} = {value} for {law_name(fit.law)} on {fit.target} "
                f"(theory {number(item.theory)}: {verdict})"
            )
    if not parts:
        return None
    return Conclusion(f"Fitted exponents with {percent(fits[0].level)} intervals: {'; '.join(parts)}.", headline=True)


def doubts(fit: LawFit, parameter: Parameter) -> list[str]:
    """Return the reasons why an interval of this parameter is meaningless."""
    reasons = []
    if not (math.isfinite(parameter.low) and math.isfinite(parameter.high)):
        reasons.append("it has no interval")
    if parameter.at_boundary:
        reasons.append("it lies at the bound of its range")
    untested = [warning for warning in fit.warnings if warning.subject == parameter.name and warning.code in _UNTESTED]
    return reasons + [str(finding) for finding in untested]


def _lack(fits: tuple[LawFit, ...]) -> list[Conclusion]:
    """Conclude which laws miss the cell means, which do not, and which could not be tested."""
    groups: dict[str, list[str]] = {"miss": [], "hold": [], "untested": []}
    for fit in fits:
        if fit.status != "converged":
            continue
        p = fit.lack_of_fit_p
        basis = "" if p is None else f" ({probability(p)}, {plural(fit.cells, 'cell')})"
        groups["untested" if p is None else "miss" if p < POOR else "hold"].append(
            f"{law_name(fit.law)} on {fit.target}{basis}"
        )
    templates = {
        "miss": "Lack of fit, cell means missed by more than seeds scatter: {}. Intervals of such a law describe the "
        "best law of its form, not the truth.",
        "hold": "Not contradicted by the scatter of seeds: {}.",
        "untested": "Lack of fit not tested, for want of replicate seeds that differ: {}.",
    }
    return [Conclusion(templates[kind].format(listed(names))) for kind, names in groups.items() if names]


def _preferred(fits: list[LawFit], target: str) -> Conclusion:
    usable = sorted(comparable(fits), key=lambda fit: fit.aicc)
    if len(usable) < 2:
        count = plural(len(usable), "law")
        return Conclusion(f"On {target}, AICc cannot compare laws: {count} with a finite AICc on the same cells.")
    best, second = usable[0], usable[1]
    tied = [law_name(fit.law) for fit in usable if fit.aicc - best.aicc < TIE]
    if len(tied) > 1:
        gap = number(second.aicc - best.aicc)
        return Conclusion(
            f"On {target}, AICc calls it a tie between {listed(tied)} (best two {gap} apart, below {TIE:g}; "
            f"{plural(best.cells, 'cell')}).",
            headline=True,
        )
    poor = best.lack_of_fit_p is not None and best.lack_of_fit_p < POOR
    caution = ", though that law misses the cell means too" if poor else ""
    return Conclusion(
        f"On {target}, AICc prefers {law_name(best.law)} over {law_name(second.law)} by "
        f"{number(second.aicc - best.aicc)} ({plural(best.cells, 'cell')}){caution}.",
        headline=True,
    )

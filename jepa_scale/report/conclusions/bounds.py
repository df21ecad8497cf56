"""Conclusions on the bounds and the regret that they bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.figures.bounds import BoundPoint, points
from jepa_scale.report.summary import ZERO
from jepa_scale.report.wording import bound, listed, number, plural


def conclude(result: StudyResult) -> list[Conclusion]:
    """Conclude for each bound whether it holds, whether it applies and whether it is vacuous."""
    groups: dict[str, list[BoundPoint]] = {}
    for point in points(result):
        groups.setdefault(point.label, []).append(point)
    if not groups:
        return [Conclusion("No finished run has a bound beside its regret.")]
    violations = [
        _violations(label, group) for label, group in groups.items() if any(point.violated for point in group)
    ]
    return [*violations, *_summary(groups, not violations)] + [_one(label, group) for label, group in groups.items()]


def _summary(groups: dict[str, list[BoundPoint]], valid: bool) -> list[Conclusion]:
    """Return one sentence on all bounds that apply, for the opening paragraph."""
    parts = []
    for label, group in groups.items():
        applying = [point for point in group if point.applies]
        if applying:
            parts.append(
                f"{label} is vacuous in {sum(not point.bound < 1 for point in applying)} of {len(applying)} runs"
            )
    if not parts:
        return [Conclusion("No bound applies to any run.", headline=True)]
    checked = "; no bound that applies lies below the regret" if valid else ""
    return [Conclusion(f"Of the bounds that apply, {listed(parts)}{checked}.", headline=True), *_tightest(groups)]


def _tightest(groups: dict[str, list[BoundPoint]]) -> list[Conclusion]:
    """Return how much the smallest bound that applies says of each run, and which it is."""
    best: dict[int, tuple[BoundPoint, str]] = {}
    for label, group in groups.items():
        for point in group:
            usable = point.applies and math.isfinite(point.bound)
            if usable and (point.row not in best or point.bound < best[point.row][0].bound):
                best[point.row] = (point, label)
    telling = [(point, label) for point, label in best.values() if point.bound < 1]
    if not telling or len(groups) < 2:
        return []
    ratios = [point.bound / point.regret for point, _ in telling if point.regret > ZERO]
    looser = (
        f", at the median {number(float(np.median(ratios)), 2)} times the regret where there is one" if ratios else ""
    )
    names = sorted({label for _, label in telling})
    return [
        Conclusion(
            f"The smallest bound that applies is below 1 in {len(telling)} of {plural(len(best), 'run')}{looser} "
            f"({listed(names)})."
        )
    ]


def _violations(label: str, group: Sequence[BoundPoint]) -> Conclusion:
    bad = [point for point in group if point.violated]
    worst = max(bad, key=lambda point: point.regret - point.bound)
    return Conclusion(
        f"VIOLATION: {label} applies but lies below the regret in {len(bad)} of {plural(len(group), 'run')}, "
        f"at worst {number(worst.bound)} against a regret of {number(worst.regret)} (k = {worst.k}). "
        "Either the theorem, a hypothesis check or a number is wrong.",
        headline=True,
        alarm=True,
    )


def _one(label: str, group: Sequence[BoundPoint]) -> Conclusion:
    applying = [point for point in group if point.applies]
    if not applying:
        below = sum(point.bound < point.regret for point in group)
        note = f"; it lies below the regret in {below}, which contradicts nothing" if below else ""
        return Conclusion(f"{label} applies to none of {plural(len(group), 'run')}: a hypothesis fails{note}.")
    empty = [point for point in applying if not point.bound < 1]
    lowest = min(applying, key=lambda point: point.bound if math.isfinite(point.bound) else math.inf)
    ratios = [point.bound / point.regret for point in applying if point.regret > ZERO and math.isfinite(point.bound)]
    parts = [
        f"{label} applies to {len(applying)} of {plural(len(group), 'run')} and is vacuous in {len(empty)} of these",
        f"its lowest value is {bound(lowest.bound)} at k = {lowest.k}, beside a regret of {number(lowest.regret)}",
    ]
    if ratios:
        parts.append(
            f"the median of bound over regret is {number(float(np.median(ratios)))} ({plural(len(ratios), 'run')})"
        )
    zeros = [point for point in applying if point.regret <= ZERO]
    if zeros:
        lowest_zero, highest_zero = (choose(point.bound for point in zeros) for choose in (min, max))
        ends = listed(list(dict.fromkeys([bound(lowest_zero), bound(highest_zero)])))
        parts.append(f"where the regret is exactly 0 ({plural(len(zeros), 'run')}) it is between {ends}")
    return Conclusion("; ".join(parts) + ".")

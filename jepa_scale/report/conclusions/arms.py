"""Conclusions on the arms of a study."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.records.quantities import noun_of
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.parts.arms import deficit_and_regret
from jepa_scale.report.summary import DECISIVE, Cell, Difference, cells, subject
from jepa_scale.report.wording import measured, place


def conclude(result: StudyResult) -> list[Conclusion]:
    """Conclude which arm is best, whether the next is distinguishable, and whether deficits correlate with regret."""
    best, column = _best(result), subject(result)
    if not best:
        return [Conclusion("No run of any arm finished with a regret.", headline=True, alarm=True)]
    ranked = sorted(best.items(), key=lambda item: item[1].mean)
    (first, cell), *others = ranked
    sentence = f"The lowest mean {noun_of(column)} is {measured(cell)}, of {first} at {place(cell)}."
    if cell.standard_error is None:
        sentence += " With one seed per cell, whether another arm differs from it cannot be said."
    else:
        alike = [name for name, contender in others if not Difference.of(contender, cell).decisive]
        sentence += f" Within {DECISIVE:g} standard errors over seeds of it: {'; '.join(alike) or 'none'}."
    if column != "regret":
        return [Conclusion(sentence, headline=True)]
    return [Conclusion(sentence, headline=True), Conclusion(deficit_and_regret(result), headline=True)]


def _best(result: StudyResult) -> dict[str, Cell]:
    """Return the best cell of each arm."""
    best = {}
    for arm in result.arms:
        mine = cells(arm.result.table, subject(result))
        if mine:
            best[arm.label] = min(mine.values(), key=lambda cell: cell.mean)
    return best

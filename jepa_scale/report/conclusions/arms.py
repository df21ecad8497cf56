"""Sentences on the arms of a study."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.parts.arms import deficit_and_regret
from jepa_scale.report.summary import DECISIVE, Cell, Difference, cells
from jepa_scale.report.wording import measured, place


def conclude(result: StudyResult) -> list[Conclusion]:
    """Say which arm is best, whether the next can be told from it, and whether deficits go with regret."""
    best = _best(result)
    if not best:
        return [Conclusion("No run of any arm finished with a regret.", headline=True, alarm=True)]
    ranked = sorted(best.items(), key=lambda item: item[1].mean)
    (first, cell), *others = ranked
    said = f"The lowest mean regret is {measured(cell)}, of {first} at {place(cell)}."
    if cell.standard_error is None:
        said += " With one seed per cell, whether another arm differs from it cannot be said."
    else:
        alike = [name for name, other in others if not Difference.of(other, cell).decisive]
        said += f" Within {DECISIVE:g} standard errors over seeds of it: {'; '.join(alike) or 'none'}."
    return [Conclusion(said, headline=True), Conclusion(deficit_and_regret(result), headline=True)]


def _best(result: StudyResult) -> dict[str, Cell]:
    """The best cell of each arm."""
    found = {}
    for arm in result.arms:
        mine = cells(arm.result.table, "regret")
        if mine:
            found[arm.label] = min(mine.values(), key=lambda cell: cell.mean)
    return found

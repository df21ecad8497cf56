"""Conclusions on what fine-tuning changed."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.parts.finetuned import changes
from jepa_scale.report.summary import DECISIVE, ZERO, Cell
from jepa_scale.report.wording import measured, place


def conclude(result: StudyResult, label: str = "") -> list[Conclusion]:
    """Conclude in how many cells fine-tuning lowered or raised the regret, and where most; empty without any."""
    changed = list(changes(result.table).values())
    if not changed:
        return []
    better, worse = (
        [cell for cell in changed if sign * cell.mean > _beyond(cell)] for sign in (-1, 1)
    )  # fmt: skip
    largest = min(changed, key=lambda cell: cell.mean)
    who = f"Fine-tuning ({label})" if label else "Fine-tuning"
    sentence = f"{who} lowered the regret by more than {DECISIVE:g} standard errors over seeds in {len(better)} of "
    sentence += f"{len(changed)} cells and raised it in {len(worse)}"
    if largest.mean < 0:
        sentence += f"; the largest change is {measured(largest)}, at {place(largest)}"
    if all(cell.standard_error is None for cell in changed):
        sentence = f"{who} changed the regret by {measured(largest)} at {place(largest)}; with one seed for each cell, "
        sentence += "whether that is chance cannot be said"
    return [Conclusion(sentence + ".", headline=True)]


def _beyond(cell: Cell) -> float:
    """Return what a change must exceed to count; infinite without replicates."""
    return float("inf") if cell.standard_error is None else max(DECISIVE * cell.standard_error, ZERO)

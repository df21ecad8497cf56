"""Conclusions on predicted observations, where nothing was planned."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.summary import Cell, cells, level
from jepa_scale.report.wording import listed, measured, number, place, plural


def conclude(result: StudyResult) -> list[Conclusion]:
    """Conclude how well observations are predicted, whether that beats a copy, and where the width is to blame."""
    errors = cells(result.table, "prediction")
    copy = level(result.table, "prediction_copy")
    if result.score != "none" or not errors or copy is None:
        return []
    best = min(errors.values(), key=lambda cell: cell.mean)
    useful = [cell for cell in errors.values() if cell.upper < copy]
    if not useful:
        return [
            Conclusion(
                f"No cell predicts observations better than a copy of the start, whose error is {number(copy)} of "
                f"the variance of their change (lowest mean {measured(best)}, {place(best)}): look at objective, rate "
                "and steps before n and k.",
                True,
                True,
            )
        ]
    worse = [cell for cell in errors.values() if cell not in useful]
    which = "" if not worse else f", not at {listed([place(cell) for cell in worse[:4]])}"
    more = " and more" if len(worse) > 4 else ""
    found = [
        Conclusion(
            f"Observations are predicted best at {place(best)}: error {measured(best)} of the variance of their "
            f"change, mean over the horizon, where a copy of the start has {number(copy)}. {len(useful)} of "
            f"{plural(len(errors), 'cell')} beat the copy{which}{more}.",
            True,
        )
    ]
    return found + _widths(result, errors)


def _widths(result: StudyResult, errors: dict[tuple[int, int], Cell]) -> list[Conclusion]:
    """Name the widths at which encoding, not predicting, makes most of the error at the largest n."""
    encoded = cells(result.table, "prediction_encoder")
    largest = max(cell.n for cell in errors.values())
    row = {key: cell for key, cell in errors.items() if cell.n == largest}
    at_fault = [
        cell.k
        for key, cell in row.items()
        if key in encoded
        and encoded[key].mean > 0.5 * cell.mean
        # Only where a wider one did better: the readout itself errs, too.
        and any(other.k > cell.k and other.upper < cell.mean for other in row.values())
    ]
    if not at_fault:
        return []
    return [
        Conclusion(
            f"At the largest n most of the error is there before anything is predicted, as observations cannot be read "
            f"out of the latent, at k = {listed(sorted(at_fault))}: a wider latent helps there, more data hardly."
        )
    ]

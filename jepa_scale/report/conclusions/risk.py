"""Conclusions on the exact risk and the floors that the spectrum sets."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.summary import by_width, cells, optima, rows_by_n
from jepa_scale.report.wording import listed, measured, number, place, plural, whole


def conclude(result: StudyResult) -> list[Conclusion]:
    """Conclude how far the risk is from its floors, and whether it is best where the regret is."""
    risks = cells(result.table, "risk")
    if not risks:
        return [Conclusion("No run finished with an exact risk.")]
    return [*_impossible(result), *_excess(result), *_same_width(result)]


def _impossible(result: StudyResult) -> list[Conclusion]:
    table = result.table
    risk, tail = np.asarray(table["risk"], float), np.asarray(table["tail"], float)
    # Relative tolerance: both are sums over the whole matrix in float64.
    low = (table["status"] == "finished") & (risk < tail - 1e-8 * (1 + np.abs(tail)))
    if not low.any():
        return []
    return [
        Conclusion(
            f"In {int(low.sum())} of {plural(len(table), 'run')} the exact risk lies below the spectral tail, which no "
            "rank-k model can reach (T2): these numbers contradict each other.",
            alarm=True,
        )
    ]


def _excess(result: StudyResult) -> list[Conclusion]:
    tails, shared = by_width(result.table, "tail"), by_width(result.table, "shared_tail")
    rows = rows_by_n(cells(result.table, "risk"))
    row = [cell for cell in rows[max(rows)] if cell.k in tails]
    if not row:
        return [Conclusion("The world has no exact spectrum, so the risk has no floor to compare with.")]
    floors = {cell.k: shared.get(cell.k, tails[cell.k]) for cell in row}
    near = min(row, key=lambda cell: cell.mean - floors[cell.k])
    far = max(row, key=lambda cell: cell.mean - floors[cell.k])
    name = "floor of one shared encoder" if shared else "tail"
    text = (
        f"At the largest n = {whole(near.n)} the risk exceeds the {name} by between "
        f"{number(near.mean - floors[near.k])} (k = {near.k}: risk {measured(near)}) and "
        f"{number(far.mean - floors[far.k])} (k = {far.k}: risk {measured(far)})."
    )
    largest = max(cells(result.table, "risk").values(), key=lambda cell: cell.mean - tails.get(cell.k, np.inf))
    if largest.k in tails:
        text += (
            f" The largest excess over the tail is {number(largest.mean - tails[largest.k])} at {place(largest)}: "
            "there the sample term, not the tail, makes the risk."
        )
    return [Conclusion(text)]


def _same_width(result: StudyResult) -> list[Conclusion]:
    risk, regret = optima(result.table, "risk"), optima(result.table, "regret")
    both = [n for n in risk if n in regret]
    apart = [
        f"{risk[n].best.k} against {regret[n].best.k} at n = {whole(n)}"
        for n in both
        if risk[n].best.k not in {*regret[n].shared_by, *regret[n].indistinguishable}
    ]
    if not both:
        return []
    if not apart:
        return [Conclusion("At every n the width of the lowest mean risk is also one of the lowest mean regret.")]
    return [
        Conclusion(
            f"The width of the lowest mean risk is not that of the lowest mean regret at {len(apart)} of "
            f"{plural(len(both), 'sample size')}: k = {listed(apart)}."
        )
    ]

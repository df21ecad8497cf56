"""Answer of a study in at most three sentences, each with its uncertainty."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions import arms, completeness, optimum, success
from jepa_scale.report.summary import BEYOND_CHANCE, cells, optima
from jepa_scale.report.wording import measured, percent, place, plural, whole


def answer(result: StudyResult) -> list[str]:
    """Return sentences on what is best, whether it is good enough, and how far to trust forecasts beyond the runs."""
    if not len(result.table):
        return [conclusion.text for conclusion in completeness.conclude(result) if conclusion.headline]
    if result.arms:
        return [conclusion.text for conclusion in arms.conclude(result) if conclusion.headline]
    regrets = list(cells(result.table, "regret").values())
    if not regrets:
        return [conclusion.text for conclusion in optimum.conclude(result)] + [completeness.conclude(result)[0].text]
    first = [conclusion.text for conclusion in success.conclude(result) if conclusion.headline] or [_best(result)]
    return [*first, optimum.target(result).text, _trust(result)]


def _best(result: StudyResult) -> str:
    regrets = cells(result.table, "regret").values()
    lowest = min(regrets, key=lambda cell: (cell.mean, cell.n, cell.k))
    turns = optima(result.table, "regret")
    inside = [n for n, turn in turns.items() if turn.place == "interior"]
    sure = sum(turns[n].established for n in inside)
    start = f"The lowest mean regret is {measured(lowest)} at {place(lowest)}"
    if not inside:
        return f"{start}, and at none of {plural(len(turns), 'sample size')} does the best width lie inside the grid."
    established = f"with both ends of the grid worse {BEYOND_CHANCE} at {sure} of these"
    if all(cell.standard_error is None for cell in regrets):
        established = "which one seed per cell cannot tell from chance"
    return (
        f"{start}; at {len(inside)} of {plural(len(turns), 'sample size')} the best width lies inside the grid, "
        f"{established}."
    )


def _trust(result: StudyResult) -> str:
    """Return a sentence on how forecasts of the target came out; without forecasts, what else there is to trust."""
    target = result.target
    forecasts = [item for item in result.forecasts if item.target == target.column and item.points]
    parts = []
    for item in forecasts:
        seen = [point.covered for point in item.points if point.covered is not None]
        if seen:
            parts.append(f"{item.law} {sum(seen)} of {len(seen)}")
    if parts:
        return (
            f"Laws fitted to smaller n forecast the {target.quantity} at n = {whole(result.held_out_n or 0)} inside "
            f"their {percent(forecasts[0].level)} intervals in this many held-out cells: {', '.join(parts)}."
        )
    why = "nothing was held out" if result.held_out_n is None else "no law forecast a held-out cell that was run"
    return f"How far this carries beyond the runs is not known: {why}."

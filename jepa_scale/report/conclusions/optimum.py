"""Conclusions on the best width, the target and the floors."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.summary import BEYOND_CHANCE, DECISIVE, ZERO, Optimum, cells, level, optima, rows_by_n
from jepa_scale.report.wording import difference, listed, measured, number, place, plural, whole


def conclude(result: StudyResult) -> list[Conclusion]:
    """Conclude where the regret is lowest, whether that is good enough, and how it compares with the floors."""
    turns = optima(result.table, "regret")
    if not turns and result.score == "none":
        predicted = np.isfinite(result.table["prediction"].astype(float)).any()
        return [Conclusion("Nothing was planned, so there is no regret and no best width by it.", not predicted)]
    if not turns:
        return [Conclusion("No run finished with a regret, so nothing can be said about the best width.", True, True)]
    sentences = [_overall(turns), *_movement(turns), target(result), _largest(result)]
    sentences += [_one(turn) for turn in turns.values()]
    return sentences + _against_chance(result)


def _overall(turns: dict[int, Optimum]) -> Conclusion:
    inside = [n for n, turn in turns.items() if turn.place == "interior"]
    if all(turn.place == "single" for turn in turns.values()):
        return Conclusion("At every n one width only has a finished run: this study cannot show a best width.", True)
    if not inside:
        return Conclusion(
            f"At no n (of {len(turns)}) does the regret have its lowest mean inside the grid of k: this study shows no "
            "interior best width.",
            True,
        )
    established = sum(turn.established for turn in turns.values())
    sure = f"at {established} of these both ends of the grid are worse {BEYOND_CHANCE}"
    if all(turns[n].above is not None and turns[n].above.standard_error is None for n in inside):  # type: ignore[union-attr]
        sure = "with one seed per cell, whether that exceeds the scatter of seeds cannot be said"
    return Conclusion(
        f"The regret is lowest at a width inside the grid at {len(inside)} of {plural(len(turns), 'sample size')} "
        f"(n = {listed([whole(n) for n in inside])}); {sure}.",
        True,
    )


def _movement(turns: dict[int, Optimum]) -> list[Conclusion]:
    inside = {n: turn for n, turn in turns.items() if turn.place == "interior"}
    if len(inside) < 2:
        return [
            Conclusion("Fewer than two sample sizes have an interior best width: whether k*(n) grows cannot be said.")
        ]
    best = [turn.best.k for turn in inside.values()]
    if best[-1] > best[0] and best == sorted(best):
        verdict = "it grows with n, as T6 predicts"
    elif len(set(best)) == 1:
        verdict = "it does not move on this grid, where T6 predicts growth"
    else:
        verdict = "it does not grow steadily with n, against what T6 predicts"
    blurred = [whole(n) for n, turn in inside.items() if turn.indistinguishable]
    doubt = f" Neighbouring widths cannot be told from the best at n = {listed(blurred)}." if blurred else ""
    where = listed([whole(n) for n in inside])
    return [Conclusion(f"k*(n) is {listed(best)} at n = {where}: {verdict}.{doubt}")]


def _one(turn: Optimum) -> Conclusion:
    best = turn.best
    start = f"n = {whole(best.n)}: lowest mean regret {measured(best)} at k = {best.k}"
    below = f"k = {turn.ends[0]} is worse by {difference(turn.below)}" if turn.below else ""
    above = f"k = {turn.ends[1]} is worse by {difference(turn.above)}" if turn.above else ""
    if turn.place == "interior":
        text = f"{start}, inside the grid; {below}, {above}."
    elif turn.place == "plateau":
        text = (
            f"n = {whole(best.n)}: lowest mean regret {measured(best)} at k = {listed(turn.shared_by)} alike, up to "
            f"the largest k of the grid: too large a width costs nothing visible here"
            + (f"; {below}." if below else ".")
        )
    elif turn.place == "highest":
        text = f"{start}, the largest of the grid: the best width may lie beyond it; {below}."
    elif turn.place == "lowest":
        text = f"{start}, the smallest of the grid: the best width may lie below it; {above}."
    else:
        text = f"{start}, the only width with a finished run."
    if turn.indistinguishable:
        text += f" Less than {DECISIVE:g} SE above the best: k = {listed(turn.indistinguishable)}."
    return Conclusion(text)


def target(result: StudyResult) -> Conclusion:
    """Conclude whether the target regret is reached, and where with the least data."""
    regrets = list(cells(result.table, "regret").values())
    wanted = number(result.target_regret)
    reached = [cell for cell in regrets if cell.mean <= result.target_regret]
    if not reached:
        lowest = min(regrets, key=lambda cell: cell.mean)
        return Conclusion(
            f"The target regret of {wanted} was not reached: the lowest mean is {measured(lowest)} at {place(lowest)}.",
            True,
        )
    # Data are what costs: the smallest n first, then the smallest k.
    cheapest = min(reached, key=lambda cell: (cell.n, cell.k))
    doubt = ""
    if cheapest.upper > result.target_regret:
        doubt = f"; the target lies within {DECISIVE:g} standard errors of it"
    return Conclusion(
        f"The target regret of {wanted} is reached in {len(reached)} of {plural(len(regrets), 'cell')}; the one with "
        f"the least data, then the smallest width, is {place(cheapest)} with {measured(cheapest)}{doubt}.",
        True,
    )


def _largest(result: StudyResult) -> Conclusion:
    rows = rows_by_n(cells(result.table, "regret"))
    n = max(rows)
    low, high = (choose(rows[n], key=lambda cell: cell.mean) for choose in (min, max))
    apart = ", held out from the fits," if result.held_out(n) else ""
    if high.mean - low.mean < ZERO:
        return Conclusion(f"At the largest n = {whole(n)}{apart} the regret is {measured(low)} at every width.")
    return Conclusion(
        f"At the largest n = {whole(n)}{apart} the mean regret runs from {measured(high)} at k = {high.k} "
        f"to {measured(low)} at k = {low.k}."
    )


def _against_chance(result: StudyResult) -> list[Conclusion]:
    floor, regrets = level(result.table, "regret_random"), cells(result.table, "regret")
    if floor is None:
        return []
    useless = [cell for cell in regrets.values() if cell.upper >= floor]
    chance, source = ("random actions", "same tasks") if result.sampled else ("random plans", "exact")
    known = f"{chance} (regret {number(floor)}, {source}"
    if not useless:
        return [Conclusion(f"Every cell plans better than {known}).")]
    where = listed([place(cell) for cell in useless[:4]]) + (" and more" if len(useless) > 4 else "")
    return [
        Conclusion(
            f"{len(useless)} of {plural(len(regrets), 'cell')} cannot be told from {known}; within {DECISIVE:g} SE): "
            f"{where}."
        )
    ]

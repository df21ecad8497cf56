"""Answer of a study: the verdict, what it rests on, and how far forecasts beyond the runs can be trusted."""

from __future__ import annotations

import math

from jepa_scale.laws.cells import SATURATED, cells_from_table
from jepa_scale.laws.training import trouble_of
from jepa_scale.records import StudyResult
from jepa_scale.records.findings import Finding
from jepa_scale.records.quantities import noun_of
from jepa_scale.report.advice import score_lines
from jepa_scale.report.conclusions import arms, budget, completeness, optimum, prediction, success, tuning
from jepa_scale.report.summary import BEYOND_CHANCE, DECISIVE, Cell, cells, level, optima, sizes, subject
from jepa_scale.report.wording import listed, measured, number, percent, place, plural, whole


def answer(result: StudyResult) -> list[str]:
    """Return the verdict first, then what it rests on, then how advice from fewer runs fared; one sentence or two each.

    The verdict begins with a word or two: Enough, Perhaps enough (one seed, or within its errors), Not enough, Barely
    trained, Untrained. What makes a study say little of n and k comes next: too few
    steps (first of all where the target is not reached), saturation, a shared rate.
    """
    if not len(result.table):
        return [conclusion.text for conclusion in completeness.conclude(result) if conclusion.headline]
    if result.arms:
        return [conclusion.text for conclusion in arms.conclude(result) if conclusion.headline]
    regrets = list(cells(result.table, subject(result)).values())
    if not regrets:
        return [conclusion.text for conclusion in optimum.conclude(result)] + [completeness.conclude(result)[0].text]
    if subject(result) != "regret":
        rests = [conclusion.text for conclusion in prediction.conclude(result)]
        return [*_opening(result, regrets), *rests, _trust(result)]
    rests = [conclusion.text for conclusion in success.conclude(result) if conclusion.headline] or [_best(result)]
    tuned = [conclusion.text for conclusion in tuning.conclude(result) if conclusion.headline]
    # A rate that misleads the comparison of widths is told before what it misleads to.
    return [*_opening(result, regrets), *_saturated(result, regrets), *tuned, *rests, _trust(result)]


def _opening(result: StudyResult, regrets: list[Cell]) -> list[str]:
    """Return the verdict, and that steps were the limit, which leads where the verdict would be about n and k."""
    verdict, bound = _verdict(result, regrets), [conclusion.text for conclusion in budget.conclude(result)]
    reached = any(cell.mean <= result.target_regret for cell in regrets)
    return [*bound, verdict] if _trouble(result) is None and not reached else [verdict, *bound]


def _verdict(result: StudyResult, regrets: list[Cell]) -> str:
    """Return whether the target is reached, by which cells, or what is in the way."""
    goal, lowest = number(result.target_regret), min(regrets, key=lambda cell: (cell.mean, cell.n, cell.k))
    what = noun_of(subject(result))
    trouble = _trouble(result)
    if trouble is not None:
        sentence = str(trouble)
        return f"{sentence[0].upper()}{sentence[1:]}."
    reached = [cell for cell in regrets if cell.mean <= result.target_regret]
    if not reached:
        return (
            f"Not enough: no cell reaches a {what} of {goal}. The lowest is {measured(lowest)} at {place(lowest)}. "
            + (_ahead(result))
        )
    sure = [cell for cell in reached if cell.standard_error is not None and cell.upper <= result.target_regret]
    first = min(cell.n for cell in sure or reached)
    here = [cell for cell in sure or reached if cell.n == first]
    widths = sorted(cell.k for cell in here)
    verb = "reaches" if len(widths) == 1 else "reach"
    best = min(here, key=lambda cell: (cell.mean, cell.k))
    start = "Enough" if sure else "Perhaps enough"
    doubt = "" if sure or best.standard_error is None else f", which lies within {DECISIVE:g} standard errors of it"
    below = [cell for cell in regrets if cell.n < first]
    smaller = ""
    if below:
        nearest = min((cell for cell in below if cell.n == max(one.n for one in below)), key=lambda cell: cell.mean)
        close = nearest.mean <= result.target_regret
        within = f", within {DECISIVE:g} standard errors of it" if nearest.standard_error is not None else ""
        smaller = f" With less data, n = {whole(nearest.n)}, the best is {measured(nearest)} at k = {nearest.k}"
        smaller += f"{within}: perhaps enough." if close else "."
    return (
        f"{start} at n = {whole(first)}: k = {listed(widths)} {verb} a {what} of {goal}, best "
        f"{measured(best)} at k = {best.k}{doubt}.{smaller}"
    )


def _floors(result: StudyResult) -> dict[str, float]:
    """Return what planning or predicting without a model reaches, by its name; what is not known is left out."""
    if subject(result) != "regret":
        columns = {"a copy of the start": "prediction_copy"}
    else:
        random = "random actions" if result.sampled else "random plans"
        columns = {random: "regret_random", "doing nothing": "regret_do_nothing"}
    known = {name: level(result.table, column) for name, column in columns.items()}
    return {name: floor for name, floor in known.items() if floor}


def _trouble(result: StudyResult) -> Finding | None:
    """Return that the study was not trained far enough to compare n and k; None if it was."""
    column = subject(result)
    return trouble_of(cells_from_table(result.table, column, math.inf), _floors(result), noun_of(column))


def _saturated(result: StudyResult, regrets: list[Cell]) -> list[str]:
    """Say so if most cells lie where random plans do, whose differences tell nothing of n and k."""
    floor = level(result.table, "regret_random")
    if _trouble(result) is not None:
        return []  # said already
    lost = [cell for cell in regrets if floor and cell.mean >= SATURATED * floor]
    if floor is None or 2 * len(lost) <= len(regrets):
        return []
    random = "random actions" if result.sampled else "random plans"
    return [
        f"Saturated: {len(lost)} of {plural(len(regrets), 'cell')} have at least {percent(SATURATED)} of the regret of "
        f"{random} ({number(floor)}) and are left out of the laws; more data or training would tell more of k."
    ]


def _ahead(result: StudyResult) -> str:
    """Return what is forecast to reach the target."""
    advice = result.advice
    if advice is None:
        return "Nothing was forecast beyond the runs."
    if advice.cheapest is None:
        return "Nothing does as far as forecasts were checked."
    found = advice.cheapest
    return f"Forecast to do so: n = {whole(found.n)}, k = {found.k}, P = {number(found.probability, 2)}."


def _best(result: StudyResult) -> str:
    regrets = cells(result.table, "regret").values()
    turns = optima(result.table, "regret")
    inside = [n for n, turn in turns.items() if turn.place == "interior"]
    sure = sum(turns[n].established for n in inside)
    if not inside:
        return f"At none of {plural(len(turns), 'sample size')} does the best width lie inside the grid."
    rate = "With one rate for all widths, at" if result.tuning is not None else "At"
    established = f"both ends of the grid are worse {BEYOND_CHANCE} at {sure} of these"
    if all(cell.standard_error is None for cell in regrets):
        established = "one seed per cell cannot tell that from chance"
    return (
        f"{rate} {len(inside)} of {plural(len(turns), 'sample size')} the best width lies inside the grid (k* = "
        f"{listed([f'{turns[n].best.k} at n = {whole(n)}' for n in inside])}); {established}."
    )


def _trust(result: StudyResult) -> str:
    """Return how advice from the smaller half of the sizes fared, beside the dumbest rule."""
    lines = score_lines(result.judged, result.target_regret)
    if not lines:
        few = len(sizes(result.table)) < 4
        why = "four sizes n are needed to judge advice from half of them" if few else "no advice could be judged"
        return f"How far this carries beyond the runs is not known: {why}."
    largest = max((n for n in sizes(result.table) if n < min(one.n for one, _ in result.judged)), default=0)
    known = cells(result.table, subject(result))
    hits = [
        (known[largest, one.k].mean <= result.target_regret) == (came <= result.target_regret)
        for one, came in result.judged
        if (largest, one.k) in known
    ]
    rule = f" The rule “as at n = {whole(largest)}” would have had {sum(hits)} right, {len(hits) - sum(hits)} wrong."
    return lines[0] + (rule if hits else "")

"""Figure of the regret against the width, one line for each n."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure

from jepa_scale.records import StudyResult
from jepa_scale.records.quantities import BY_NAME, label_of, noun_of
from jepa_scale.report.figures.shared import draw_rows, label_levels, label_rows, left_out_cells, seeds_of_cells
from jepa_scale.report.page.style import INK, MUTED, styled, width_axis
from jepa_scale.report.summary import cells, level, optima, subject, widths
from jepa_scale.report.wording import over, whole

NAME = "regret_by_width"
TITLE = "Regret against latent width"
SECTION, PLACE = "u-turn", 1


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    return "" if cells(result.table, "regret") else "No run finished with a regret."


def caption(result: StudyResult) -> str:
    """Say what is shown, what the error bars are and what was left out."""
    best = optima(result.table, "regret")
    marked = ", ".join(f"{turn.best.k} at n = {whole(n)}" for n, turn in best.items() if turn.place == "interior")
    rings = (
        f"Rings mark k*(n), the lowest mean at each n, where it lies inside the grid: k* = {marked}."
        if marked
        else "No n has its lowest mean inside the grid, so no k* is marked."
    )
    return " ".join(
        [
            measured_as(result),
            f"Mean over seeds ({seeds_of_cells(result, 'regret')}); error bars ±1 standard error over seeds; small "
            "dots: single runs.",
            rings,
            left_out_cells(result, "regret"),
        ]
    )


def measured_as(result: StudyResult) -> str:
    """Return how the regret of this study is measured, in words."""
    if subject(result) != "regret":
        return f"{noun_of(subject(result)).capitalize()}: {BY_NAME[subject(result)].what}."
    if result.sampled:
        return "Regret: success of the planner with true dynamics and distances minus that with the model, same tasks."
    return (
        f"Expected regret (lost probability of ending at the goal; score {result.score}, {result.goal_law} "
        f"goals, T = {result.horizon}), {over(result)}."
    )


def draw_levels(axes: Any, result: StudyResult) -> None:
    """Draw horizontal lines at the target and at the regret of planners that know nothing."""
    for value, _, line in levels(result):
        axes.axhline(value, color=MUTED, linestyle=line, linewidth=1.1, zorder=1)


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one line for each n over the floors of planners that know nothing."""
    figure = Figure(figsize=(5.8, 3.3))
    axes = figure.subplots()
    draw_rows(axes, result, "regret")
    turns = optima(result.table, "regret")
    rings = [turn.best for turn in turns.values() if turn.place == "interior"]
    if rings:
        axes.plot(
            [cell.k for cell in rings],
            [cell.mean for cell in rings],
            "o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=1.1,
            zorder=5,
        )
    draw_levels(axes, result)
    width_axis(axes, widths(result.table))
    axes.set_ylabel("regret (share of tasks)" if result.sampled else label_of("regret"))
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
    label_rows(axes, result, "regret")
    label_levels(axes, levels(result))
    return figure


def levels(result: StudyResult) -> list[tuple[float, str, str]]:
    """Return the target and the floors: value, name and line style."""
    if subject(result) != "regret":
        copy = level(result.table, "prediction_copy")
        return [(result.target_regret, "target", ":"), *([] if copy is None else [(copy, "copy of the start", "--")])]
    random, idle = level(result.table, "regret_random"), level(result.table, "regret_do_nothing")
    found = [(result.target_regret, "target", ":")]
    # A simulator is acted in step by step; in a finite world a plan is judged as a whole.
    names = ("random actions", "doing nothing") if result.sampled else ("random plans", "null action")
    if random is not None and idle is not None and math.isclose(random, idle, rel_tol=1e-3):
        # One line over the other would show one of them only.
        return [*found, (random, " = ".join(names), "--")]
    if random is not None:
        found.append((random, names[0], "--"))
    if idle is not None:
        found.append((idle, names[1], "-."))
    return found

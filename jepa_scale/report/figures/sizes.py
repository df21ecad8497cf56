"""Figure of the regret against the amount of data, one line for each width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from jepa_scale.records import StudyResult
from jepa_scale.records.quantities import label_of, noun_of
from jepa_scale.report.figures.regret import levels, measured_as
from jepa_scale.report.figures.shared import (
    draw_runs,
    error_bars,
    label_levels,
    label_lines,
    left_out_cells,
    seeds_of_cells,
)
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import MARKERS, MUTED, sequential, size_axis, styled
from jepa_scale.report.summary import Cell, cells, optima, sizes, subject, widths
from jepa_scale.report.wording import listed, measured, percent, plural, whole

NAME = "regret_by_size"
TITLE = "Against the amount of data"
SECTION, PLACE = "hero", 1


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if not cells(result.table, subject(result)):
        return f"No run finished with a {noun_of(subject(result))}."
    return "" if len(sizes(result.table)) > 1 else "The study has one size n."


def caption(result: StudyResult) -> str:
    """Say what is shown, what more data brought, what the error bars are and what was left out."""
    rows = _by_width(result)
    gains = [(row[0], row[-1]) for row in rows.values() if len(row) > 1]
    sentence = "No width was run at two sizes."
    if gains:
        first, last = max(gains, key=lambda ends: ends[0].mean - ends[1].mean)
        fell = first.mean > last.mean
        sentence = (
            f"Most is gained at k = {first.k}: from {measured(first)} at n = {whole(first.n)} to {measured(last)} at "
            f"n = {whole(last.n)}."
            if fell
            else "At no width is it lower at the largest n than at the smallest."
        )
    held_out = (
        f" Dotted upright line: n = {whole(result.held_out_n)} and above took no part in the fits."
        if result.held_out_n is not None
        else ""
    )
    bars = ""
    if any(verdict.low is not None for verdict, _ in result.judged):
        share = percent(result.advice.ask.level if result.advice is not None else 0.9)
        bars = f" Pale bars: {share} forecasts of one run, from the smaller half of the sizes."
    seeds = seeds_of_cells(result, subject(result))
    exact = f" {learner_sentence(result)}" if result.learner is not None else ""
    return (
        f"{measured_as(result)} Mean over seeds ({seeds}); error bars ±1 standard error over "
        f"seeds; small dots: single runs.{bars} {sentence}{exact}{held_out} {left_out_cells(result, subject(result))}"
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one line for each k over the floors of planners that know nothing."""
    figure = Figure(figsize=(5.8, 3.4))
    axes = figure.subplots()
    colors = sequential(widths(result.table), "plasma")
    markers = dict(zip(colors, MARKERS * len(colors), strict=False))
    draw_runs(axes, result, subject(result), "n", "k", colors)
    for k, row in _by_width(result).items():
        drawn = axes.errorbar(
            [cell.n for cell in row],
            [cell.mean for cell in row],
            yerr=error_bars(row),
            color=colors[k],
            marker=markers[k],
            capsize=2.5,
            elinewidth=1,
            zorder=3,
        )
        drawn[0].set_gid(marks.cells((cell.n, cell.k) for cell in row))
    if result.held_out_n is not None:
        largest = max((n for n in sizes(result.table) if n < result.held_out_n), default=result.held_out_n)
        axes.axvline((largest * result.held_out_n) ** 0.5, color=MUTED, linestyle=":", linewidth=1, zorder=1)
    _draw_forecasts(axes, result, colors)
    _draw_learner(axes, result, colors)
    for value, _, line in levels(result):
        axes.axhline(value, color=MUTED, linestyle=line, linewidth=1.1, zorder=1)
    size_axis(axes, sizes(result.table))
    axes.set_ylabel(_measure(result))
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
    ends = [(row[-1].mean, f"k = {k}", colors[k], markers[k]) for k, row in _by_width(result).items()]
    label_lines(axes, [*ends, *_end_of_learner(result, colors)])
    label_levels(axes, levels(result))
    return figure


def _measure(result: StudyResult) -> str:
    return "regret (share of tasks)" if result.sampled and subject(result) == "regret" else label_of(subject(result))


def _draw_forecasts(axes: Any, result: StudyResult, colors: Mapping[int, Any]) -> None:
    """Draw the intervals of back-tested forecasts beside the cells that they are of, widths side by side."""
    beside = {k: 1.025 ** (place - (len(colors) - 1) / 2) for place, k in enumerate(colors)}
    for verdict, _ in result.judged:
        if verdict.low is not None and verdict.high is not None and verdict.k in colors:
            axes.vlines(
                verdict.n * beside[verdict.k], verdict.low, verdict.high,
                color=colors[verdict.k], alpha=0.25, linewidth=5, zorder=1.5,
            )  # fmt: skip


def _draw_learner(axes: Any, result: StudyResult, colors: Mapping[int, Any]) -> None:
    """Draw the exact minimiser of the empirical risk as a thin line in the colour of its width."""
    learner = result.learner
    shown = [(place, k) for place, k in enumerate(learner.widths) if k in colors] if learner is not None else []
    if learner is None or not shown:
        return
    for place, k in shown:
        axes.plot(learner.sizes, learner.regret[:, place], color=colors[k], linewidth=0.9, linestyle=":", zorder=1.8)


def _end_of_learner(result: StudyResult, colors: Mapping[int, Any]) -> list[tuple[float, str, Any, str]]:
    """Return the name of the exact minimiser's lines at the end of the highest, among the names of the others."""
    learner = result.learner
    shown = [place for place, k in enumerate(learner.widths) if k in colors] if learner is not None else []
    if learner is None or not shown:
        return []
    return [(float(learner.regret[-1, shown].max()), "dotted: exact\nminimiser", MUTED, "_")]


def learner_sentence(result: StudyResult) -> str:
    """Say where the exact learner pays for its width, where the networks do, and what that means for choosing k."""
    learner = result.learner
    if learner is None or not learner.widths:
        return ""
    turns = optima(result.table, "regret")
    paying = [n for n, turn in turns.items() if turn.above is not None and turn.above.decisive]
    exact, widest = list(learner.rising()), learner.widths[-1]
    start = (
        f"Dotted: the exact minimiser of the empirical risk on as many independent transitions "
        f"({plural(learner.datasets, 'data set')}), of which the theory speaks."
    )
    if not exact:
        return f"{start} It is at no n worse at k = {widest} than at its best width: here, width costs no data."
    where = f"At k = {widest} it is worse than at its best width at n = {listed([whole(n) for n in exact])}"
    if exact == paying:
        return f"{start} {where}, and so are the networks: choose k near the best of your n."
    own = f"at n = {listed([whole(n) for n in paying])}" if paying else "at no n"
    return (
        f"{start} {where}, the networks {own}: their width costs them something else, so choose k by runs with a rate "
        "tuned for each width, not by this learner."
    )


def _by_width(result: StudyResult) -> dict[int, list[Cell]]:
    rows: dict[int, list[Cell]] = {}
    for cell in cells(result.table, subject(result)).values():
        rows.setdefault(cell.k, []).append(cell)
    return dict(sorted(rows.items()))

"""Figure of the regret against the amount of data, one line for each width."""

from __future__ import annotations

from matplotlib.figure import Figure

from jepa_scale.records import StudyResult
from jepa_scale.report.figures.regret import draw_levels, measured_as
from jepa_scale.report.figures.shared import draw_runs, error_bars, left_out_cells, legend_outside, seeds_of_cells
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import MARKERS, MUTED, sequential, size_axis, styled
from jepa_scale.report.summary import Cell, cells, sizes, widths
from jepa_scale.report.wording import measured, whole

NAME = "regret_by_size"
TITLE = "Regret against the amount of data"
SECTION, PLACE = "u-turn", 2


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if not cells(result.table, "regret"):
        return "No run finished with a regret."
    return "" if len(sizes(result.table)) > 1 else "The study has one size n."


def caption(result: StudyResult) -> str:
    """Say what is shown, what more data brought, what the error bars are and what was left out."""
    rows = _by_width(result)
    gains = [(row[0], row[-1]) for row in rows.values() if len(row) > 1]
    sentence = "No width has a regret at two sizes."
    if gains:
        first, last = max(gains, key=lambda ends: ends[0].mean - ends[1].mean)
        fell = first.mean > last.mean
        sentence = (
            f"Most is gained at k = {first.k}: from {measured(first)} at n = {whole(first.n)} to {measured(last)} at "
            f"n = {whole(last.n)}."
            if fell
            else "At no width is the regret lower at the largest n than at the smallest."
        )
    held_out = (
        f" Dotted upright line: n = {whole(result.held_out_n)} and above took no part in the fits."
        if result.held_out_n is not None
        else ""
    )
    return (
        f"{measured_as(result)} Mean over seeds ({seeds_of_cells(result, 'regret')}); error bars ±1 standard error "
        f"over seeds; small dots: single runs. {sentence}{held_out} {left_out_cells(result, 'regret')}"
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one line for each k over the floors of planners that know nothing."""
    figure = Figure(figsize=(7.6, 3.9))
    axes = figure.subplots()
    colors = sequential(widths(result.table), "plasma")
    markers = dict(zip(colors, MARKERS * len(colors), strict=False))
    draw_runs(axes, result, "regret", "n", "k", colors)
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
            label=f"k = {k}",
        )
        drawn[0].set_gid(marks.cells((cell.n, cell.k) for cell in row))
    if result.held_out_n is not None:
        largest = max((n for n in sizes(result.table) if n < result.held_out_n), default=result.held_out_n)
        axes.axvline((largest * result.held_out_n) ** 0.5, color=MUTED, linestyle=":", linewidth=1, zorder=1)
    draw_levels(axes, result)
    size_axis(axes, sizes(result.table))
    axes.set_ylabel("regret (share of tasks)" if result.sampled else "expected regret (probability)")
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
    legend_outside(figure, axes, "k = ")
    return figure


def _by_width(result: StudyResult) -> dict[int, list[Cell]]:
    rows: dict[int, list[Cell]] = {}
    for cell in cells(result.table, "regret").values():
        rows.setdefault(cell.k, []).append(cell)
    return dict(sorted(rows.items()))

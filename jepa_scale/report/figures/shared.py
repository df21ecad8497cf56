"""Drawing and wording shared by several figures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from jepa_scale.records import Forecast, LawFit, StudyResult
from jepa_scale.records.quantities import label_of
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import INK, MARKERS, NARROWEST, sequential
from jepa_scale.report.summary import Cell, cells, lacking, rows_by_n, sizes, widths
from jepa_scale.report.wording import number, plural, whole


def size_label(result: StudyResult, n: int) -> str:
    """Return the name of the line of one n."""
    return f"n = {whole(n)}" + (" held out" if result.held_out(n) else "")


def error_bars(row: list[Cell]) -> list[float]:
    """Return standard errors for drawing; cells with one seed get no bar, as the caption says."""
    return [cell.standard_error or 0.0 for cell in row]


def draw_runs(axes: Any, result: StudyResult, target: str, x: str, by: str, color: Any, positive: bool = False) -> None:
    """Draw every finished run as a small mark, those with one value of ``by`` in one colour, under the means."""
    data, values = result.table, result.table[target].astype(float)
    usable = (data["status"] == "finished") & np.isfinite(values) & ((values > 0) | (not positive))
    for value in color:
        rows = np.flatnonzero(usable & (data[by] == value))
        axes.plot(
            data[x][rows], values[rows], "o", color=color[value], alpha=0.45, markersize=2.6, markeredgewidth=0,
            zorder=2, gid=marks.runs(rows),
        )  # fmt: skip


def draw_rows(axes: Any, result: StudyResult, target: str, positive: bool = False) -> None:
    """Draw mean ± SE against k, one line for each n, over its runs; the held-out n is dashed with open markers."""
    colors = sequential(sizes(result.table))
    markers = dict(zip(colors, MARKERS * len(colors), strict=False))
    draw_runs(axes, result, target, "k", "n", colors, positive)
    for n, row in rows_by_n(cells(result.table, target)).items():
        kept = [cell for cell in row if cell.mean > 0] if positive else row
        held_out = result.held_out(n)
        drawn = axes.errorbar(
            [cell.k for cell in kept],
            [cell.mean for cell in kept],
            yerr=error_bars(kept),
            color=colors[n],
            marker=markers[n],
            markerfacecolor="white" if held_out else colors[n],
            linestyle=(0, (5, 1.5)) if held_out else "-",
            capsize=2.5,
            elinewidth=1,
            zorder=3,
            label=size_label(result, n),
        )
        drawn[0].set_gid(marks.cells((cell.n, cell.k) for cell in kept))


def law_panels(items: Sequence[LawFit] | Sequence[Forecast]) -> tuple[Figure, dict[tuple[str, str], Any]]:
    """Return a figure with one row for each target and one column for each law, and its axes by (target, law).

    Where a law has nothing on a target its place stays empty.
    """
    laws, targets = list(dict.fromkeys(item.law for item in items)), list(dict.fromkeys(item.target for item in items))
    figure = Figure(figsize=(max(1.4 + 2.0 * len(laws), NARROWEST), 1.2 + 2.3 * len(targets)))
    grid = figure.subplots(len(targets), len(laws), sharey="row", squeeze=False)
    places = {(target, law): grid[i, j] for i, target in enumerate(targets) for j, law in enumerate(laws)}
    used = {(item.target, item.law) for item in items}
    for place in places.keys() - used:
        places[place].set_axis_off()
    for i, target in enumerate(targets):
        first = next(law for law in laws if (target, law) in used)
        places[target, first].set_ylabel(label_of(target))
        # A panel over an empty place carries the label of its column.
        for law in laws:
            if not any((below, law) in used for below in targets[i + 1 :]):
                places[target, law].set_xlabel("latent width k")
    return figure, {place: places[place] for place in places if place in used}


def name_rows(figure: Figure, panels: Mapping[tuple[str, str], Any]) -> None:
    """Name the sizes beside the last panel of each target of ``law_panels``; below all where they are too many."""
    last = {target: axes for (target, _), axes in panels.items()}
    named = [name_lines([axes], room=axes.get_subplotspec().is_last_col()) for axes in last.values()]
    if not all(named):
        legend_below(figure, next(iter(panels.values())))


def legend_below(figure: Figure, axes: Any, columns: int = 0) -> None:
    """Put the legend of some axes below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns or (3 if figure.get_figwidth() > 7 else 2))


_ROW, _ROW_INCHES = 0.052, 0.136
"""Height of a label as a share of the axes, and in inches: the larger one counts."""
_MOST_NAMED = 6
"""Most lines that are named beside the axes; more are in a legend."""


def name_lines(panels: Iterable[Any], most: int = _MOST_NAMED, room: bool = True) -> bool:
    """Write the labels of lines right of the last of panels that share their heights; call it once limits are set.

    Returns False, and writes nothing, where there are too many: then they need a legend. ``room``: as ``label_lines``.
    """
    panels = list(panels)
    ends: dict[str, tuple[float, str, Any, str]] = {}
    hollow = set()
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            line = handle[0] if isinstance(handle, ErrorbarContainer) else handle
            heights = np.asarray(line.get_ydata(), dtype=float)
            heights = heights[np.isfinite(heights)]
            if len(heights):
                marker = "_" if line.get_marker() in ("None", "", ".") else line.get_marker()
                ends[label] = (float(heights[-1]), label, line.get_color(), marker)
                hollow |= {label} if line.get_markerfacecolor() == "white" else set()
    rows = sum(1 + label.count("\n") for label in ends)
    if len(ends) > most or rows * _row(panels[-1]) > 1:
        return False
    label_lines(panels[-1], list(ends.values()), hollow=hollow, room=room)
    return True


def _row(axes: Any) -> float:
    """Return the height of a label as a share of the axes."""
    return float(max(_ROW, _ROW_INCHES / (axes.get_position().height * axes.figure.get_figheight())))


def label_lines(
    axes: Any,
    ends: Sequence[tuple[float, str, Any, str]],
    left: bool = False,
    hollow: Collection[str] = (),
    room: bool = True,
) -> None:
    """Write labels beside the axes at the heights of lines, moved apart where they would overlap.

    ``ends`` are height, text, and the line's colour and marker. They stand right of the axes, or ``left`` of them where
    the lines are further apart at their beginnings. The markers of texts in ``hollow`` are white inside. Without
    ``room`` they are written into an empty place beside the axes, which is not made wider for them.
    """
    if not ends:
        return
    order = sorted(ends, key=lambda end: end[0])
    heights = axes.transScale.transform([(axes.get_xlim()[1], value) for value, *_ in order])
    wanted = np.clip(axes.transLimits.transform(heights)[:, 1], 0.0, 1.0).tolist()
    places = list(wanted)
    # Up from the lowest, then down from the top: each moves no more than its neighbours make it.
    rows = [1 + label.count("\n") for _, label, *_ in order]
    gaps = [_row(axes) * (below + above) / 2 for below, above in pairwise(rows)]
    for i, gap in enumerate(gaps, start=1):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in reversed(range(len(places))):
        above = 1.0 if i + 1 == len(places) else places[i + 1] - gaps[i]
        places[i] = min(places[i], above)
    for (_, label, color, marker), place in zip(order, places, strict=True):
        # The mark has the line's colour; text in it would be too pale to read.
        edge, way, flush = (0, -1, "right") if left else (1, 1, "left")
        beside = axes.transAxes + ScaledTranslation(way * 8 / 72, 0, axes.figure.dpi_scale_trans)
        (drawn,) = axes.plot(
            [edge],
            [place],
            marker=marker,
            color=color,
            markersize=4,
            linestyle="",
            transform=beside,
            clip_on=False,
            markerfacecolor="white" if label in hollow else color,
        )
        written = axes.annotate(
            label, (edge, place), xycoords="axes fraction", xytext=(way * 15, 0), textcoords="offset points",
            va="center", ha=flush, fontsize="small", color=INK, annotation_clip=False,
        )  # fmt: skip
        drawn.set_in_layout(room)
        written.set_in_layout(room)


def label_rows(axes: Any, result: StudyResult, target: str, positive: bool = False) -> None:
    """Write the n of each line of ``draw_rows`` right of the axes; called once the limits of the axes are set."""
    colors = sequential(sizes(result.table))
    markers = dict(zip(colors, MARKERS * len(colors), strict=False))
    rows = {
        n: [cell for cell in row if cell.mean > 0 or not positive]
        for n, row in rows_by_n(cells(result.table, target)).items()
    }
    ends = [(row[-1].mean, size_label(result, n), colors[n], markers[n]) for n, row in rows.items() if row]
    label_lines(axes, ends)


def label_levels(axes: Any, levels: Sequence[tuple[float, str, Any]]) -> None:
    """Write the name and value of horizontal lines on them, at the left: the right is for the ends of the others."""
    low, high = axes.get_ylim()
    for value, name, _ in levels:
        # Under its line where another one is so close above that their names would lie on each other.
        under = any(0 < other - value < _ROW * (high - low) for other, _, _ in levels)
        shift, side = (-2, "top") if under else (2, "bottom")
        axes.annotate(
            f"{name} {number(value)}", (0.008, value), xycoords=("axes fraction", "data"), xytext=(0, shift),
            textcoords="offset points", va=side, ha="left", fontsize="small", color=INK,
        )  # fmt: skip


def seeds_of_cells(result: StudyResult, target: str) -> str:
    """Return the number of seeds per cell in words."""
    counts = sorted({cell.seeds for cell in cells(result.table, target).values()})
    if not counts:
        return "no cells"
    if counts == [1]:
        return "1 seed per cell, hence no error bars"
    text = f"{counts[0]} seeds per cell" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds per cell"
    return text + ("; cells of 1 seed have no error bar" if counts[0] == 1 else "")


def left_out_cells(result: StudyResult, target: str) -> str:
    """Return sentences on which runs and cells of the grid are not in the figure, and why."""
    lost, seen = lacking(result), cells(result.table, target)
    empty = len(sizes(result.table)) * len(widths(result.table)) - len(seen)
    parts = []
    if lost:
        parts.append(f"{plural(len(lost), 'run')} that diverged")
    if empty:
        parts.append(f"{plural(empty, 'cell')} of the grid without a finished run")
    if result.unfinished:
        parts.append(f"{plural(len(result.unfinished), 'run')} without a record")
    return f"Left out: {'; '.join(parts)}." if parts else "No run was left out."

"""Drawing and wording shared by several figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from jepa_scale.records import Forecast, LawFit, StudyResult
from jepa_scale.records.quantities import label_of
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import INK, MARKERS, NARROWEST, sequential
from jepa_scale.report.summary import Cell, cells, lacking, rows_by_n, sizes, widths
from jepa_scale.report.wording import number, plural, whole


def size_label(result: StudyResult, n: int) -> str:
    """Return the legend entry of one n."""
    return f"n = {whole(n)}" + (" (held out from the fits)" if result.held_out(n) else "")


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


def legend_outside(figure: Figure, axes: Any, first: str = "n = ") -> None:
    """Put the legend right of the axes, with entries that begin with the given text, such as n, first."""
    handles, labels = axes.get_legend_handles_labels()
    # Matplotlib lists error bars after lines; the reader looks for the rows first.
    order = sorted(range(len(labels)), key=lambda i: not labels[i].startswith(first))
    figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside right upper")


_ROW = 0.052
"""Height of a label as a share of the axes."""


def label_lines(axes: Any, ends: Sequence[tuple[float, str, Any, str]], left: bool = False) -> None:
    """Write labels beside the axes at the heights of lines, moved apart where they would overlap.

    ``ends`` are height, text, and the line's colour and marker. They stand right of the axes, or ``left`` of them where
    the lines are further apart at their beginnings.
    """
    if not ends:
        return
    order = sorted(ends, key=lambda end: end[0])
    heights = axes.transScale.transform([(axes.get_xlim()[1], value) for value, *_ in order])
    wanted = np.clip(axes.transLimits.transform(heights)[:, 1], 0.0, 1.0).tolist()
    places = list(wanted)
    # Up from the lowest, then down from the top: each moves no more than its neighbours make it.
    rows = [1 + label.count("\n") for _, label, *_ in order]
    gaps = [_ROW * (below + above) / 2 for below, above in pairwise(rows)]
    for i, gap in enumerate(gaps, start=1):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in reversed(range(len(places))):
        above = 1.0 if i + 1 == len(places) else places[i + 1] - gaps[i]
        places[i] = min(places[i], above)
    for (_, label, color, marker), place in zip(order, places, strict=True):
        # The mark has the line's colour; text in it would be too pale to read.
        edge, way, flush = (0, -1, "right") if left else (1, 1, "left")
        beside = axes.transAxes + ScaledTranslation(way * 8 / 72, 0, axes.figure.dpi_scale_trans)
        axes.plot(
            [edge], [place], marker=marker, color=color, markersize=4, linestyle="", transform=beside, clip_on=False
        )
        axes.annotate(
            label, (edge, place), xycoords="axes fraction", xytext=(way * 15, 0), textcoords="offset points",
            va="center", ha=flush, fontsize="small", color=INK, annotation_clip=False,
        )  # fmt: skip


def label_rows(axes: Any, result: StudyResult, target: str, positive: bool = False) -> None:
    """Write the n of each line of ``draw_rows`` right of the axes; called once the limits of the axes are set."""
    colors = sequential(sizes(result.table))
    markers = dict(zip(colors, MARKERS * len(colors), strict=False))
    rows = {
        n: [cell for cell in row if cell.mean > 0 or not positive]
        for n, row in rows_by_n(cells(result.table, target)).items()
    }
    names = {n: f"n = {whole(n)}" + (" held out" if result.held_out(n) else "") for n in rows}
    label_lines(axes, [(row[-1].mean, names[n], colors[n], markers[n]) for n, row in rows.items() if row])


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

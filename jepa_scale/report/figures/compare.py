"""Figure of the regret of several studies, over width and over data."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from jepa_scale.records import StudyResult
from jepa_scale.report.figures.shared import error_bars, label_lines
from jepa_scale.report.page import marks
from jepa_scale.report.page.palette import distinct
from jepa_scale.report.page.style import MARKERS, outside, size_axis, styled, width_axis
from jepa_scale.report.summary import Cell, cells, rows_by_n
from jepa_scale.report.wording import measured, place, whole

NAME = "compare"
TITLE = "Regret of the studies compared"

_BESIDE = 24
"""Letters of a label that have room in a row at the end of its line."""

Studies = Mapping[str, StudyResult]
"""Results of the studies by label."""


def missing(studies: Studies) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    return "" if any(over_width(result) for result in studies.values()) else "No study has a run with a regret."


def caption(studies: Studies) -> str:
    """Say what is shown, which study is lowest where, and what was left out."""
    ends = {label: row[-1] for label, result in studies.items() if (row := over_size(result))}
    label, cell = min(ends.items(), key=lambda item: item[1].mean)
    at = ", ".join(f"n = {whole(row[0].n)} for {name}" for name, r in studies.items() if (row := over_width(r)))
    empty = [name for name, result in studies.items() if not over_width(result)]
    return (
        f"Left: mean regret by width at the largest n of each study ({at}). Right: the lowest mean over the widths of "
        "each n; it is chosen from the same means, which makes it a little optimistic. Error bars ±1 standard error "
        f"over seeds; cells of one seed have none. Lowest at its largest n: {label} with {measured(cell)} at "
        f"{place(cell)}. " + (f"Left out, without a regret: {', '.join(empty)}." if empty else "No study was left out.")
    )


@styled
def draw(studies: Studies) -> Figure:
    """Draw one line for each study in both panels."""
    # A label needs no more height than the axes have for all of them.
    figure = Figure(figsize=(9.0, 3.6 + 0.16 * sum(_rows(label).count("\n") + 1 for label in studies)))
    left, right = figure.subplots(1, 2, sharey=True)
    colors = distinct(list(studies))
    for index, (label, result) in enumerate(studies.items()):
        style = {"color": colors[label], "marker": MARKERS[index % len(MARKERS)]}
        _line(left, over_width(result), "k", str(index), style)
        _line(right, over_size(result), "n", str(index), style)
    width_axis(left, sorted({cell.k for result in studies.values() for cell in over_width(result)}))
    size_axis(right, sorted({cell.n for result in studies.values() for cell in over_size(result)}))
    left.set_ylabel("mean regret")
    left.set_title("at each study's largest n")
    right.set_title("at the best width of each n")
    left.set_ylim(bottom=-0.03 * left.get_ylim()[1])
    rows_by_label = {label: over_size(result) for label, result in studies.items()}
    styles = zip(studies, MARKERS * len(studies), strict=False)
    ends = [
        (rows_by_label[label][-1].mean, _rows(label), colors[label], marker)
        for label, marker in styles
        if rows_by_label[label]
    ]
    label_lines(right, ends)
    return figure


def _rows(label: str) -> str:
    """Return a label in rows that fit beside the axes."""
    return outside("\n".join(textwrap.wrap(label, _BESIDE)))


def _line(axes: Any, row: list[Cell], x: str, part: str, style: dict[str, str]) -> None:
    if not row:
        return
    places = [getattr(cell, x) for cell in row]
    errors = error_bars(row)
    drawn = axes.errorbar(places, [cell.mean for cell in row], yerr=errors, capsize=2.5, elinewidth=1, **style)
    drawn[0].set_gid(marks.cells(((cell.n, cell.k) for cell in row), part))


def over_width(result: StudyResult) -> list[Cell]:
    """Return the cells at the largest n with a regret."""
    rows = rows_by_n(cells(result.table, "regret"))
    return rows[max(rows)] if rows else []


def over_size(result: StudyResult) -> list[Cell]:
    """Return the cell of the lowest mean at each n."""
    return [min(row, key=lambda cell: cell.mean) for row in rows_by_n(cells(result.table, "regret")).values()]

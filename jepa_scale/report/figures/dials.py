"""Figure of the study's target against each dial other than n and k."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jepa_scale.records import RunTable, StudyResult
from jepa_scale.records.dials import Dial, Value
from jepa_scale.report.figures.shared import left_out_cells, legend_below, name_lines
from jepa_scale.report.page.style import MARKERS, sequential, styled
from jepa_scale.report.summary import Mean, mean_of, sizes, widths
from jepa_scale.report.wording import listed, whole

NAME = "dials"
TITLE = "The other dials"
SECTION, PLACE = "dials", 1


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if not result.dials:
        return "The study has no dials beside n and k."
    return "" if any(_rows(result, dial) for dial in result.dials) else "No run finished with the study's target."


def caption(result: StudyResult) -> str:
    """Say what is shown, at which n and at which values of the dials that a panel does not vary."""
    reference = ", ".join(f"{dial.name} = {dial.reference}" for dial in result.dials)
    gains = [sentence for dial in result.dials for sentence in _gain(result, dial)]
    return (
        f"Mean of {result.target.quantity} over seeds at the largest n = {whole(_largest(result))}, one line for each "
        f"k; error bars ±1 standard error over seeds. A panel varies one dial; the others stay at {reference}. "
        + " ".join([*gains, left_out_cells(result, result.target.name)])
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw a panel for each dial."""
    shown = [dial for dial in result.dials if _rows(result, dial)]
    figure = Figure(figsize=(1.6 + 3.0 * min(len(shown), 3), 3.6 * math.ceil(len(shown) / 3)))
    panels = figure.subplots(math.ceil(len(shown) / 3), min(len(shown), 3), squeeze=False, sharey=True).ravel()
    colors = sequential(widths(result.table), "plasma")
    markers = dict(zip(colors, MARKERS * len(colors), strict=False))
    for axes, dial in zip(panels, shown, strict=False):
        for k, row in _rows(result, dial).items():
            axes.errorbar(
                [_place(dial, value) for value in row],
                [mean.value for mean in row.values()],
                yerr=[mean.standard_error or 0.0 for mean in row.values()],
                color=colors[k],
                marker=markers[k],
                capsize=2.5,
                elinewidth=1,
                label=f"k = {k}",
            )
        _axis(axes, dial)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    panels[0].set_ylabel(result.target.quantity)
    if not name_lines(panels[: min(len(shown), 3)]):
        legend_below(figure, panels[0])
    return figure


def _axis(axes: Any, dial: Dial) -> None:
    if dial.scale == "log":
        axes.set_xscale("log")
    ticks = [_place(dial, value) for value in dial.values]
    names = dict(zip(ticks, map(str, dial.values), strict=True))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: names.get(float(place), f"{place:g}")))
    axes.set_xlabel(dial.label)


def _place(dial: Dial, value: Value) -> float:
    return float(value) if dial.numeric else float(dial.values.index(value))


def _largest(result: StudyResult) -> int:
    return sizes(result.table)[-1] if len(result.table) else 0


def _rows(result: StudyResult, dial: Dial) -> dict[int, dict[Value, Mean]]:
    """Return means by k and value of one dial, with the others at their reference."""
    others = {other.name: other.reference for other in result.dials if other is not dial}
    table = result.runs.at(others)
    table = table.where((table["status"] == "finished") & (table["n"] == _largest(result)))
    rows = {k: dict(_means(table.where(table["k"] == k), dial, result.target.name)) for k in widths(table)}
    return {k: row for k, row in rows.items() if row}


def _means(table: RunTable, dial: Dial, target: str) -> Iterator[tuple[Value, Mean]]:
    for value in dial.values:
        mean = mean_of(np.asarray(table[target][table[dial.name] == value], dtype=float))
        if mean is not None:
            yield value, mean


def _gain(result: StudyResult, dial: Dial) -> Iterator[str]:
    """Return sentences on how much the target differs between the ends of a dial."""
    ends = {
        k: (next(iter(row.values())), list(row.values())[-1]) for k, row in _rows(result, dial).items() if len(row) > 1
    }
    if not ends:
        return
    k = max(ends, key=lambda k: abs(ends[k][1].value - ends[k][0].value))
    first, last = ends[k]
    error = math.hypot(first.standard_error or 0.0, last.standard_error or 0.0)
    seeds = listed(sorted({first.seeds, last.seeds}))
    yield (
        f"From {dial.name} = {dial.values[0]} to {dial.values[-1]} it changes most at k = {k}: by "
        f"{last.value - first.value:+.3g} ± {error:.2g} (SE; {seeds} seeds)."
    )

"""Figure of success or regret by arm, with a panel for each difficulty of tasks."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.records import Arm, StudyResult
from jepa_scale.records.quantities import BY_NAME, label_of, noun_of
from jepa_scale.report.figures.shared import name_lines
from jepa_scale.report.page import marks
from jepa_scale.report.page.palette import distinct
from jepa_scale.report.page.style import EXACT, MARKERS, MUTED, outside, styled
from jepa_scale.report.parts.arms import final_mean, records_of
from jepa_scale.report.parts.protocol import sentence_of
from jepa_scale.report.summary import Mean, cells, finished, sizes, subject, widths
from jepa_scale.report.wording import whole

NAME = "arms"
TITLE = "The arms compared"
_MOST_LINES = 8
_MOST_NAMED = 5
"""Most lines that are named beside the panels; more are in a legend."""
_LONGEST = 28
"""Largest number of letters of a name under an axis."""
_COLUMNS = 3


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if not result.arms:
        return "The study compares no settings."
    return "" if cells(result.table, subject(result)) else f"No run finished with a {noun_of(subject(result))}."


def caption(result: StudyResult) -> str:
    """Say what is shown and what was left out."""
    key, lines = _axis(result), _lines(result)
    what = "Share of tasks solved" if _solves(result) else noun_of(subject(result)).capitalize()
    panels = _panels(result)
    by = ", a panel for each number of steps that a task requires" if len(panels) > 1 else ""
    sentence = f"{what} by {key}{by}; means over seeds, error bars ±1 standard error over seeds."
    if _solves(result):
        sentence += (
            " Black: the same planner with true dynamics and true distances. Dashed: with true dynamics and the "
            "model's distances. Dotted: random actions; dash-dotted: doing nothing. "
        )
        sentence += sentence_of([record for _, record in finished(result)])
    shown = len(lines)
    return sentence + (f" The first {_MOST_LINES} of {shown} lines are drawn." if shown > _MOST_LINES else "")


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one line for each combination of the other settings, n and k."""
    key, panels = _axis(result), _panels(result)
    lines = list(_lines(result).items())[:_MOST_LINES]
    places, colors = _places(result, key), distinct([label for label, _ in lines])
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(2.4 * columns + 0.6, 5.6), 2.3 * rows + 0.9))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, suffix) in zip(grid.flat, panels, strict=False):
        axes.set_title(title)
        for index, (label, group) in enumerate(lines):
            color, marker, name = colors[label], MARKERS[index % len(MARKERS)], _name(result, "model") + suffix
            _line(axes, result, key, group, name, places, color, marker, label=outside(label))
            if _solves(result):
                _line(axes, result, key, group, "success/same_cost" + suffix, places, color, marker, dashed=True)
        if _solves(result):
            axes.plot(
                *_reference(result, "success/oracle" + suffix, places), color=EXACT, linewidth=1.1, label="oracle"
            )
            axes.plot(*_reference(result, "success/random" + suffix, places), ":", color=MUTED, label="random actions")
            axes.plot(
                *_reference(result, "success/do_nothing" + suffix, places), "-.", color=MUTED, label="doing nothing"
            )
        axes.set_ylim(*((-0.04, 1.06) if _solves(result) else (0, None)))
        _ticks(axes, places)
    for axes in grid[-1]:
        axes.set_xlabel(outside(key))
    for axes in grid[:, 0]:
        axes.set_ylabel(label_of("success" if _solves(result) else subject(result)).replace(" (", "\n("))
    if len(lines) <= _MOST_NAMED and name_lines(grid[0][: min(columns, len(panels))], most=8):
        return figure
    handles, labels = grid[0, 0].get_legend_handles_labels()
    # Inches of a handle and of a letter, as the legend is not to be wider than the figure.
    widest = 0.7 + 0.08 * max((len(label) for label in labels), default=0)
    fitting = max(1, int(figure.get_figwidth() / widest))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, fitting, max(1, len(labels))))
    return figure


def _solves(result: StudyResult) -> bool:
    return result.sampled and subject(result) == "regret"


def _name(result: StudyResult, policy: str) -> str:
    if _solves(result):
        return f"success/{policy}"
    declared = BY_NAME.get(subject(result))
    return subject(result) if declared is None else declared.final.format(score=result.score)


def _axis(result: StudyResult) -> str:
    """Return the arm setting with the most values, numbers before names."""
    values = {key: list(dict.fromkeys(arm.values[key] for arm in result.arms)) for key in result.arms[0].values}
    return max(values, key=lambda key: (_numeric(values[key]), len(values[key])))


def _numeric(values: list[Any]) -> bool:
    return len(values) > 1 and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _places(result: StudyResult, key: str) -> dict[Any, float]:
    values = list(dict.fromkeys(arm.values[key] for arm in result.arms))
    return {value: float(value) if _numeric(values) else float(place) for place, value in enumerate(values)}


def _lines(result: StudyResult) -> dict[str, list[tuple[Arm, int, int]]]:
    """Return the cells of each line, by its label."""
    key = _axis(result)
    lines: dict[str, list[tuple[Arm, int, int]]] = {}
    several_n, several_k = len(sizes(result.table)) > 1, len(widths(result.table)) > 1
    for arm in result.arms:
        others = [str(value) for name, value in arm.values.items() if name != key]
        for n in sizes(arm.result.table):
            for k in widths(arm.result.table):
                parts = [*others, *[f"n = {whole(n)}"] * several_n, *[f"k = {k}"] * several_k]
                lines.setdefault(", ".join(parts) or "model", []).append((arm, n, k))
    return lines


def _panels(result: StudyResult) -> list[tuple[str, str]]:
    """Return title and suffix of the estimate of each panel."""
    names = {name for _, record in finished(result) for name in record.final}
    matches = [re.fullmatch(r"success/model/required_(\d+)", name) for name in names]
    levels = sorted(int(match[1]) for match in matches if match)
    if not _solves(result) or len(levels) < 2:
        return [("", "")]
    return [(f"{level} required step{'s' * (level > 1)}", f"/required_{level}") for level in levels]


def _line(
    axes: Any, result: StudyResult, key: str, group: list[tuple[Arm, int, int]], name: str, places: dict[Any, float],
    color: str, marker: str, label: str | None = None, dashed: bool = False,
) -> None:  # fmt: skip
    points: list[tuple[float, Mean, str]] = []
    for arm, n, k in group:
        mean = final_mean(records_of(arm, n, k), name)
        if mean is not None:
            part = str([entry.label for entry in result.arms].index(arm.label))
            points.append((places[arm.values[key]], mean, marks.cell_key(n, k, part)))
    if not points:
        return
    points.sort(key=lambda point: point[0])
    x, y = [position for position, _, _ in points], [mean.value for _, mean, _ in points]
    if dashed:
        axes.plot(x, y, linestyle=(0, (2, 2)), color=color, linewidth=1, alpha=0.8)
        return
    errors = [mean.standard_error or 0.0 for _, mean, _ in points]
    # Names have no order: nothing lies between two of them.
    line = "-" if _numeric(list(places)) else ""
    drawn = axes.errorbar(
        x, y, yerr=errors, color=color, marker=marker, capsize=2, elinewidth=1, label=label, linestyle=line
    )
    drawn[0].set_gid(marks.keyed(cell for _, _, cell in points))


def _reference(result: StudyResult, name: str, places: dict[Any, float]) -> tuple[list[float], list[float]]:
    """Return the points of a reference line: estimates that no model changes."""
    mean = final_mean([record for _, record in finished(result)], name)
    value = math.nan if mean is None else mean.value
    return [min(places.values()), max(places.values())], [value, value]


def _short(value: Any) -> str:
    """Return a name cut to leave room for the panels; the whole name is in the table and at the points."""
    name = str(value)
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _ticks(axes: Any, places: dict[Any, float]) -> None:
    if not _numeric(list(places)):
        axes.set_xticks(list(places.values()), [outside(_short(value)) for value in places], rotation=30, ha="right")
        axes.set_xlim(-0.5, len(places) - 0.5)
    else:
        span = np.ptp(list(places.values()))
        axes.set_xlim(min(places.values()) - 0.05 * span, max(places.values()) + 0.05 * span)

"""Figure of every bound against the regret that it bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jepa_scale.records import StudyResult
from jepa_scale.records.quantities import label_of
from jepa_scale.report.figures.shared import label_lines
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import INK, MARKERS, MISS, MUTED, outside, sequential, styled
from jepa_scale.report.summary import ZERO, finished, widths
from jepa_scale.report.wording import listed, number, plural, whole

NAME = "bounds"
TITLE = "Bounds beside the regret"
SECTION, PLACE = "bounds", 1
_MOST_NAMED = 16
"""Most widths that are named beside a panel; more are in a legend."""
_ACROSS = 3
"""Most panels side by side."""

TOLERANCE = 1e-9
"""Rounding error of an exact risk under a root: a bound lower by less than this is no violation."""


@dataclass(frozen=True)
class BoundPoint:
    """Point of the figure: one bound of one run."""

    name: str
    label: str
    k: int
    bound: float
    regret: float
    applies: bool
    row: int
    """Row of the run in the study's table."""

    @property
    def violated(self) -> bool:
        """Whether a bound whose hypotheses hold lies below the regret."""
        return self.applies and self.bound < self.regret - TOLERANCE


def points(result: StudyResult) -> list[BoundPoint]:
    """Return every bound of every finished run that has a finite regret."""
    collected = []
    for row, record in finished(result):
        regret = float(result.table["regret"][row])
        for entry in record.bounds:
            # A record holds no NaN: a bound that is none is missing.
            value = float("nan") if entry["value"] is None else float(entry["value"])
            if math.isfinite(regret):
                k, applies = int(record.dials["k"]), bool(entry["applies"])
                collected.append(BoundPoint(entry["name"], entry["label"], k, value, regret, applies, row))
    return collected


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    return "" if _shown(result) else "No finished run has a finite bound beside a regret."


def caption(result: StudyResult) -> str:
    """Say what is shown and what was left out."""
    every, shown = points(result), [point for group in _shown(result).values() for point in group]
    hidden = sorted({point.label for point in every} - {point.label for point in shown})
    zeros = sum(point.regret <= ZERO for point in next(iter(_shown(result).values())))
    parts = [
        "Each point is one run (1 seed, exact regret and exact risk, hence no error bars).",
        "A valid bound lies above the diagonal.",
        "In the shaded region a bound says nothing, as a regret never exceeds 1.",
    ]
    if zeros:
        parts.append(f"{plural(zeros, 'run')} with a regret of exactly 0 stand on the line marked 0.")
    if any(not point.applies for point in shown):
        parts.append("Open markers: a hypothesis of the bound fails, so it promises nothing.")
    if any(point.violated for point in shown):
        parts.append("Crosses: a bound that applies lies below the regret.")
    if hidden:
        parts.append(f"Left out, as it applies to no run: {listed(hidden)}.")
    return " ".join(parts)


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one panel for each bound that applies to any run; all bounds if none does."""
    shown = _shown(result)
    across = min(len(shown), _ACROSS)
    down = math.ceil(len(shown) / across)
    figure = Figure(figsize=(1.5 + 2.6 * across, 0.4 + 3.0 * down))
    grid = np.atleast_2d(figure.subplots(down, across, sharex=True, sharey=True))
    panels = grid.ravel()
    for empty in panels[len(shown) :]:
        empty.set_axis_off()
    everything = [point for group in shown.values() for point in group]
    positive = [point.regret for point in everything if point.regret > ZERO]
    lowest = min(positive, default=0.1)
    zero = 10 ** (math.floor(math.log10(lowest)) - 0.6)
    top = 2 * max(max(point.bound for point in everything), 1.0)
    bottom = min([point.bound for point in everything] + [0.3]) / 3
    colors = sequential(widths(result.table), "plasma")
    markers = dict(zip(colors, MARKERS * len(colors), strict=False))
    for axes, group in zip(panels, shown.values(), strict=False):
        _background(axes, zero, bottom, top, any(point.regret <= ZERO for point in everything))
        for k, color in colors.items():
            _mark(axes, [point for point in group if point.k == k], zero, color, markers[k])
        axes.set_title(outside(group[0].label))
    for axes in panels[max(len(shown) - across, 0) : len(shown)]:
        axes.set_xlabel(label_of("regret"))
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("bound on the expected regret")
    beside = min(across, len(shown)) - 1
    group = list(shown.values())[beside]
    highest = {k: max((point.bound for point in group if point.k == k), default=top) for k in colors}
    ends = [(highest[k], f"k = {k}", color, markers[k]) for k, color in colors.items()]
    if len(ends) <= _MOST_NAMED:
        label_lines(panels[beside], ends)
    else:
        handles = [panels[0].plot([], [], markers[k], color=colors[k], label=f"k = {k}")[0] for k in colors]
        figure.legend(handles=handles, loc="outside right upper")
    return figure


def _mark(axes: Any, group: Sequence[BoundPoint], zero: float, color: Any, marker: str) -> None:
    def place(chosen: Sequence[BoundPoint]) -> tuple[list[float], list[float]]:
        return [point.regret if point.regret > ZERO else zero for point in chosen], [point.bound for point in chosen]

    violated = [point for point in group if point.violated]
    axes.plot(*place(violated), "x", color=MISS, markersize=8, markeredgewidth=2, zorder=5)
    for applies in (True, False):
        chosen = [point for point in group if point.applies is applies]
        axes.plot(
            *place(chosen), marker, color=color, markerfacecolor=color if applies else "none", alpha=0.85, zorder=4,
            gid=marks.runs(point.row for point in chosen),
        )  # fmt: skip


def _background(axes: Any, zero: float, bottom: float, top: float, has_zeros: bool) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    low = zero * (0.6 if has_zeros else 2.5)
    axes.set_xlim(low, 1.3)
    axes.set_ylim(bottom, top)
    axes.axhspan(1.0, top, color="#f1f3f5", zorder=0)
    axes.axhline(1.0, color=MUTED, linewidth=0.8, zorder=1)
    axes.text(0.03, 0.97, "vacuous: bound ≥ 1", color=MUTED, fontsize=8, transform=axes.transAxes, va="top")
    axes.plot([bottom, 1.3], [bottom, 1.3], color=INK, linewidth=1, linestyle="--", zorder=2)
    decades = [10.0**power for power in range(math.ceil(math.log10(zero)), 1)]
    if has_zeros:
        axes.axvline(zero, color=MUTED, linewidth=0.8, linestyle=":", zorder=1)
    ticks = [zero, *decades] if has_zeros else decades
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value <= zero * 1.01 else number(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: whole(value) if value >= 1 else number(value)))


def _shown(result: StudyResult) -> dict[str, list[BoundPoint]]:
    groups: dict[str, list[BoundPoint]] = {}
    for point in points(result):
        if math.isfinite(point.bound) and point.bound > 0:
            groups.setdefault(point.name, []).append(point)
    applying = {name: group for name, group in groups.items() if any(point.applies for point in group)}
    return applying or groups

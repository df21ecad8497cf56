"""Figure of forecasts of the held-out cells against the observations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jepa_scale.records import Forecast, StudyResult
from jepa_scale.report.figures.shared import label_lines, law_panels
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import EXACT, MISS, outside, styled, width_axis
from jepa_scale.report.wording import law_name, listed, number, percent, whole

NAME = "forecast"
TITLE = "Forecast and held-out cells"
SECTION, PLACE = "forecasts", 1

_WIDE, _NARROW = "#b6d3ea", "#2f7ab8"


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if _drawable(result):
        return ""
    reasons = [forecast.inflation_source for forecast in result.forecasts if forecast.inflation_source]
    if result.held_out_n is None:
        return "Nothing was held out, so there is no forecast to check."
    return "No law forecast the held-out cells." + (f" {reasons[0]}." if reasons else "")


def caption(result: StudyResult) -> str:
    """Say what is shown, what the intervals and error bars are and what was left out."""
    drawn = _drawable(result)
    first, n = drawn[0], drawn[0].points[0].n
    widened = [item for item in drawn if item.inflation != 1]
    factors = ", ".join(f"{law_name(item.law)} on {item.target} ×{number(item.inflation)}" for item in widened)
    plain = [f"{law_name(item.law)} on {item.target}" for item in drawn if item.inflation == 1]
    empty = [
        f"{law_name(item.law)} on {item.target} ({item.inflation_source})"
        for item in result.forecasts
        if not item.points
    ]
    counts = sorted({point.seeds for item in drawn for point in item.points if point.observed is not None})
    seeds = f"{counts[0]}–{counts[-1]}" if len(counts) > 1 else str(counts[0]) if counts else "no"
    return (
        f"Held-out cells at n = {whole(n)}, {number(first.extrapolation_decades)} decades beyond the largest n of the "
        "fits. "
        f"Wide bars: {percent(first.level)} intervals, widened by what earlier forecasts missed; narrow bars: those of "
        "the bootstrap alone; tick: prediction. "
        f"Points: observed mean over seeds ({seeds} seeds), error bars ±1 standard error over seeds; "
        "crosses fell outside the wide bar. "
        + (f"Widening: {factors}." if widened else "")
        + (f" Not widened, hence not calibrated: {listed(plain)}." if plain else "")
        + (f" Left out: {'; '.join(empty)}." if empty else " No forecast was left out.")
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one panel for each law and target."""
    drawn = _drawable(result)
    figure, panels = law_panels(drawn)
    for item in drawn:
        _panel(panels[item.target, item.law], item)
    for (target, _), axes in panels.items():
        # Near 0 it is decided whether a target is reached; what lies far above it is counted in decades.
        small = result.target_regret if target == "regret" else 1.0
        axes.set_yscale("symlog", linthresh=small, linscale=0.7)
        axes.set_ylim(bottom=-small / 8)
        decades = [10.0**power for power in range(-4, 7) if 10.0**power > 2 * small]
        axes.yaxis.set_major_locator(FixedLocator([0, small, *decades]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    for target in dict.fromkeys(item.target for item in drawn):
        last = [item for item in drawn if item.target == target][-1]
        label_lines(panels[target, last.law], _ends(last))
    return figure


def _panel(axes: Any, forecast: Forecast) -> None:
    for point in forecast.points:
        axes.plot([point.k] * 2, [point.low, point.high], color=_WIDE, linewidth=8, solid_capstyle="butt", zorder=2)
        axes.plot(
            [point.k] * 2,
            [point.uncalibrated_low, point.uncalibrated_high],
            color=_NARROW,
            linewidth=3,
            solid_capstyle="butt",
            zorder=3,
        )
        axes.plot(point.k, point.predicted, "_", color=_NARROW, markersize=12, markeredgewidth=1.6, zorder=3)
        if point.observed is not None:
            drawn = axes.errorbar(
                point.k,
                point.observed,
                yerr=point.observed_standard_error or 0.0,
                fmt="o" if point.covered else "X",
                color=EXACT if point.covered else MISS,
                markersize=4 if point.covered else 6,
                capsize=2,
                elinewidth=1,
                zorder=5,
            )
            drawn[0].set_gid(marks.cells([(point.n, point.k)]))
    width_axis(axes, sorted(point.k for point in forecast.points), axes.get_xlabel())
    axes.margins(x=0.08)
    seen = [point.covered for point in forecast.points if point.covered is not None]
    count = f"{sum(seen)} of {len(seen)} inside" + ", ✕ outside" * (not all(seen)) if seen else "not observed yet"
    axes.set_title(f"{outside(law_name(forecast.law))}\n{count}", fontsize=8.5)


def _ends(forecast: Forecast) -> list[tuple[float, str, Any, str]]:
    """Return the names of what is drawn at the last point of a panel, at their heights."""
    point = forecast.points[-1]
    ends = [
        (point.high, f"{percent(forecast.level)} interval", _WIDE, "s"),
        (point.uncalibrated_high, "bootstrap\nalone", _NARROW, "s"),
    ]
    if point.observed is not None:
        ends.append((point.observed, "observed ± SE", EXACT if point.covered else MISS, "o" if point.covered else "X"))
    return ends


def _drawable(result: StudyResult) -> list[Forecast]:
    reference = {dial.name: dial.reference for dial in result.dials if dial.numeric}
    there = [
        replace(item, points=tuple(point for point in item.points if point.dials == reference))
        for item in result.forecasts
    ]
    return [item for item in there if item.points]

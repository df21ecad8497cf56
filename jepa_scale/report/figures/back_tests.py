"""Figure of back-tests: forecasts of a table's larger runs from its smaller ones, and the requested forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.laws.backtest import learn_inflation
from jepa_scale.laws.table import FittedLaw, TableStudy
from jepa_scale.report.page.style import EXACT, INK, MISS, MUTED, log_height, styled
from jepa_scale.report.wording import number, percent

NAME = "back_tests"
TITLE = "Back-tests and forecasts"


def _drawn(study: TableStudy) -> list[FittedLaw]:
    return [fitted for fitted in study.laws if len(fitted.track.ratio)]


def missing(study: TableStudy) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if _drawn(study):
        return ""
    return next((fitted.track.reasons[0] for fitted in study.laws if fitted.track.reasons), "too few runs to back-test")


def caption(study: TableStudy) -> str:
    """Say what is shown."""
    drawn = _drawn(study)
    level = drawn[0].fit.level
    lines = ", ".join(f"{_line(fitted)} for {fitted.fit.law}" for fitted in drawn)
    fan = (
        " Below: the runs, the law along them and the points asked for, with calibrated (wide) and plain (narrow) "
        "intervals; hollow where nothing can be said."
        if any(fitted.forecast is not None for fitted in drawn)
        else ""
    )
    return (
        f"Size of each back-test's error in half-widths of its plain {percent(level)} interval, by distance from the "
        f"largest run of the fit. Line: λ(d), below which {percent(level)} of them lie: {lines}.{fan}"
    )


def _line(fitted: FittedLaw) -> str:
    inflation = learn_inflation([fitted.track], fitted.fit.level)
    return f"{number(inflation.intercept)} + {number(inflation.slope)} d"


@styled
def draw(study: TableStudy) -> Figure:
    """Draw one column for each law."""
    drawn = _drawn(study)
    fan = any(fitted.forecast is not None for fitted in drawn)
    figure = Figure(figsize=(max(4.6 * len(drawn), 5.6), 6.2 if fan else 3.2))
    panels = figure.subplots(2 if fan else 1, len(drawn), squeeze=False)
    for column, fitted in enumerate(drawn):
        _ratios(panels[0, column], fitted)
        if fan:
            _fan(panels[1, column], study, fitted)
    return figure


def _ratios(axes: Any, fitted: FittedLaw) -> None:
    track = fitted.track
    inflation = learn_inflation([track], fitted.fit.level)
    out = track.ratio > 1
    axes.plot(track.distance[~out], track.ratio[~out], "o", markersize=3, alpha=0.5, color="#2f7ab8", markeredgewidth=0)
    axes.plot(track.distance[out], track.ratio[out], "o", markersize=3, alpha=0.5, color=MISS, markeredgewidth=0)
    reach = np.linspace(0, track.farthest, 50)
    axes.plot(reach, inflation.at(reach), color=INK, linewidth=1.1)
    axes.axhline(1, color=MUTED, linestyle="--", linewidth=0.9)
    axes.set_xlabel("decades beyond the fitted runs")
    axes.set_ylabel("|error| / half-width")
    axes.set_title(f"{fitted.fit.law}: {int((~out).sum())} of {len(out)} inside plain intervals", fontsize=8.5)


def _fan(axes: Any, study: TableStudy, fitted: FittedLaw) -> None:
    axes.plot(
        study.scale, study.columns[study.target], "o", markersize=3, alpha=0.5, color="#2f7ab8", markeredgewidth=0
    )
    order = np.argsort(study.scale)
    axes.plot(study.scale[order], fitted.fitted[order], ".", markersize=1.5, color=INK)
    seen = fitted.forecast
    if seen is not None:
        place = study.scale.max() * 10**seen.distance
        for index, x in enumerate(place):
            for band, width, color in ((seen.calibrated, 7, "#b6d3ea"), (seen.plain, 2.5, "#2f7ab8")):
                axes.plot(
                    [x, x], [band.low[index], band.high[index]], color=color, linewidth=width, solid_capstyle="butt"
                )
            face = "white" if seen.refused[index] else EXACT
            axes.plot(x, seen.plain.predicted[index], "D", color=EXACT, markerfacecolor=face, markersize=4)
    axes.set_xscale("log")
    if study.relative:
        log_height(axes)
    axes.set_xlabel(study.scale_name)
    axes.set_ylabel(study.target)

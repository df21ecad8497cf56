"""Figure of back-tests: forecasts of a table's larger runs from its smaller ones, and the requested forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.laws.backtest import OFFSET, learn_calibration
from jepa_scale.laws.table import FittedLaw, TableStudy
from jepa_scale.report.page.style import EXACT, INK, MISS, MUTED, log_height, styled
from jepa_scale.report.wording import law_name, number, percent

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
    lines = ", ".join(f"{_line(fitted)} for {law_name(fitted.fit.law)}" for fitted in drawn)
    fan = (
        " Below: the runs, the law along them and the points asked for, with calibrated (wide) and plain (narrow) "
        "intervals; hollow where nothing can be said."
        if any(fitted.forecast is not None for fitted in drawn)
        else ""
    )
    return (
        f"Error of each back-test by distance from the largest run of its fit; red outside the plain {percent(level)} "
        f"interval. Line: the error that is taken off at that distance, {lines}; band: its root mean square.{fan}"
    )


def _line(fitted: FittedLaw) -> str:
    drift = learn_calibration(fitted.track).drift
    return f"{number(drift)} (d + {OFFSET:g})"


@styled
def draw(study: TableStudy) -> Figure:
    """Draw one column for each law."""
    drawn = _drawn(study)
    fan = any(fitted.forecast is not None for fitted in drawn)
    figure = Figure(figsize=(max(4.6 * len(drawn), 5.6), 6.2 if fan else 3.2))
    panels = figure.subplots(2 if fan else 1, len(drawn), squeeze=False)
    for column, fitted in enumerate(drawn):
        _errors(panels[0, column], study, fitted)
        if fan:
            _fan(panels[1, column], study, fitted)
    return figure


def _errors(axes: Any, study: TableStudy, fitted: FittedLaw) -> None:
    track = fitted.track
    calibration = learn_calibration(track)
    out = track.ratio > 1
    for rows, color in ((~out, "#2f7ab8"), (out, MISS)):
        axes.plot(track.distance[rows], track.error[rows], "o", markersize=3, alpha=0.5, color=color, markeredgewidth=0)
    reach = np.linspace(0, track.farthest, 50)
    expected, spread = calibration.drift * (reach + OFFSET), calibration.spread * (reach + OFFSET)
    axes.fill_between(reach, -spread, spread, color="#b6d3ea", alpha=0.5, linewidth=0)
    axes.plot(reach, expected, color=INK, linewidth=1.1)
    axes.axhline(0, color=MUTED, linestyle="--", linewidth=0.9)
    axes.set_xlabel("decades beyond the fitted runs")
    axes.set_ylabel("forecast − observed" + (", of ln" if study.relative else ""))
    axes.set_title(
        f"{law_name(fitted.fit.law)}: {int((~out).sum())} of {len(out)} inside plain intervals", fontsize=8.5
    )


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
            axes.plot(x, seen.calibrated.predicted[index], "D", color=EXACT, markerfacecolor=face, markersize=4)
    axes.set_xscale("log")
    if study.relative:
        log_height(axes)
    axes.set_xlabel(study.scale_name)
    axes.set_ylabel(study.target)

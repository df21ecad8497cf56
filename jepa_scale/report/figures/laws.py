"""Figure of the fitted laws over the cell means that they were fitted to."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.laws.law import Law
from jepa_scale.records import LawFit, StudyResult
from jepa_scale.report.figures.shared import error_bars, law_panels, name_rows, seeds_of_cells, size_label
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import MARKERS, log_height, outside, sequential, styled, width_axis
from jepa_scale.report.summary import by_width, cells, level, mean_of, rows_by_n, sizes, widths
from jepa_scale.report.wording import law_name, plural, probability

NAME = "laws"
TITLE = "Fitted laws over the cell means"
SECTION, PLACE = "laws", 1


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    return "" if drawable(result) else "No law converged, so there is no curve to draw."


def caption(result: StudyResult) -> str:
    """Say what is shown, what the error bars are and what was left out."""
    drawn = drawable(result)
    others = [
        f"{law_name(fit.law)} on {fit.target} ({fit.reason or 'no known formula'})"
        for fit in result.fits
        if fit not in drawn
    ]
    held_out = " Open markers were held out from the fits." if result.held_out_n is not None else ""
    apart = sorted({sentence for fit in drawn for sentence in fit.excluded})
    return (
        f"Points: cell means over seeds ({seeds_of_cells(result, drawn[0].target)}), error bars ±1 standard "
        "error over seeds. Lines: each fitted law at the widths of the grid, joined; cut off "
        "where they leave the range of the data."
        + held_out
        + (f" The fits left out {plural(len(apart), 'item')} (cells or runs), listed below." if apart else "")
        + (f" Left out: {'; '.join(others)}." if others else "")
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one panel for each converged law and target."""
    drawn = drawable(result)
    figure, panels = law_panels(drawn)
    for fit in drawn:
        axes = panels[fit.target, fit.law]
        _panel(axes, result, fit)
        lack = "" if fit.lack_of_fit_p is None else f"\nlack of fit {probability(fit.lack_of_fit_p)}"
        axes.set_title(outside(law_name(fit.law)) + lack, fontsize=8.5)
        if fit.target == "risk":
            log_height(axes)
        else:
            # A curve that leaves the range of a probability would flatten the data.
            highest = max(cell.mean for cell in cells(result.table, fit.target).values())
            axes.set_ylim(-0.05 * highest, 1.35 * highest)
    name_rows(figure, panels)
    return figure


def _panel(axes: Any, result: StudyResult, fit: LawFit) -> None:
    colors = sequential(sizes(result.table))
    markers = dict(zip(colors, MARKERS * len(colors), strict=False))
    for n, row in rows_by_n(cells(result.table, fit.target)).items():
        curve = predicted(result, fit, n)
        axes.plot(
            list(curve),
            list(curve.values()),
            color=colors[n],
            linewidth=1.2,
            linestyle="--" if result.held_out(n) else "-",
        )
        drawn = axes.errorbar(
            [cell.k for cell in row],
            [cell.mean for cell in row],
            yerr=error_bars(row),
            fmt=markers[n],
            color=colors[n],
            markerfacecolor="white" if result.held_out(n) else colors[n],
            capsize=2,
            elinewidth=0.9,
            label=size_label(result, n),
        )
        drawn[0].set_gid(marks.cells((cell.n, cell.k) for cell in row))
    width_axis(axes, widths(result.table), axes.get_xlabel())


def predicted(result: StudyResult, fit: LawFit, n: int) -> dict[int, float]:
    """Return the values of a law with a known formula at one n, by every k of the study for which it has one."""
    law = _law(fit)
    assert law is not None  # ``drawable`` leaves others out
    tails, random = by_width(result.table, "tail"), level(result.table, "regret_random")
    grid = [k for k in widths(result.table) if "tail" not in law.columns or k in tails]
    columns = {
        "k": np.array(grid, float),
        "n": np.full(len(grid), float(n)),
        "tail": np.array([tails.get(k, np.nan) for k in grid]),
        "regret_random": np.full(len(grid), np.nan if random is None else random),
    }
    more = [name for name in law.columns if name not in columns]
    columns |= {name: np.array([_mean_at(result, n, k, name) for k in grid]) for name in more}
    theta = np.array([parameter.value for parameter in fit.parameters])
    return dict(zip(grid, map(float, law.predict(theta, columns)), strict=True))


def _mean_at(result: StudyResult, n: int, k: int, column: str) -> float:
    """Return means over the runs of a cell, of dials other than n and k and of what a configuration determines."""
    data = result.table
    mean = mean_of(np.asarray(data[column][(data["n"] == n) & (data["k"] == k)], dtype=float))
    return math.nan if mean is None else mean.value


def _law(fit: LawFit) -> Law | None:
    """Return the law whose parameters are those of the fit, fixed exponents included."""
    law = _parsed(fit.law, fit.formula)
    return law if law is not None and law.names == tuple(parameter.name for parameter in fit.parameters) else None


@lru_cache(maxsize=64)
def _parsed(name: str, formula: str) -> Law | None:
    try:
        return Law(name, formula)
    except ValueError:
        return None


def drawable(result: StudyResult) -> list[LawFit]:
    """Return the fits that converged and whose formula is known."""
    return [fit for fit in result.fits if fit.status == "converged" and _law(fit) is not None]

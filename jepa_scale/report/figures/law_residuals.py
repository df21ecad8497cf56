"""Figure of the residuals of each fitted law, cell by cell, in standard errors over seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.records import LawFit, StudyResult
from jepa_scale.report.figures.laws import drawable, predicted
from jepa_scale.report.figures.shared import law_panels, name_rows, size_label
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import MARKERS, MUTED, outside, sequential, styled, width_axis
from jepa_scale.report.summary import Cell, cells, sizes, widths
from jepa_scale.report.wording import law_name, listed, number, place

NAME = "law_residuals"
TITLE = "Residuals of the fitted laws"
SECTION, PLACE = "laws", 2

_BAND = 2.0
"""Number of standard errors within which about 95 % of the cells of a true law lie."""
_TICKS = [-_BAND, 0.0, _BAND, *(sign * 10.0**power for power in range(1, 7) for sign in (-1, 1))]


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if not drawable(result):
        return "No law converged, so it has no residuals."
    return "" if _drawn(result) else "No law came with the scatter of seeds that its residuals are measured by."


def caption(result: StudyResult) -> str:
    """Say what is shown, how many cells lie outside the band and which is the worst."""
    parts = []
    for fit in _drawn(result):
        places = _fitted(result, fit)
        inside = {cell: z for cell, z in _residuals(result, fit).items() if (cell.n, cell.k) in places}
        worst = max(inside, key=lambda cell: abs(inside[cell]), default=None)
        if worst is None:
            continue
        beyond = sum(abs(z) > _BAND for z in inside.values())
        parts.append(
            f"{law_name(fit.law)} on {fit.target} misses {beyond} of {len(inside)} fitted cells by more than that, "
            f"most at {place(worst)} ({number(inside[worst], 2)})"
        )
    apart = [f"{law_name(fit.law)} on {fit.target}" for fit in drawable(result) if fit not in _drawn(result)]
    return (
        "Cell mean minus the law, over the standard error of the mean that the fit gives it, √(s₀² + (cR)²)/√m for m "
        f"seeds. Grey: within {_BAND:g}. {'; '.join(parts)}. A trend along k or n is a law that bends the wrong way."
        + (" Open markers were held out from the fits." if result.held_out_n is not None else "")
        + (f" Left out, without a known scatter of seeds: {listed(apart)}." if apart else " No law was left out.")
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one panel for each law and target."""
    drawn = _drawn(result)
    figure, panels = law_panels(drawn)
    for fit in drawn:
        axes = panels[fit.target, fit.law]
        _panel(axes, result, fit)
        axes.set_title(outside(law_name(fit.law)), fontsize=8.5)
        if axes.get_ylabel():
            axes.set_ylabel(f"residual of {fit.target} / SE")
    name_rows(figure, panels)
    return figure


def _panel(axes: Any, result: StudyResult, fit: LawFit) -> None:
    colors = sequential(sizes(result.table))
    markers = dict(zip(colors, MARKERS * len(colors), strict=False))
    residuals = _residuals(result, fit)
    axes.axhspan(-_BAND, _BAND, color="#f1f3f5", zorder=0)
    axes.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
    for n, color in colors.items():
        row = [cell for cell in residuals if cell.n == n]
        axes.plot(
            [cell.k for cell in row],
            [residuals[cell] for cell in row],
            markers[n],
            color=color,
            markerfacecolor="white" if result.held_out(n) else color,
            label=size_label(result, n),
            gid=marks.cells((cell.n, cell.k) for cell in row),
        )
    # Linear near 0, where it is decided whether the law holds; a law that fails lies far out.
    axes.set_yscale("symlog", linthresh=4, linscale=1.5)
    axes.yaxis.set_major_locator(FixedLocator(_TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    width_axis(axes, widths(result.table), axes.get_xlabel())


def _fitted(result: StudyResult, fit: LawFit) -> set[tuple[int, int]]:
    """Return the (n, k) that a law was fitted to: not those held out, nor saturated ones unless it has a ceiling."""
    table = result.table.where(np.array([not result.held_out(int(n)) for n in result.table["n"]], dtype=bool))
    kept = [cells_from_table(table, fit.target, *limit) for limit in ((), (math.inf,))]
    chosen = next((some for some in kept if len(some) == fit.cells), kept[-1])
    return {(int(n), int(k)) for n, k in zip(chosen.n, chosen.k, strict=True)}


def _residuals(result: StudyResult, fit: LawFit) -> dict[Cell, float]:
    """Return (mean − law)/SE of every cell for which the law has a value."""
    residuals, laws = {}, {n: predicted(result, fit, n) for n in sizes(result.table)}
    constant, share = fit.noise
    for cell in cells(result.table, fit.target).values():
        prediction = laws[cell.n].get(cell.k, math.nan)
        error = math.hypot(constant, share * prediction) / math.sqrt(cell.seeds)
        if math.isfinite(prediction) and error > 0:
            residuals[cell] = (cell.mean - prediction) / error
    return residuals


def _drawn(result: StudyResult) -> list[LawFit]:
    return [fit for fit in drawable(result) if all(map(math.isfinite, fit.noise)) and _residuals(result, fit)]

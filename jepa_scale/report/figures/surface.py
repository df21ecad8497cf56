"""Figure of the regret over n and k as the forecaster sees it, with the runs and the best width."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.records import StudyResult, Surface
from jepa_scale.report.figures.shared import left_out_cells
from jepa_scale.report.page.style import INK, MISS, MUTED, styled
from jepa_scale.report.summary import cells, optima, subject
from jepa_scale.report.wording import number, percent

NAME = "surface"
TITLE = "Where the target is met"
SECTION, PLACE = "advice", 1


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if result.advice is not None and subject(result) != "regret":
        return "Drawn of regrets only."
    if result.advice is None or not cells(result.table, "regret"):
        return f"No advice was given: {result.no_advice or 'no run finished with a regret'}."
    shown = result.advice.surface
    enough = min(shown.regret.shape) > 1 and np.isfinite(shown.regret).sum() > 3
    return "" if enough else "Too few widths or sizes."


def caption(result: StudyResult) -> str:
    """Say what is shown."""
    assert result.advice is not None  # asked before
    share = percent(result.advice.ask.level)
    return (
        "Left: expected regret as the forecaster sees it; dots: cells that were run; bold: the "
        f"target {number(result.target_regret)}; dashed: k*(n) among the widths that were run. It reaches as far as "
        "forecasts were checked; beyond the dotted lines lies no run. Right: k*(n) with the "
        f"{share} range of the draws, and the best width of the runs at each n (rings: inside the grid; "
        f"means over seeds). {left_out_cells(result, 'regret')}"
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw the map on the left, k*(n) on the right."""
    assert result.advice is not None  # asked before
    shown = result.advice.surface
    figure = Figure(figsize=(9.6, 3.9))
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    _map(figure, left, result, shown)
    _best(right, result, shown)
    return figure


def _map(figure: Figure, axes: Any, result: StudyResult, shown: Surface) -> None:
    regrets = cells(result.table, "regret")
    top = float(np.nanmax(shown.regret))
    drawn = axes.contourf(shown.n, shown.k, shown.regret.T, levels=np.linspace(0, max(top, 1e-9), 13), cmap="Blues")
    figure.colorbar(drawn, ax=axes, label="expected regret", format=lambda value, _: number(value, 2))
    levels = [result.target_regret] if np.nanmin(shown.regret) < result.target_regret < top else []
    if levels:
        axes.contour(shown.n, shown.k, shown.regret.T, levels=levels, colors=[MISS], linewidths=2)
    axes.plot(
        [cell.n for cell in regrets.values()], [cell.k for cell in regrets.values()], "o", color=INK, markersize=3
    )
    axes.plot(shown.n, shown.best_k[0], "--", color=INK, linewidth=1)
    largest_n, largest_k = max(cell.n for cell in regrets.values()), max(cell.k for cell in regrets.values())
    axes.axvline(largest_n, color=MUTED, linestyle=":", linewidth=1)
    axes.axhline(largest_k, color=MUTED, linestyle=":", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.set_xlabel("training transitions n")
    axes.set_ylabel("latent width k")
    axes.grid(False)


def _best(axes: Any, result: StudyResult, shown: Surface) -> None:
    axes.fill_between(shown.n, shown.best_k[1], shown.best_k[2], color="#b6d3ea", alpha=0.7, linewidth=0)
    axes.plot(shown.n, shown.best_k[0], color="#2f7ab8", label="forecast")
    turns = optima(result.table, "regret")
    inside = [turn.best for turn in turns.values() if turn.place == "interior"]
    others = [turn.best for turn in turns.values() if turn.place != "interior"]
    axes.plot(
        [c.n for c in others], [c.k for c in others], "x", color=MUTED, label="best of the grid, at its end or shared"
    )
    axes.plot(
        [c.n for c in inside],
        [c.k for c in inside],
        "o",
        color=INK,
        markerfacecolor="none",
        markersize=8,
        label="best of the grid, inside",
    )
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.set_xlabel("training transitions n")
    axes.set_ylabel("best width k*(n)")
    # Below: the band may fill the panel.
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), fontsize=7.5)

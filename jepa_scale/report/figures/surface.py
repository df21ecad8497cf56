"""Figure of the regret over n and k as the forecaster sees it, with the runs and the best width."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from jepa_scale.records import StudyResult, Surface
from jepa_scale.report.figures.shared import left_out_cells
from jepa_scale.report.page.style import INK, MISS, MUTED, styled
from jepa_scale.report.summary import cells, optima, subject
from jepa_scale.report.wording import number, percent, whole

NAME = "surface"
TITLE = "Where the target is met"
SECTION, PLACE = "advice", 1

_NOTHING = 0.1
"""Share of the target below which a forecast regret leaves nothing to choose between widths."""


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
    beyond = (
        " Hatched: no run lies there, and the forecast reaches as far as forecasts were checked."
        if _beyond(result, result.advice.surface)
        else ""
    )
    return (
        "Left: expected regret as the forecaster sees it, dots where runs lie. Dashed, and on the right: k*(n), the "
        f"width of the least forecast, with the {share} range of its draws; not drawn where the least forecast is "
        "below a tenth of the target, as widths no longer differ there. Right: the best width of the runs at each "
        f"n, by means over seeds; rings inside the grid, crosses at its end or shared.{beyond} "
        f"{left_out_cells(result, 'regret')}"
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw the map on the left, k*(n) on the right."""
    assert result.advice is not None  # asked before
    shown = result.advice.surface
    figure = Figure(figsize=(8.6, 3.5))
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1), sharex=True, sharey=True)
    _map(figure, left, result, shown)
    _best(right, result, shown)
    for axes in (left, right):
        _hatch(axes, result, shown)
        axes.set_xlabel("training transitions n")
    left.set_xscale("log")
    left.set_yscale("log", base=2)
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: whole(value)))
    left.xaxis.set_minor_locator(NullLocator())
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    left.set_ylabel("latent width k")
    right.tick_params(labelleft=True)
    return figure


def _beyond(result: StudyResult, shown: Surface) -> bool:
    n, k = _largest(result)
    return bool(shown.n[-1] > n or shown.k[-1] > k)


def _largest(result: StudyResult) -> tuple[int, int]:
    regrets = cells(result.table, "regret").values()
    return max(cell.n for cell in regrets), max(cell.k for cell in regrets)


def _hatch(axes: Any, result: StudyResult, shown: Surface) -> None:
    """Hatch what lies beyond the runs."""
    style = {"facecolor": "none", "edgecolor": MUTED, "hatch": "///", "linewidth": 0, "alpha": 0.45, "zorder": 2.5}
    n, k = _largest(result)
    if shown.n[-1] > n:
        axes.axvspan(n, shown.n[-1], **style)
    if shown.k[-1] > k:
        axes.axhspan(k, shown.k[-1], **style)


def _map(figure: Figure, axes: Any, result: StudyResult, shown: Surface) -> None:
    regrets = cells(result.table, "regret")
    top = float(np.nanmax(shown.regret))
    drawn = axes.contourf(shown.n, shown.k, shown.regret.T, levels=np.linspace(0, max(top, 1e-9), 13), cmap="Blues")
    bar = figure.colorbar(drawn, ax=axes, format=lambda value, _: number(value, 2))
    bar.ax.set_title("regret", fontsize=8)
    if np.nanmin(shown.regret) < result.target_regret < top:
        lines = axes.contour(
            shown.n, shown.k, shown.regret.T, levels=[result.target_regret], colors=[MISS], linewidths=2, zorder=3
        )
        n, k = max((tuple(vertex) for path in lines.get_paths() for vertex in path.vertices), default=(0.0, 0.0))
        axes.annotate(
            f"target {number(result.target_regret)}", (n, k), xytext=(-4, 4), textcoords="offset points", ha="right",
            fontsize="small", color=INK, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )  # fmt: skip
    axes.plot(
        [cell.n for cell in regrets.values()], [cell.k for cell in regrets.values()], "o", color=INK, markersize=3,
        clip_on=False, zorder=4,
    )  # fmt: skip
    axes.plot(shown.n, _best_width(result, shown), "--", color=INK, linewidth=1, drawstyle="steps-mid", zorder=3)
    axes.grid(False)


def _best_width(result: StudyResult, shown: Surface) -> np.ndarray:
    """Return k*(n), NaN where the least forecast is so low that the widths no longer differ."""
    differ = np.nanmin(shown.regret, axis=1) >= _NOTHING * result.target_regret
    return np.where(differ, shown.best_k[0], np.nan)


def _best(axes: Any, result: StudyResult, shown: Surface) -> None:
    best = _best_width(result, shown)
    low, high = np.where(np.isfinite(best), shown.best_k[1:], np.nan)
    axes.fill_between(shown.n, low, high, color="#b6d3ea", alpha=0.7, linewidth=0, step="mid")
    axes.plot(shown.n, best, color="#2f7ab8", drawstyle="steps-mid")
    turns = optima(result.table, "regret")
    inside = [turn.best for turn in turns.values() if turn.place == "interior"]
    others = [turn.best for turn in turns.values() if turn.place != "interior"]
    axes.plot([c.n for c in others], [c.k for c in others], "x", color=MUTED, zorder=3)
    axes.plot(
        [c.n for c in inside], [c.k for c in inside], "o", color=INK, markerfacecolor="none", markersize=8, zorder=3
    )
    axes.set_title("best width k*(n)", fontsize=9)

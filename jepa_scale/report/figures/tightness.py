"""Figure of bounds and regret as N, k and T grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jepa_scale.report.page.style import EXACT, MARKERS, MUTED, log_height, styled
from jepa_scale.theory.tightness import TightnessPoint
from jepa_scale.worlds.survey import Survey

NAME = "tightness"
TITLE = "How far the bounds lie above the regret"

FLOOR = 1e-5
"""Smallest number drawn; smaller ones are drawn here, as an exact model's regret is a rounding error."""

_COLORS = {
    "t4": "#b45309",
    "b1_prime": "#0f766e",
    "b1_double_prime": "#2563eb",
    "b1": "#7c3aed",
    "b5": "#be185d",
    "b3": "#b45309",
}
_NAMES = {"t4": "T4", "b1_prime": "B1′", "b1_double_prime": "B1″", "b1": "B1", "b5": "B5", "b3": "B3"}


def caption(survey: Survey) -> str:
    """Say what is shown."""
    return (
        "Best shared encoder of width k, exact numbers, so no error bars. Left: L×L tori with slip 0.2 and blur 0.5 at "
        "k = N/4; T4 grows like √N, B1′ does not. Middle: the 8×8 torus with blur 1 by width. Right: the 4×4 torus, "
        "blur 0.5, k = 8, by horizon with the operator roll-out; B3 grows linearly. Reachable goals. In the shaded "
        f"region a bound says nothing. Values below {FLOOR:g} are drawn there."
    )


@styled
def draw(survey: Survey) -> Figure:
    """Draw one panel for each quantity that grows."""
    figure = Figure(figsize=(10.2, 3.7))
    panels = figure.subplots(1, 3, sharey=True)
    _panel(panels[0], [point.states for point in survey.by_states], survey.by_states, "observations N (k = N/4)")
    _panel(panels[1], [point.k for point in survey.by_width], survey.by_width, "latent width k (N = 64)")
    _panel(panels[2], [point.horizon for point in survey.by_horizon], survey.by_horizon, "horizon T (N = 16, k = 8)")
    panels[0].set_ylabel("expected regret, and bounds on it")
    return figure


def _panel(axes: Any, places: list[int], points: Sequence[TightnessPoint], title: str) -> None:
    axes.axhspan(1.0, 40.0, color="#f1f3f5", zorder=0)
    for marker, bound in zip(MARKERS, points[0].bounds, strict=False):
        heights = [max(next(b.value for b in point.bounds if b.name == bound.name), FLOOR) for point in points]
        axes.plot(places, heights, marker=marker, color=_COLORS[bound.name], label=_NAMES[bound.name])
    axes.plot(places, [max(point.regret, FLOOR) for point in points], "--", color=EXACT, label="regret")
    if max(places) > 10:
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel(title)
    log_height(axes)
    axes.set_ylim(FLOOR / 1.6, 40.0)
    axes.text(0.02, 0.985, "vacuous", transform=axes.transAxes, va="top", color=MUTED, fontsize=8)
    axes.legend(loc="center left" if len(points[0].bounds) == 2 else "lower left")

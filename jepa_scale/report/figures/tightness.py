"""Figure of bounds and regret as N, k and T grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from jepa_scale.report.figures.shared import label_lines
from jepa_scale.report.page.style import EXACT, MARKERS, MUTED, styled
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
_VACUOUS, _TOP = 1.0, 40.0
"""Bound that a regret never exceeds, and the upper end of the axes."""


def caption(survey: Survey) -> str:
    """Say what is shown."""
    return (
        "Lines with markers: bounds; dashed: the regret of the best shared encoder of width k. Exact numbers, so no "
        "error bars. Left: L×L tori with slip 0.2 and blur 0.5 at k = N/4; T4 grows like √N, B1′ does not. Middle: the "
        "8×8 torus with blur 1, by width. Right: the 4×4 torus with blur 0.5 at k = 8, by horizon with the operator "
        "roll-out; B3 grows linearly. Reachable goals. A bound in the shaded region is vacuous: a regret never exceeds "
        f"1. What is at most {FLOOR:.5f} is drawn at the lowest tick."
    )


@styled
def draw(survey: Survey) -> Figure:
    """Draw one panel for each quantity that grows."""
    # No wider than the page, which would cut the last panel off.
    figure = Figure(figsize=(9.0, 3.9))
    by_states, by_width, by_horizon = figure.subplots(1, 3, sharey=True)
    _panel(by_states, [point.states for point in survey.by_states], survey.by_states, "observations N (k = N/4)")
    _panel(
        by_width, [point.k for point in survey.by_width], survey.by_width,
        f"latent width k (N = {survey.by_width[0].states})", left=True,
    )  # fmt: skip
    first = survey.by_horizon[0]
    _panel(
        by_horizon, [point.horizon for point in survey.by_horizon], survey.by_horizon,
        f"steps T (N = {first.states}, k = {first.k})",
    )  # fmt: skip
    by_states.set_ylabel("expected regret, and bounds on it")
    return figure


def _panel(axes: Any, places: list[int], points: Sequence[TightnessPoint], title: str, *, left: bool = False) -> None:
    """Draw the lines of a panel, named at their ends; at their beginnings where they end in one point."""
    axes.axhspan(_VACUOUS, _TOP, color="#f1f3f5", zorder=0)
    lines: list[tuple[list[float], str, str, str]] = []
    for marker, bound in zip(MARKERS, points[0].bounds, strict=False):
        heights = [max(next(b.value for b in point.bounds if b.name == bound.name), FLOOR) for point in points]
        axes.plot(places, heights, marker=marker, color=_COLORS[bound.name], label=_NAMES[bound.name])
        lines.append((heights, _NAMES[bound.name], _COLORS[bound.name], marker))
    regrets = [max(point.regret, FLOOR) for point in points]
    axes.plot(places, regrets, "--", color=EXACT, label="regret")
    lines.append((regrets, "regret", EXACT, "_"))
    if max(places) > 10:
        axes.set_xscale("log", base=2)
    # The largest and, from the left, those that are not too close to the one before: their numbers would touch.
    axes.xaxis.set_major_locator(FixedLocator(_apart(places)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel(title)
    axes.set_yscale("log")
    axes.set_ylim(FLOOR / 1.6, _TOP)
    axes.yaxis.set_major_locator(LogLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_height))
    # Over the lower ends of the lines.
    place, flush = (0.98, "right") if left else (0.02, "left")
    axes.text(place, 0.985, "vacuous", transform=axes.transAxes, va="top", ha=flush, color=MUTED, fontsize=8)
    end = 0 if left else -1
    label_lines(axes, [(heights[end], name, color, marker) for heights, name, color, marker in lines], left)


def _height(value: float, _: object) -> str:
    return f"≤ {FLOOR:.5f}" if value < 2 * FLOOR else f"{value:.4f}".rstrip("0").rstrip(".")


def _apart(places: Sequence[int]) -> list[int]:
    """Return the places whose numbers have room on a logarithmic axis, from the first to the last one."""
    room = places[-1] / places[0]
    kept = list(places[:1])
    for place in places[1:-1]:
        if (place / kept[-1]) ** 8 > room and (places[-1] / place) ** 8 > room:
            kept.append(place)
    return [*kept, *places[1:][-1:]]

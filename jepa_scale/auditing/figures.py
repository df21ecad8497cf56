"""Figures of an audit: energy, spectrum, differences between actions, the tail by width, the total by resolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jepa_scale.auditing.record import Audit, AuditQuantity, OperatorAudit
from jepa_scale.auditing.verdict import SHARE
from jepa_scale.report.figures.shared import label_levels, label_lines
from jepa_scale.report.page.plot import Plot
from jepa_scale.report.page.style import (
    EXACT,
    INK,
    MARKERS,
    MISS,
    MUTED,
    log_height,
    outside,
    sequential,
    styled,
    width_axis,
)
from jepa_scale.report.wording import between, number, percent, plural, whole

_DECADES = 1e-4
"""Least height of an axis as a share of its top."""
_LEAST = 1e-6
"""Least top of a logarithmic axis."""
_SHOWN = 6
"""Largest number of operators in one panel; the rest is in the tables."""


def _shown(audit: Audit) -> list[OperatorAudit]:
    """Return the operators to show, evenly spread over their totals, extremes included."""
    usable = sorted(
        (operator for operator in audit.operators if operator.singular_values),
        key=lambda operator: operator.total.value or 0.0,
    )
    if len(usable) <= _SHOWN:
        return usable
    return [usable[round(place)] for place in np.linspace(0, len(usable) - 1, _SHOWN)]


def _band(audit: Audit) -> str:
    return f"{percent(audit.level)} intervals by leaving groups of trajectories out"


def _no_spectrum(audit: Audit) -> str:
    return "" if _shown(audit) else "Too few transitions for any operator."


def _spectrum_caption(audit: Audit) -> str:
    left_out = sum(bool(operator.singular_values) for operator in audit.operators) - len(_shown(audit))
    rest = f" Left out: {plural(left_out, 'operator')} between these." if left_out else ""
    return (
        "Canonical correlations sᵢ of the embeddings at t and t + 1, the constant's s₁ = 1 included: lower bounds on "
        f"the singular values of the dynamics. Bars: {_band(audit)}. Dashed: the noise edge, what independent "
        "embeddings of this size would show; values below it say only that the truth is below the detection limit. "
        f"n = {', '.join(whole(operator.n) for operator in _shown(audit))}." + rest
    )


_ACROSS = 3
"""Panels in a row."""
_LINEAR = 40
"""Largest number of indices on a linear axis; more would squeeze the first ones, which matter, together."""


@styled
def _draw_spectrum(audit: Audit) -> Figure:
    """Draw one panel for each operator: points, as between two indices there is nothing."""
    shown = _shown(audit)
    across = min(_ACROSS, len(shown))
    down = math.ceil(len(shown) / across)
    figure = Figure(figsize=(9.0 if across > 1 else 7.6, 0.5 + (2.9 if across > 1 else 3.3) * down))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for empty in panels[len(shown) :]:
        empty.set_axis_off()
    last = max(len(operator.singular_values) for operator in shown)
    lows = [value.low for operator in shown for value in operator.singular_values if value.low is not None]
    for place, (axes, operator) in enumerate(zip(panels, shown, strict=False)):
        index = np.arange(1, len(operator.singular_values) + 1)
        values = np.array([v.value if v.value is not None else np.nan for v in operator.singular_values])
        _bars(axes, index, operator.singular_values, EXACT)
        axes.plot(index, values, "o", markersize=3.5, color=EXACT)
        axes.set_title(outside(operator.name))
        if last > _LINEAR:
            width_axis(axes, _ticks(last), "")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        # A panel over an empty place carries the label of its column.
        if place + across >= len(shown):
            axes.set_xlabel("index i")
            axes.tick_params(labelbottom=True)
        if place % across == 0:
            axes.set_ylabel("canonical correlation $s_i$")
    panels[0].set_ylim(min([0.0, *lows]) - 0.03, 1.05)
    for axes, operator in zip(panels, shown, strict=False):
        if operator.edge is not None:
            axes.axhline(operator.edge, color=MUTED, linestyle="--", linewidth=1.1)
            label_levels(axes, [(operator.edge, "noise edge", MUTED)])
    return figure


def _no_energy(audit: Audit) -> str:
    if audit.verdict.curve is None or not (audit.verdict.energy.low or 0) > 0:
        return "There is no predictable energy that is told from 0."
    return ""


def _energy_caption(audit: Audit) -> str:
    verdict = audit.verdict
    needed = (
        f"The width needed is {between(verdict.low, verdict.high)}, the latent's is {verdict.width}."
        if verdict.low is not None
        else f"No width needed can be told; the latent's is {verdict.width}."
    )
    told = f"{plural(verdict.told, 'direction')} of {verdict.directions} {'is' if verdict.told == 1 else 'are'}"
    return (
        "Share of the predictable energy E of (z, a) → z⁺ that the best k directions of the latent hold. Bars: "
        f"{percent(audit.level)} intervals, which span a closed form and the plug-in sum. {needed} {told} told from "
        "noise."
    )


@styled
def _draw_energy(audit: Audit) -> Figure:
    """Draw the share by the number of directions, and the width needed beside the latent's."""
    verdict = audit.verdict
    curve = verdict.curve
    assert curve is not None
    figure = Figure(figsize=(7.6, 3.3))
    axes = figure.subplots()
    k, share, low, high = (np.array(part) for part in (curve.widths, curve.share, curve.low, curve.high))
    last = int(max(k[-1], verdict.width))
    axes.axhline(SHARE, color=MUTED, linewidth=1.1, linestyle="--")
    _ends(axes, k, low, high, EXACT)
    axes.plot(k, share, "o", color=EXACT, markersize=4)
    axes.set_ylim(0.0, 1.08)
    axes.set_xlim(*((0.8, last * 1.25) if last > _LINEAR else (0.4, last + 0.6)))
    if last > _LINEAR:
        width_axis(axes, _ticks(last), "directions k")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        axes.set_xlabel("directions k")
    axes.set_ylabel("share of the predictable energy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.annotate(
        percent(SHARE), (0.006, SHARE), xycoords=("axes fraction", "data"), xytext=(0, -2), textcoords="offset points",
        va="top", fontsize="small", color=INK,
    )  # fmt: skip
    if verdict.low is not None:
        end = last if verdict.high is None else verdict.high
        axes.axvspan(verdict.low - 0.15, end + 0.15, color=MUTED, alpha=0.22, linewidth=0, zorder=0)
        _upright(axes, end + 0.15, f"width needed: {between(verdict.low, verdict.high)}", end > last / 2)
    if verdict.low is None or verdict.width > verdict.low:
        axes.axvline(verdict.width, color=MUTED, linewidth=1.1, linestyle=":")
        _upright(axes, verdict.width, f"width: {verdict.width}", True, height=0.14)
    return figure


def _upright(axes: Any, place: float, label: str, before: bool, height: float = 0.04) -> None:
    """Write a label at the foot of an upright line, before or after it."""
    axes.annotate(
        label, (place, height), xycoords=("data", "axes fraction"), xytext=(-5 if before else 5, 0),
        textcoords="offset points", ha="right" if before else "left", fontsize="small", color=INK,
    )  # fmt: skip


def _ticks(last: int) -> list[int]:
    """Return the powers of two up to the last index."""
    return [2**power for power in range(last.bit_length())]


def _bars(axes: Any, places: Any, quantities: Any, color: Any) -> None:
    low = np.array([np.nan if q.low is None else q.low for q in quantities])
    high = np.array([np.nan if q.high is None else q.high for q in quantities])
    _ends(axes, places, low, high, color)


def _ends(axes: Any, places: Any, low: Any, high: Any, color: Any) -> None:
    # Above lines and markers, with ends: bars no longer than a marker would be hidden by it.
    axes.vlines(places, low, high, color=color, linewidth=1.3, zorder=4)
    axes.plot(places, low, "_", places, high, "_", color=color, markersize=7, markeredgewidth=1.3, zorder=4)


def _few_operators(audit: Audit) -> str:
    usable = sum(operator.total.value is not None for operator in audit.operators)
    return "" if usable > 1 else "There is only one operator with enough transitions."


def _actions_caption(audit: Audit) -> str:
    missing = sum(operator.total.value is None for operator in audit.operators)
    rest = f" Left out: {plural(missing, 'operator')} with too few transitions." if missing else ""
    return (
        "T = Σ sᵢ² of each action or cell: how much of the next embedding it determines. Bars: "
        f"{_band(audit)}. Line: their mean by share of transitions." + rest
    )


@styled
def _draw_actions(audit: Audit) -> Figure:
    usable = [operator for operator in audit.operators if operator.total.value is not None]
    figure = Figure(figsize=(7.6, min(0.9 + 0.26 * len(usable), 9.0)))
    axes = figure.subplots()
    places = np.arange(len(usable))[::-1]
    for place, operator in zip(places, usable, strict=True):
        if operator.total.low is not None and operator.total.high is not None:
            axes.hlines(place, operator.total.low, operator.total.high, color=EXACT, linewidth=1.2)
        axes.plot([operator.total.value or 0.0], [place], "o", color=EXACT, markersize=4)
    if audit.total.value is not None:
        axes.axvline(audit.total.value, color=MUTED, linewidth=1)
        axes.annotate(
            f"mean {number(audit.total.value)}", (audit.total.value, 1), xycoords=("data", "axes fraction"),
            xytext=(0, 2), textcoords="offset points", ha="center", fontsize="small", color=INK,
        )  # fmt: skip
    step = max(1, len(usable) // 24)
    axes.set_yticks(places[::step], [outside(operator.name) for operator in usable][::step])
    axes.set_ylim(-0.7, len(usable) - 0.3)
    axes.set_xlabel("total T = Σ $s_i^2$")
    return figure


def _no_sizing(audit: Audit) -> str:
    return audit.no_sizing


def _sizing_caption(audit: Audit) -> str:
    sizing, dictionary = audit.sizing, audit.dictionary
    assert sizing is not None
    features = "" if dictionary is None else f" ({whole(dictionary.width)} features, {whole(dictionary.rows)} rows)"
    foot = " A tail below the axis is drawn at its foot." if min(sizing.tail) < _sizing_floor(audit) else ""
    return (
        f"What a latent of width k leaves out: the tail within the reference dictionary{features}, a lower bound, with "
        f"a band of one standard error; and the sample term for n = {whole(sizing.n)} training transitions, "
        f"{sizing.source}, with a band of its range. Dashed: the sum at both ends of that range. Shaded: widths "
        "between the least of both sums, and those that the tail's error does not tell from it, "
        f"k = {between(sizing.low, sizing.high)}.{foot}"
    )


def _sizing_floor(audit: Audit) -> float:
    """Return the least height of the axis of risk."""
    assert audit.sizing is not None
    return _DECADES * max(_LEAST, max(map(sum, zip(audit.sizing.tail, audit.sizing.sample_high, strict=True))))


@styled
def _draw_sizing(audit: Audit) -> Figure:
    sizing = audit.sizing
    assert sizing is not None
    figure = Figure(figsize=(7.6, 3.9))
    axes = figure.subplots()
    k, tail = np.array(sizing.widths), np.array(sizing.tail)
    error = np.array([np.nan if value is None else value for value in sizing.tail_error])
    low, high = np.array(sizing.sample_low), np.array(sizing.sample_high)
    axes.axvspan(sizing.low, sizing.high, color=MUTED, alpha=0.15, linewidth=0)
    floor = _sizing_floor(audit)
    top = floor / _DECADES
    axes.fill_between(
        k, np.maximum(tail - error, floor), np.maximum(tail + error, floor), color=EXACT, alpha=0.2, linewidth=0
    )
    axes.plot(k, np.maximum(tail, floor), color=EXACT)
    axes.fill_between(k, low, high, color=MISS, alpha=0.2, linewidth=0)
    axes.plot(k, np.sqrt(low * high), color=MISS)
    for sample in (low, high):
        axes.plot(k, tail + sample, color=MUTED, linestyle="--", linewidth=1)
    width_axis(axes, _ticks(int(k[-1])), "latent width k")
    log_height(axes)
    axes.set_ylim(floor, top * 1.5)
    axes.set_ylabel("risk")
    axes.annotate(
        f"k = {between(sizing.low, sizing.high)}", (math.sqrt(sizing.low * sizing.high), 1), va="bottom", ha="center",
        xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points", fontsize="small", color=INK,
    )  # fmt: skip
    label_lines(
        axes,
        [
            (max(float(tail[-1]), floor), "tail", EXACT, "_"),
            (float(np.sqrt(low[-1] * high[-1])), "sample term", MISS, "_"),
            (float(tail[-1] + high[-1]), "their sum, highest", MUTED, "_"),
            (float(tail[-1] + low[-1]), "their sum, lowest", MUTED, "_"),
        ],
    )
    return figure


def _no_resolution(audit: Audit) -> str:
    return "" if len(audit.resolution) > 1 else "No resolution had enough rows for its dictionary."


def _resolution_caption(audit: Audit) -> str:
    lows = [q.low for item in audit.resolution for q in (item.total, *item.tail.values())]
    below = (
        "; one that ends at the foot goes on to 0 or below" if any(low is not None and low <= 0 for low in lows) else ""
    )
    rows = ", ".join(
        f"ε = {number(resolution.noise)}: {whole(resolution.rows)} rows" for resolution in audit.resolution
    )
    return (
        "T and tails within the dictionary when every coordinate of both embeddings is blurred by N(0, ε²), ε in "
        "deviations of that coordinate. Where T keeps growing as ε falls, the dynamics are noiseless at these scales "
        f"and T without ε has no meaning. Bars: {_band(audit)}{below}. {rows}."
    )


@styled
def _draw_resolution(audit: Audit) -> Figure:
    figure = Figure(figsize=(7.6, 3.6))
    axes = figure.subplots()
    eps = np.array([resolution.noise for resolution in audit.resolution])
    widths = sorted(audit.resolution[0].tail)
    chosen = [widths[round(place)] for place in np.linspace(0, len(widths) - 1, min(3, len(widths)))]
    lines: list[tuple[str, list[AuditQuantity]]] = [("T(ε)", [resolution.total for resolution in audit.resolution])]
    lines += [
        (f"tail beyond k = {k}", [resolution.tail[k] for resolution in audit.resolution]) for k in dict.fromkeys(chosen)
    ]
    colors = sequential(list(range(len(lines))))
    # Down to the ends of the bars: one that is cut looks shorter than it is.
    every = [end for _, quantities in lines for q in quantities for end in (q.value, q.low, q.high) if end is not None]
    top = max(*every, _LEAST)
    bottom = max(min((end for end in every if end > 0), default=_LEAST) / 2, top * _DECADES)
    ends = []
    for place, (marker, (label, quantities)) in enumerate(zip(MARKERS, lines, strict=False)):
        values = np.array([np.nan if q.value is None else max(q.value, bottom) for q in quantities])
        beside = eps * 1.02 ** (place - (len(lines) - 1) / 2)
        _bars(axes, beside, quantities, colors[place])
        axes.plot(beside, values, marker=marker, markersize=3, linewidth=0.9, color=colors[place])
        ends += [(float(value), label, colors[place], marker) for value in values[np.isfinite(values)][-1:]]
    axes.set_xscale("log")
    log_height(axes)
    axes.set_ylim(bottom, 1.2 * top)
    axes.yaxis.set_minor_formatter(lambda value, _: number(value) if f"{value:e}"[0] in "25" else "")
    axes.set_xticks(eps, [number(value) for value in eps])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("resolution ε, in standard deviations")
    axes.set_ylabel("sum of squared correlations")
    label_lines(axes, ends)
    return figure


PLOTS: tuple[Plot[Audit], ...] = (
    Plot("energy", "How many directions are needed", _draw_energy, _energy_caption, _no_energy),
    Plot("spectrum", "What the embeddings see", _draw_spectrum, _spectrum_caption, _no_spectrum),
    Plot("actions", "How actions differ", _draw_actions, _actions_caption, _few_operators),
    Plot("sizing", "Which width", _draw_sizing, _sizing_caption, _no_sizing),
    Plot("resolution", "Total and tail by resolution", _draw_resolution, _resolution_caption, _no_resolution),
)

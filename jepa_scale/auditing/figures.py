"""Figures of an audit: the spectrum, differences between actions, the tail by width, the total by resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.auditing.record import Audit, AuditQuantity, OperatorAudit
from jepa_scale.report.page.plot import Plot
from jepa_scale.report.page.style import EXACT, MARKERS, MISS, MUTED, log_height, sequential, styled, width_axis
from jepa_scale.report.wording import number, percent, plural, whole

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
        "Canonical correlations s_i of the embeddings at t and t + 1, the constant's s_1 = 1 included: lower bounds on "
        f"the singular values of the dynamics. Bars: {_band(audit)}. Dashed: the noise edge, what independent "
        "embeddings of this size would show; values below it say only that the truth is below the detection limit. "
        f"n = {', '.join(whole(operator.n) for operator in _shown(audit))}." + rest
    )


@styled
def _draw_spectrum(audit: Audit) -> Figure:
    shown = _shown(audit)
    figure = Figure(figsize=(7.6, 3.9))
    axes = figure.subplots()
    colors = sequential(list(range(len(shown))))
    for place, (marker, operator) in enumerate(zip(MARKERS, shown, strict=False)):
        # Side by side, or the bars of several would be one.
        index = np.arange(1, len(operator.singular_values) + 1) * 1.012 ** (place - (len(shown) - 1) / 2)
        values = np.array([v.value if v.value is not None else np.nan for v in operator.singular_values])
        _bars(axes, index, operator.singular_values, colors[place])
        axes.plot(index, values, marker=marker, markersize=3, linewidth=0.9, color=colors[place], label=operator.name)
    width_axis(axes, _ticks(max(len(operator.singular_values) for operator in shown)), "index i")
    axes.set_ylim(-0.02, 1.05)
    axes.set_ylabel("singular value s_i")
    _noise_edges(axes, [operator.edge for operator in shown if operator.edge is not None])
    axes.legend(loc="best")
    return figure


def _noise_edges(axes: Any, edges: list[float]) -> None:
    """Draw one line if the edges nearly agree, else a band from lowest to highest: many lines would hide each other."""
    if not edges:
        return
    low, high = min(edges), max(edges)
    if high - low < 0.01:
        axes.axhline((low + high) / 2, color=MUTED, linestyle="--", linewidth=1.1, label="noise edge")
        return
    axes.axhspan(low, high, color=MUTED, alpha=0.12, linewidth=0, label="noise edges, lowest to highest")
    for edge in (low, high):
        axes.axhline(edge, color=MUTED, linestyle="--", linewidth=0.9)


def _ticks(last: int) -> list[int]:
    """Return the powers of two up to the last index."""
    return [2**power for power in range(last.bit_length())]


def _bars(axes: Any, places: Any, quantities: Any, color: Any) -> None:
    low = np.array([np.nan if q.low is None else q.low for q in quantities])
    high = np.array([np.nan if q.high is None else q.high for q in quantities])
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
        "T = Σ s_i² of each action or cell: how much of the next embedding it determines. Bars: "
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
        axes.axvline(audit.total.value, color=MUTED, linewidth=1, label="mean")
        axes.legend(loc="best")
    step = max(1, len(usable) // 24)
    axes.set_yticks(places[::step], [operator.name for operator in usable][::step])
    axes.set_ylim(-0.7, len(usable) - 0.3)
    axes.set_xlabel("T = Σ s_i²")
    return figure


def _no_sizing(audit: Audit) -> str:
    return audit.no_sizing


def _sizing_caption(audit: Audit) -> str:
    sizing, dictionary = audit.sizing, audit.dictionary
    assert sizing is not None
    features = "" if dictionary is None else f" ({whole(dictionary.width)} features, {whole(dictionary.rows)} rows)"
    return (
        f"What a latent of width k leaves out: the tail within the reference dictionary{features}, a lower bound, with "
        f"a band of one standard error; and the sample term for n = {whole(sizing.n)} training transitions, "
        f"{sizing.source}. Shaded: widths between the least of both sums, and those that the tail's error does not "
        f"tell from it, k = {sizing.low} to {sizing.high}."
    )


@styled
def _draw_sizing(audit: Audit) -> Figure:
    sizing = audit.sizing
    assert sizing is not None
    figure = Figure(figsize=(7.6, 3.9))
    axes = figure.subplots()
    k, tail = np.array(sizing.widths), np.array(sizing.tail)
    error = np.array([np.nan if value is None else value for value in sizing.tail_error])
    low, high = np.array(sizing.sample_low), np.array(sizing.sample_high)
    axes.axvspan(sizing.low, sizing.high, color=MUTED, alpha=0.15, linewidth=0, label="widths not told from the least")
    axes.fill_between(
        k, np.maximum(tail - error, 1e-9), np.maximum(tail + error, 1e-9), color=EXACT, alpha=0.2, linewidth=0
    )
    axes.plot(k, np.maximum(tail, 1e-9), color=EXACT, label="tail within the dictionary")
    axes.fill_between(k, low, high, color=MISS, alpha=0.2, linewidth=0)
    axes.plot(k, np.sqrt(low * high), color=MISS, label="sample term, its range")
    for sample, label in ((low, "sum, at both ends of the range"), (high, None)):
        axes.plot(k, tail + sample, color=MUTED, linestyle="--", linewidth=1, label=label)
    width_axis(axes, _ticks(int(k[-1])), "latent width k")
    log_height(axes)
    top = float(max((tail + high).max(), 1e-6))
    axes.set_ylim(top * 1e-4, top * 1.5)
    axes.set_ylabel("risk")
    axes.legend(loc="best")
    return figure


def _no_resolution(audit: Audit) -> str:
    return "" if len(audit.resolution) > 1 else "No resolution had enough rows for its dictionary."


def _resolution_caption(audit: Audit) -> str:
    rows = ", ".join(
        f"ε = {number(resolution.noise)}: {whole(resolution.rows)} rows" for resolution in audit.resolution
    )
    return (
        "T and tails within the dictionary when every coordinate of both embeddings is blurred by N(0, ε²), ε in "
        "deviations of that coordinate. Where T keeps growing as ε falls, the dynamics are noiseless at these scales "
        f"and T without ε has no meaning. Bars: {_band(audit)}. {rows}."
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
    for place, (marker, (label, quantities)) in enumerate(zip(MARKERS, lines, strict=False)):
        values = np.array([np.nan if q.value is None else max(q.value, 1e-9) for q in quantities])
        beside = eps * 1.02 ** (place - (len(lines) - 1) / 2)
        _bars(axes, beside, quantities, colors[place])
        axes.plot(beside, values, marker=marker, markersize=3, linewidth=0.9, color=colors[place], label=label)
    axes.set_xscale("log")
    log_height(axes)
    every = [max(q.value or 0.0, 1e-9) for _, quantities in lines for q in quantities]
    axes.set_ylim(bottom=max(min(every) / 2, max(every) * 1e-4))
    axes.yaxis.set_minor_formatter(lambda value, _: number(value) if f"{value:e}"[0] in "25" else "")
    axes.set_xticks(eps, [number(value) for value in eps])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("resolution ε")
    axes.set_ylabel("sum of squares")
    axes.legend(loc="best")
    return figure


PLOTS: tuple[Plot[Audit], ...] = (
    Plot("spectrum", "What the embeddings see", _draw_spectrum, _spectrum_caption, _no_spectrum),
    Plot("actions", "How actions differ", _draw_actions, _actions_caption, _few_operators),
    Plot("sizing", "Which width", _draw_sizing, _sizing_caption, _no_sizing),
    Plot("resolution", "T at a stated resolution", _draw_resolution, _resolution_caption, _no_resolution),
)

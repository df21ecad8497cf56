"""Figure of estimated singular values against the noise edge, for worlds whose own values are unknown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jepa_scale.estimators.noise import squared_edges
from jepa_scale.records import RunRecord, StudyResult
from jepa_scale.report.figures.shared import name_lines
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import MUTED, NARROWEST, sequential, styled
from jepa_scale.report.summary import finished, sizes
from jepa_scale.report.wording import listed, number, whole

NAME = "spectrum_edge"
TITLE = "Estimated spectrum against the noise edge"
SECTION, PLACE = "spectrum", 2

_PANELS = 3


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if any(record.truth.get("singular_values") for _, record in finished(result)):
        return "The world's exact spectrum says more, see the figure on it."
    return "" if _chosen(result) else "No finished run has an estimated spectrum with its number of transitions."


def caption(result: StudyResult) -> str:
    """Say what is shown, how many values lie above the edge, what the error bars are and what was left out."""
    chosen = _chosen(result)
    k = next(iter(chosen.values()))[1].dials["k"]
    parts = []
    for n, (_, record) in chosen.items():
        edge, values = _edge(record), record.spectrum["estimated"]
        above = "no edge" if edge is None else f"{sum(value > edge for value in values)} of {len(values)} above"
        parts.append(f"{above} {'' if edge is None else number(edge) + ' '}at n = {whole(n)}")
    others = [whole(n) for n in sizes(result.table) if n not in chosen]
    seeds = listed(sorted({record.dials["seed"] for _, record in chosen.values()}))
    transitions = listed(sorted({whole(record.final_n["spectrum/total"]) for _, record in chosen.values()}))  # type: ignore[arg-type]
    return (
        f"Held-out singular values of the model's features at k = {k}, one run for each n (seed {seeds}); error bars "
        f"±1 jackknife standard error, 1 seed, from {transitions} held-out transitions. The world's own spectrum is "
        "not known. Dashed: the noise edge, what k and k independent features would show in as many independent "
        "transitions; within trajectories noise is larger, so values just above it prove little: "
        f"{', '.join(parts)}. Left out: {'n = ' + listed(others) + ', and ' if others else ''}every other k and seed."
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one panel for each of a few n."""
    chosen = _chosen(result)
    figure = Figure(figsize=(max(2.1 + 1.9 * len(chosen), NARROWEST), 3.1))
    panels = np.atleast_1d(figure.subplots(1, len(chosen), sharey=True))
    colors = sequential(sizes(result.table))
    for axes, (n, (row, record)) in zip(panels, chosen.items(), strict=True):
        _panel(axes, row, record, colors[n])
        axes.set_title(f"n = {whole(n)}" + (" (held out)" if result.held_out(n) else ""))
        axes.set_xlabel("index i")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0].set_ylabel("singular value $s_i$")
    panels[0].set_ylim(bottom=min(0.0, panels[0].get_ylim()[0]))
    name_lines(panels[-1:])
    return figure


def _panel(axes: Any, row: int, record: RunRecord, color: Any) -> None:
    values = np.asarray(record.spectrum["estimated"], dtype=float)
    errors = np.asarray(record.spectrum.get("estimated_standard_error", np.zeros(len(values))), dtype=float)
    drawn = axes.errorbar(
        np.arange(1, len(values) + 1),
        values,
        yerr=np.nan_to_num(errors),
        fmt="D",
        markersize=3.4,
        markerfacecolor="white",
        color=color,
        elinewidth=0.9,
        label="held-out\nestimate ± SE",
    )
    drawn[0].set_gid(marks.runs([row] * int(np.isfinite(values).sum())))
    edge = _edge(record)
    if edge is not None:
        axes.axhline(edge, color=MUTED, linestyle="--", linewidth=1.1, label="noise edge")


def _edge(record: RunRecord) -> float | None:
    """Return the noise edge √d₊ for k and k features in the run's held-out transitions; None if these are too few."""
    k, n = int(record.dials["k"]), record.final_n.get("spectrum/total")
    return None if n is None or n - 1 < 2 * k else math.sqrt(squared_edges(k, k, n - 1)[1])


def _chosen(result: StudyResult) -> dict[int, tuple[int, RunRecord]]:
    """Return row and record of the lowest seed for the smallest, middle and largest n, at the largest k."""
    usable = [
        (row, record)
        for row, record in finished(result)
        if len(record.spectrum.get("estimated", ())) and record.final_n.get("spectrum/total")
    ]
    if not usable:
        return {}
    k = max(record.dials["k"] for _, record in usable)
    by_n: dict[int, tuple[int, RunRecord]] = {}
    for row, record in sorted(usable, key=lambda item: (item[1].dials["n"], item[1].dials["seed"])):
        if record.dials["k"] == k:
            by_n.setdefault(int(record.dials["n"]), (row, record))
    order = list(by_n)
    places = sorted({round(place) for place in np.linspace(0, len(order) - 1, min(_PANELS, len(order)))})
    return {order[place]: by_n[order[place]] for place in places}

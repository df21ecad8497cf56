"""Figure of the learned singular values against the world's."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jepa_scale.records import RunRecord, StudyResult
from jepa_scale.report.figures.shared import label_lines
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import EXACT, NARROWEST, sequential, styled
from jepa_scale.report.summary import by_width, finished, sizes
from jepa_scale.report.wording import listed, whole

NAME = "spectrum"
TITLE = "Learned and exact spectrum"
SECTION, PLACE = "spectrum", 1

_PANELS = 3


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    return "" if _chosen(result) else "No finished run has a learned spectrum beside an exact one."


def caption(result: StudyResult) -> str:
    """Say what is shown, what the error bars are and what was left out."""
    chosen = _chosen(result)
    first = next(iter(chosen.values()))
    others = [whole(n) for n in sizes(result.table) if n not in chosen]
    left_out = (
        f" Left out for room: n = {listed(others)}, and every other k and seed."
        if others
        else " Other k and seeds are left out."
    )
    return (
        f"Singular values σ_i at k = {first.dials['k']}, mean over actions; one run for each n (seed "
        f"{listed(sorted({record.dials['seed'] for record in chosen.values()}))}). Bars: exact, of the world. "
        "Filled: exact values of the learned features, which cannot exceed the bars. "
        "Open: held-out estimates of the same features; error bars ±1 jackknife standard error of one action "
        "(mean over actions), 1 seed. Dotted: i = k." + left_out
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one panel for each of a few n."""
    chosen = _chosen(result)
    figure = Figure(figsize=(max(2.1 + 1.9 * len(chosen), NARROWEST), 3.3))
    panels = np.atleast_1d(figure.subplots(1, len(chosen), sharey=True))
    colors = sequential(sizes(result.table))
    rows = {record.run_id: row for row, record in finished(result)}
    for axes, (n, record) in zip(panels, chosen.items(), strict=True):
        _panel(axes, rows[record.run_id], record, colors[n])
        axes.set_title(f"n = {whole(n)}" + (" (held out)" if result.held_out(n) else ""))
        axes.set_xlabel("index i")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0].set_ylabel(r"singular value $\sigma_i$")
    last = list(chosen.values())[-1]
    color = colors[int(last.dials["n"])]
    ends = [
        (float(_exact(last)[-1]), "exact, of\nthe world", EXACT, "_"),
        (float(last.spectrum["learned"][-1]), "learned,\nexact", color, "o"),
    ]
    held_out = "learned,\nheld-out ± SE"
    if last.spectrum.get("estimated"):
        ends.append((float(last.spectrum["estimated"][-1]), held_out, color, "D"))
    label_lines(panels[-1], ends, hollow=[held_out])
    return figure


def _panel(axes: Any, row: int, record: RunRecord, color: Any) -> None:
    k = int(record.dials["k"])
    exact, learned = (np.asarray(values, dtype=float) for values in (_exact(record), record.spectrum["learned"]))
    shown = exact[: max(k, min(len(exact), k + k // 8 + 1))]
    # Bars of a step, not a line: between two indices there is nothing.
    steps = np.arange(1, len(shown) + 1)
    axes.hlines(shown, steps - 0.45, steps + 0.45, color=EXACT, linewidth=1.4, zorder=2)
    marked = marks.runs([row] * int(np.isfinite(learned).sum()))
    axes.plot(np.arange(1, len(learned) + 1), learned, "o", color=color, markersize=3.2, zorder=4, gid=marked)
    estimated = record.spectrum.get("estimated")
    if estimated:
        axes.errorbar(
            np.arange(1, len(estimated) + 1),
            np.array(estimated, dtype=float),
            yerr=np.array(record.spectrum.get("estimated_standard_error", [0.0] * len(estimated)), dtype=float),
            fmt="D",
            markersize=3.2,
            markerfacecolor="white",
            color=color,
            alpha=0.75,
            elinewidth=0.9,
            zorder=3,
        )
    axes.axvline(k + 0.5, color=color, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def _exact(record: RunRecord) -> Any:
    return record.truth.get("singular_values", ())


def _chosen(result: StudyResult) -> dict[int, RunRecord]:
    """Return the run with the lowest seed for the smallest, middle and largest n, at the width that shows most.

    That is the smallest k with nothing left in the tail, if there is one, else the largest.
    """
    usable = [record for _, record in finished(result) if record.spectrum.get("learned") and len(_exact(record))]
    if not usable:
        return {}
    trained = sorted({int(record.dials["k"]) for record in usable})
    tails = by_width(result.table, "tail")
    k = next((width for width in trained if tails.get(width, np.inf) < 1e-9), trained[-1])
    by_n: dict[int, RunRecord] = {}
    for record in sorted(usable, key=lambda item: (item.dials["n"], item.dials["seed"])):
        if record.dials["k"] == k:
            by_n.setdefault(int(record.dials["n"]), record)
    order = list(by_n)
    places = sorted({round(place) for place in np.linspace(0, len(order) - 1, min(_PANELS, len(order)))})
    return {order[place]: by_n[order[place]] for place in places}

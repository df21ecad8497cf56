"""Figure of the exact risk against the width, over the floors that the world's spectrum sets."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from jepa_scale.records import StudyResult
from jepa_scale.records.quantities import label_of
from jepa_scale.report.figures.shared import draw_rows, label_rows, left_out_cells, seeds_of_cells
from jepa_scale.report.page.style import EXACT, INK, MUTED, log_height, styled, width_axis
from jepa_scale.report.summary import by_width, cells, widths
from jepa_scale.report.wording import listed

NAME = "risk_by_width"
TITLE = "Exact risk against latent width"
SECTION, PLACE = "spectrum", 3

NEGLIGIBLE = 1e-9
"""Tails below this are rounding errors, which would stretch a logarithmic axis over many empty decades."""

_FLOORS = {
    "tail": ("spectral tail", EXACT, "-", ".", (-8, -16)),
    "shared_tail": ("floor of one shared encoder", MUTED, (0, (4, 1.5)), "x", (-8, -5)),
}


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    risks = cells(result.table, "risk").values()
    return "" if any(cell.mean > 0 for cell in risks) else "No run finished with an exact risk above 0."


def caption(result: StudyResult) -> str:
    """Say what is shown, what the error bars are and what was left out."""
    parts = [
        "Exact risk R = ‖M̄ − GᵀF‖², mean over actions, on logarithmic axes.",
        f"Mean over seeds ({seeds_of_cells(result, 'risk')}); error bars ±1 standard error over seeds.",
        "No width k can go below the spectral tail, and no encoder shared by all actions below its own floor.",
    ]
    zero = [k for k, value in by_width(result.table, "tail").items() if value <= NEGLIGIBLE]
    if zero:
        parts.append(
            f"At k = {listed(zero)} the tail is 0, which a logarithmic axis cannot show: those points are left out."
        )
    parts.append(left_out_cells(result, "risk"))
    return " ".join(parts)


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one line for each n, the tail and the shared-encoder floor under them."""
    figure = Figure(figsize=(5.8, 3.3))
    axes = figure.subplots()
    draw_rows(axes, result, "risk", positive=True)
    for column in _FLOORS:
        _floor(axes, result, column)
    log_height(axes)
    width_axis(axes, widths(result.table))
    axes.set_ylabel(label_of("risk"))
    label_rows(axes, result, "risk", positive=True)
    return figure


def _floor(axes: Any, result: StudyResult, column: str) -> None:
    label, color, line, marker, shift = _FLOORS[column]
    values = {k: value for k, value in by_width(result.table, column).items() if value > NEGLIGIBLE}
    if values:
        axes.plot(
            list(values),
            list(values.values()),
            color=color,
            linestyle=line,
            marker=marker,
            linewidth=1.3,
            zorder=4,
            label=label,
        )
        k = max(values)
        axes.annotate(
            label, (k, values[k]), xytext=shift, textcoords="offset points", fontsize="small", color=INK,
            ha="right", va="center",
        )  # fmt: skip

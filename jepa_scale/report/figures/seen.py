"""Figure of what a model's features see by width, for worlds whose own spectrum is unknown."""

from __future__ import annotations

from matplotlib.figure import Figure

from jepa_scale.records import StudyResult
from jepa_scale.records.quantities import label_of
from jepa_scale.report.figures.shared import draw_rows, label_rows, left_out_cells, seeds_of_cells
from jepa_scale.report.page.style import styled, width_axis
from jepa_scale.report.summary import cells, widths

NAME = "seen_by_width"
TITLE = "What the features see against latent width"
SECTION, PLACE = "spectrum", 4


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if cells(result.table, "risk"):
        return "The world's exact risk says more, see the figure on it."
    return "" if cells(result.table, "total") else "No run finished with an estimate of T."


def caption(result: StudyResult) -> str:
    """Say what is shown, what the error bars are and what was left out."""
    return " ".join(
        [
            "Left: held-out T = Σ sᵢ² of the joint operator (x, a) → x⁺ on the model's features, a lower bound on the "
            "world's own. Right: subspace deficit, how much more a reference dictionary sees with as many functions; "
            "below 0 the dictionary is the poorer one.",
            f"Mean over seeds ({seeds_of_cells(result, 'total')}); error bars ±1 standard error over seeds.",
            left_out_cells(result, "total"),
        ]
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw both against k, one line for each n."""
    figure = Figure(figsize=(8.6, 3.3))
    left, right = figure.subplots(1, 2)
    for axes, target in ((left, "total"), (right, "subspace_deficit")):
        draw_rows(axes, result, target)
        width_axis(axes, widths(result.table))
        axes.set_ylabel(label_of(target))
    # Of the right panel, where it has lines: the labels of the left one would stand between the two.
    axes, target = (right, "subspace_deficit") if cells(result.table, "subspace_deficit") else (left, "total")
    label_rows(axes, result, target)
    return figure

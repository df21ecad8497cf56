"""Figure of a budget's best use: the law along lines of equal cost, with the minimum of each."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.laws.allocation import Allocation
from jepa_scale.laws.table import FittedLaw, TableStudy
from jepa_scale.report.page.style import EXACT, INK, outside, styled
from jepa_scale.report.wording import number

NAME = "allocation"
TITLE = "Best use of a budget"


def _drawn(study: TableStudy) -> list[tuple[FittedLaw, Allocation]]:
    return [(fitted, fitted.allocation) for fitted in study.laws if fitted.allocation is not None]


def missing(study: TableStudy) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    return "" if _drawn(study) else "no budget was given (--budget, with --cost)"


def caption(study: TableStudy) -> str:
    """Say what is shown."""
    allocation = _drawn(study)[0][1]
    return (
        f"{study.target} along lines of equal cost {allocation.cost.text}, by {allocation.cost.columns[0]}. Diamond: "
        "the minimum with its interval from the bootstrap; hollow where the law has none. Dashed: beyond the runs."
    )


@styled
def draw(study: TableStudy) -> Figure:
    """Draw one panel for each law."""
    drawn = _drawn(study)
    figure = Figure(figsize=(max(5.0 * len(drawn), 5.6), 3.6))
    panels = figure.subplots(1, len(drawn), squeeze=False)
    for axes, (fitted, allocation) in zip(panels[0], drawn, strict=True):
        theta = np.array([parameter.value for parameter in fitted.fit.parameters])
        first, second = allocation.cost.columns
        runs = study.columns[first], study.columns[second]
        for index, split in enumerate(allocation.splits):
            color = f"C{index % 10}"
            x = split.best[0] * np.logspace(-1.2, 1.2, 200)
            y = allocation.cost.other(x, split.budget)
            values = fitted.law.predict(theta, {first: x, second: y})
            known = (x >= runs[0].min()) & (x <= runs[0].max()) & (y >= runs[1].min()) & (y <= runs[1].max())
            axes.plot(x, values, color=color, linewidth=0.9, linestyle="--")
            axes.plot(
                x,
                np.where(known, values, np.nan),
                color=color,
                linewidth=1.5,
            )
            axes.annotate(
                number(split.budget), (x[-1], values[-1]), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize="small", color=INK, annotation_clip=False,
            )  # fmt: skip
            axes.plot([split.low[0], split.high[0]], [split.target] * 2, color=color, linewidth=3, alpha=0.5)
            face = EXACT if split.inside else "white"
            axes.plot(split.best[0], split.target, "D", color=EXACT, markerfacecolor=face, markersize=4)
        axes.set_xscale("log")
        axes.set_xlabel(first)
        axes.set_ylabel(study.target)
        axes.set_title(f"{outside(fitted.fit.law)}: lines of equal {outside(allocation.cost.text)}", fontsize=8.5)
    return figure

"""Figure of risk and regret of exact learners by width, for several sizes of data."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.report.figures.shared import label_lines
from jepa_scale.report.page.style import MARKERS, log_height, sequential, styled, width_axis
from jepa_scale.report.wording import listed, whole
from jepa_scale.theory.learning_curve import BestWidth, LearningCurve, best_regret_width, best_risk_width
from jepa_scale.worlds.survey import Survey

NAME = "learning"
TITLE = "How wide is best, by size of data"


def caption(survey: Survey) -> str:
    """Say what is shown, with k*(n) and its uncertainty."""
    torus, nuisance = survey.torus_curve, survey.nuisance_curve
    return (
        f"Exact learners, no gradient descent; means over {torus.datasets} data sets, error bars of one standard error "
        "(most smaller than the markers), rings at the least. Left: risk on the 8×8 torus (slip 0.2, blur 1), an "
        "encoder for each action; "
        f"best k {_best(torus, best_risk_width(torus, _generator(survey)))}. Right: regret on 25 hidden states seen "
        "through 8 interchangeable observations each (hidden 5×5 torus, slip 0.2, blur 0.42), one encoder for all "
        f"actions; best k {_best(nuisance, best_regret_width(nuisance, _generator(survey)))}. In parentheses, where "
        "it has more than one width, the 95 % bootstrap range over data sets among the widths tried."
    )


def _generator(survey: Survey) -> np.random.Generator:
    return np.random.default_rng(survey.findings.seed)


def _best(curve: LearningCurve, best: BestWidth) -> str:
    return listed(
        [
            f"{width}{_range(low, high)} at n = {whole(n)}"
            for n, width, low, high in zip(curve.sizes, best.width, best.low, best.high, strict=True)
        ]
    )


def _range(low: int, high: int) -> str:
    return f" ({low}–{high})" if low < high else ""


@styled
def draw(survey: Survey) -> Figure:
    """Draw risk on the left, regret on the right."""
    figure = Figure(figsize=(9.0, 3.7))
    left, right = figure.subplots(1, 2)
    torus, nuisance = survey.torus_curve, survey.nuisance_curve
    _panel(left, torus, torus.risk, torus.risk_standard_error, "mean risk R", (1, 2, 4, 8, 16, 32, 64))
    widths = (1, 2, 4, 8, 16, 25, 48, 100, 200)
    _panel(right, nuisance, nuisance.regret, nuisance.regret_standard_error, "expected regret", widths)
    return figure


def _panel(axes: Any, curve: LearningCurve, means: Any, errors: Any, label: str, ticks: tuple[int, ...]) -> None:
    colors = sequential([int(n) for n in curve.sizes])
    for marker, n, mean, error in zip(MARKERS, curve.sizes, means, errors, strict=False):
        color = colors[int(n)]
        axes.errorbar(curve.widths, mean, error, marker=marker, color=color, markersize=3)
        best = int(mean.argmin())
        axes.plot(curve.widths[best], mean[best], "o", markersize=9, markerfacecolor="none", color=color)
    width_axis(axes, ticks)
    log_height(axes)
    axes.set_ylabel(label)
    ends = zip(means[:, -1], curve.sizes, MARKERS, strict=False)
    label_lines(axes, [(float(end), f"n = {whole(n)}", colors[int(n)], marker) for end, n, marker in ends])

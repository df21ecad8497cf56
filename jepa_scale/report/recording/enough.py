"""The answer whether a recording is large enough, in sentences, a figure and a section of the card's page."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.data.enough.answer import NEGLIGIBLE, Check, Curve, Enough, Status
from jepa_scale.data.enough.forecast import Interval, forecast
from jepa_scale.report.page.plot import Plot
from jepa_scale.report.page.style import EXACT, MISS, MUTED, styled
from jepa_scale.report.wording import number, percent, whole

_SAY = {
    Status.ENOUGH: "ENOUGH for the reference learner",
    Status.MORE_HELPS: "MORE DATA HELPS",
    Status.CANNOT_TELL: "CANNOT TELL",
    Status.NOTHING: "NOTHING IS PREDICTED",
}


def enough_lines(answer: Enough) -> list[str]:
    """Return the answer, and what it rests on, one line each."""
    curve = answer.deciding
    lines = [_headline(answer)]
    for one in answer.curves:
        lines.append(_of_curve(one))
        if one.check is not None and one.check.measured >= _NONE:
            lines.append(_checked(one.check))
    left = max(one.floor.value for one in answer.curves)
    if answer.status is Status.ENOUGH and left > _MUCH:
        lines.append(
            f"What is left, {number(left, 2)} of the variance, is noise, what observations hide, or beyond this "
            "learner, a regression on random features: a network may go on learning (a study with target: "
            "prediction tells)."
        )
    if any(one.ladder.widest for one in answer.curves):
        lines.append("The widest learner is the best at the last n: the floor may be its own.")
    if curve.ladder.stride > 1:
        lines.append(f"One window in {curve.ladder.stride} was used: a learner that uses all has a little more data.")
    return lines


_MUCH = 0.05
_NONE = 0.0002


def _headline(answer: Enough) -> str:
    curve = answer.deciding
    last = curve.ladder.n[-1]
    if answer.status is Status.NOTHING:
        return (
            f"{_SAY[answer.status]}: at n = {whole(last)} the reference learner does no better than the mean change, "
            "so that nothing is told of what more data would bring."
        )
    return (
        f"{_SAY[answer.status]}: twice the data, n = {whole(2 * last)}, would remove {_shares(curve.doubling)} of the "
        f"prediction error {_ahead(curve)}, {number(float(curve.ladder.means[-1]), 2)} of the variance; P(that is "
        f"worth it: {percent(answer.worthwhile)} of the error, {number(NEGLIGIBLE)} of the variance) = "
        f"{number(curve.p_worthwhile, 2)}."
    )


def _of_curve(one: Curve) -> str:
    last, error = one.ladder.n[-1], float(one.ladder.means[-1])
    shown = f"error {number(error, 3)} ± {number(float(one.ladder.errors_of_means[-1]), 1)}"
    direct = "" if one.ladder.horizon == 1 else "; regressed at once, not rolled out step by step"
    if error < _NONE:
        return f"{_ahead(one).capitalize()}: error below {_NONE} of the variance of the change at n = {whole(last)}."
    return (
        f"{_ahead(one).capitalize()}: {shown} of the variance of the change at n = {whole(last)} (no change: "
        f"{number(one.ladder.copy, 3)}{direct}); twice the data removes {_shares(one.doubling)}, ten times "
        f"{_shares(one.tenfold)}; this learner's floor is {number(one.floor.value, 2)} [{number(one.floor.low, 2)}, "
        f"{number(one.floor.high, 2)}]; {_reach(one)}."
    )


def _ahead(curve: Curve) -> str:
    steps = curve.ladder.horizon
    return "one step ahead" if steps == 1 else f"{steps} steps ahead"


def _shares(value: Interval) -> str:
    return f"{100 * value.value:.0f} % [{100 * value.low:.0f}, {100 * value.high:.0f}]"


def _reach(curve: Curve) -> str:
    first, last = float(curve.ladder.n[0]), float(curve.ladder.n[-1])

    def shown(n: float) -> str:
        if n <= first:
            return f"below {whole(first)}"
        return whole(float(f"{n:.2g}")) if math.isfinite(n) and n < 1000 * last else "far beyond"

    low, middle, high = (shown(n) for n in (curve.reach.low, curve.reach.value, curve.reach.high))
    interval = "" if low == middle == high else f" [{low}, {high}]"
    return f"95 % of what it can ever explain is explained at n = {middle}{interval}"


def _checked(check: Check) -> str:
    found, verb = check.forecast, "Checked" if check.held else "Checked, and missed"
    return (
        f"{verb}: from the rungs below, the error at n = {whole(check.n)} was forecast as {number(found.value, 3)} "
        f"[{number(found.low, 3)}, {number(found.high, 3)}]; {number(check.measured, 3)} was measured, and no change "
        f"would have been {number(check.no_change, 3)}."
    )


def _caption(answer: Enough) -> str:
    ladder = answer.deciding.ladder
    return (
        "Error of held-out episodes, as a share of the variance of x_{t+h} − x_t, by the number of transitions that a "
        "ridge regression on random features was fitted on; 1 is reached by predicting the mean change. Bars: 95 % "
        f"intervals over {len(ladder.weights)} parts of the episodes, {whole(ladder.windows)} windows. Line and band: "
        "forecast E∞ + B n^−β with its 90 % interval; dotted: E∞."
    )


@styled
def _draw(answer: Enough) -> Figure:
    figure = Figure(figsize=(4.3 * len(answer.curves), 3.2))
    for axes, curve in zip(np.atleast_1d(figure.subplots(1, len(answer.curves))), answer.curves, strict=True):
        ladder = curve.ladder
        axes.errorbar(
            ladder.n, ladder.means, yerr=1.96 * ladder.errors_of_means,
            color=EXACT, marker="o", markersize=4, linewidth=1.2, capsize=3, label="measured",
        )  # fmt: skip
        draws, last = forecast(ladder), float(ladder.n[-1])
        beyond = last * np.geomspace(1, 10, 24)
        low, middle, high = np.array([np.quantile(draws.errors(n), [0.05, 0.5, 0.95]) for n in beyond]).T
        axes.fill_between(beyond, low, high, color=MISS, alpha=0.2, linewidth=0)
        axes.plot(beyond, middle, color=MISS, linewidth=1.2, label="forecast")
        axes.axhline(curve.floor.value, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(_ahead(curve))
        axes.set_xlabel("transitions n")
        axes.set_ylabel("error, share of the variance")
    axes.legend()
    return figure


PLOT: Plot[Enough] = Plot("enough", "Is it enough?", _draw, _caption, lambda _: "")
"""Errors by n with the forecast."""

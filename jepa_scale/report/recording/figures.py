"""Figures of a card: gains by lag, and reach by n."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.data.alignment.verdict import Gain
from jepa_scale.data.card.record import Z95, CurvePoint, DataCard
from jepa_scale.report.page.plot import Plot
from jepa_scale.report.page.style import EXACT, MISS, MUTED, styled
from jepa_scale.report.wording import whole


def _gains(card: DataCard) -> tuple[Gain, ...]:
    return card.alignment.gains


def _no_gains(card: DataCard) -> str:
    return "" if _gains(card) else f"Not asked: {card.alignment.verdict.value}."


def _gain_caption(card: DataCard) -> str:
    found = card.alignment
    return (
        "What the action j rows below adds to the prediction of x_{t+1} given x_t, x_{t−1} and all "
        "other lags, as a share of what x_t and x_{t−1} leave, out of sample. Aligned rows have "
        f"their gain at 0. Bars: 95 % intervals over {found.episodes} episodes, n = {whole(found.n)} transitions."
    )


@styled
def _draw_gains(card: DataCard) -> Figure:
    figure = Figure(figsize=(6.4, 3.0))
    axes = figure.subplots()
    lags = [gain.lag for gain in _gains(card)]
    values = [gain.value for gain in _gains(card)]
    errors = [Z95 * gain.error for gain in _gains(card)]
    axes.axhline(0, color=MUTED, linewidth=0.8)
    colors = [EXACT if lag == 0 else MISS for lag in lags]
    axes.bar(lags, values, width=0.6, color=colors)
    axes.errorbar(lags, values, yerr=errors, fmt="none", ecolor=MUTED, capsize=3)
    axes.set_xticks(lags, [f"{lag:+d}" if lag else "0" for lag in lags])
    axes.set_xlabel("lag j of the action a_{t+j}")
    axes.set_ylabel("gain")
    return figure


def _curve(card: DataCard) -> tuple[CurvePoint, ...]:
    return () if card.coverage is None else card.coverage.curve


def _no_curve(card: DataCard) -> str:
    return "" if len(_curve(card)) > 1 else "Fewer than 10 episodes."


def _curve_caption(card: DataCard) -> str:
    last = _curve(card)[-1]
    return (
        "Held-out episodes against the first n transitions of the others. Left: distance of a held-out row from the "
        "nearest of the n, in deviations per coordinate; where it still falls, more episodes reach new places. "
        "Middle: share of the variance of held-out steps that a regression on x_t, x_{t−1} and "
        "a_t leaves; where it is flat, more of the same does not help such a model. Right: (Σλ)² / Σλ² of the "
        "covariance of the n rows. Bars: 95 % intervals over "
        f"held-out episodes, {whole(last.distance.n)} rows; the last n is {whole(last.n)}."
    )


@styled
def _draw_curve(card: DataCard) -> Figure:
    points = _curve(card)
    figure = Figure(figsize=(8.6, 3.0))
    panels = figure.subplots(1, 3)
    panels[2].plot(
        [point.n for point in points], [point.participation for point in points],
        color=EXACT, marker="o", markersize=4, linewidth=1.2,
    )  # fmt: skip
    panels[2].set_ylabel("directions that vary")
    n = np.array([point.n for point in points])
    for axes, values, label in (
        (panels[0], [point.distance for point in points], "distance to the nearest row"),
        (panels[1], [point.unpredicted for point in points], "step not predicted, share"),
    ):
        axes.errorbar(
            n, [value.value for value in values], yerr=[Z95 * value.error for value in values],
            color=EXACT, marker="o", markersize=4, linewidth=1.2, capsize=3,
        )  # fmt: skip
        axes.set_ylabel(label)
    for axes in panels:
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("transitions n")
    return figure


PLOTS: tuple[Plot[DataCard], ...] = (
    Plot("gains", "What each lag of the action adds", _draw_gains, _gain_caption, _no_gains),
    Plot("reach", "What more of the same would add", _draw_curve, _curve_caption, _no_curve),
)

"""Figure of regret and risk against the learning rate, one line for each width of the tuning check."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jepa_scale.laws.tuning import rate_means
from jepa_scale.records import StudyResult, TuningCheck
from jepa_scale.records.quantities import label_of
from jepa_scale.report.figures.shared import label_lines
from jepa_scale.report.page.style import MARKERS, MUTED, outside, sequential, styled
from jepa_scale.report.wording import number, plural, whole

NAME = "tuning"
TITLE = "Learning rate by width"
SECTION, PLACE = "learning-rate", 1


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    if result.tuning is None:
        return "The study file asks for no check of the learning rate."
    return "" if any(np.isfinite(run.risk) for run in result.tuning.runs) else "No run of the check finished."


def caption(result: StudyResult) -> str:
    """Say what is shown, what the error bars are and what was left out."""
    check = result.tuning
    assert check is not None  # ``missing`` is asked first
    seeds = sorted({run.seed for run in check.runs})
    lost = sum(not np.isfinite(run.risk) for run in check.runs)
    bars = "error bars ±1 standard error over seeds" if len(seeds) > 1 else "1 seed, hence no error bars"
    out = [plural(lost, "run") + " that diverged"] if lost else []
    out += [plural(len(check.unfinished), "run") + " without a record"] if check.unfinished else []
    return (
        f"Final regret and exact risk at n = {whole(check.n)} against {check.label}, mean over seeds "
        f"{', '.join(map(str, seeds))}, which the study does not use; {bars}. The dotted line is the rate of all other "
        f"runs. {'Left out: ' + '; '.join(out) if out else 'No run was left out'}."
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw the regret on the left and the risk on the right."""
    check = result.tuning
    assert check is not None  # ``missing`` is asked first
    figure = Figure(figsize=(7.2, 3.1))
    left, right = figure.subplots(1, 2)
    for axes, target in ((left, "regret"), (right, "risk")):
        _panel(axes, check, target)
        axes.set_ylabel(label_of(target))
    return figure


def _panel(axes: Any, check: TuningCheck, target: Any) -> None:
    rates = sorted({run.rate for run in check.runs})
    colors = sequential(sorted({run.k for run in check.runs}))
    for marker, (k, row) in zip(MARKERS * len(colors), rate_means(check, target).items(), strict=False):
        axes.errorbar(
            list(row),
            [mean for mean, _ in row.values()],
            yerr=[np.nan_to_num(error) for _, error in row.values()],
            color=colors[k],
            marker=marker,
            capsize=2.5,
            elinewidth=1,
        )
    axes.axvline(check.shared, color=MUTED, linestyle=":", linewidth=1.1, zorder=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(rates))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.set_xlabel(outside(check.label))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    rows = rate_means(check, target)
    ends = [(row[max(row)][0], f"k = {k}", colors[k]) for k, row in rows.items() if row]
    label_lines(axes, [(*end, marker) for end, marker in zip(ends, MARKERS * len(ends), strict=False)])

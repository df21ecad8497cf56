"""Figure of the ratio of bound to regret on random worlds, for every statement."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jepa_scale.report.page.style import INK, MISS, MUTED, styled
from jepa_scale.report.wording import listed, number, plural
from jepa_scale.theory.statements import STATEMENTS
from jepa_scale.worlds.survey import Survey

NAME = "looseness"
TITLE = "Bound over quantity on random worlds"

LOWEST, HIGHEST = 1e-2, 1e9


def _shown(survey: Survey) -> list[tuple[str, np.ndarray]]:
    ratios_by_claim = []
    for claim in STATEMENTS:
        ratios = np.array(survey.findings.total(claim.name).looseness)
        if len(ratios):
            ratios_by_claim.append((claim.name, ratios))
    return ratios_by_claim


def caption(survey: Survey) -> str:
    """Say what is shown and what was left out."""
    names = {name for name, _ in _shown(survey)}
    absent = [claim.label for claim in STATEMENTS if claim.name not in names]
    beyond = sum(int(((ratios < LOWEST) | (ratios > HIGHEST)).sum()) for _, ratios in _shown(survey))
    return (
        "Trials in which every hypothesis held and the quantity was not 0. Line: from the least to the largest; bar: "
        "middle half; tick: median. Left of 1 a statement is violated: those parts are red. "
        + (
            f"{plural(beyond, 'ratio')} outside {_power(LOWEST)} to {_power(HIGHEST)} {'is' if beyond == 1 else 'are'} "
            "drawn at the edge."
            if beyond
            else "Every ratio lies within the axis."
        )
        + (f" Nothing to draw for {listed(absent)}." if absent else "")
    )


@styled
def draw(survey: Survey) -> Figure:
    """Draw one line for each statement."""
    shown = _shown(survey)
    figure = Figure(figsize=(9.0, 0.9 + 0.24 * len(shown)))
    axes = figure.subplots()
    axes.axvline(1.0, color=MUTED, linewidth=1.0)
    for height, (_, ratios) in enumerate(reversed(shown)):
        clipped = np.clip(ratios, LOWEST, HIGHEST)
        low, first, middle, third, high = np.quantile(clipped, [0, 0.25, 0.5, 0.75, 1])
        axes.plot([max(low, 1.0), high], [height, height], color=INK, linewidth=1.0)
        if low < 1 - 1e-9:
            axes.plot([low, min(1.0, high)], [height, height], color=MISS, linewidth=3.0)
        axes.plot([first, third], [height, height], color="#2563eb", linewidth=5.0, solid_capstyle="butt")
        # Taller than the bar, which may be shorter than the tick is wide.
        axes.plot([middle], [height], marker="|", color=INK, markersize=11, markeredgewidth=1.8)
    axes.set_xscale("log")
    axes.set_xlim(LOWEST / 1.5, HIGHEST * 1.5)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.set_yticks(range(len(shown)), [_LABELS[name] for name, _ in reversed(shown)])
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(-2, 10, 2)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
    axes.set_xlabel("bound / quantity; for floors, quantity / bound")
    for place, side, name in ((0.7, "right", "violated"), (1.4, "left", "holds")):
        axes.text(place, len(shown) - 0.35, name, ha=side, va="bottom", fontsize="small", color=MUTED)
    return figure


def _power(value: float) -> str:
    """Return a power of ten, with an exponent only where it is long."""
    return number(value, 1).removeprefix("1·")


_LABELS = {claim.name: claim.label for claim in STATEMENTS}

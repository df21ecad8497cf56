"""Figure of the profile likelihoods of the parameters of laws fitted to a table."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from jepa_scale.laws.distributions import f_quantile
from jepa_scale.laws.profile import Profile
from jepa_scale.laws.table import TableStudy
from jepa_scale.report.page.style import INK, MISS, MUTED, styled
from jepa_scale.report.wording import number, percent

NAME = "profiles"
TITLE = "Profile likelihoods"
_COLUMNS = 4


def _drawn(study: TableStudy) -> list[tuple[str, Profile, float]]:
    return [
        (fitted.fit.law, item, next(p.value for p in fitted.fit.parameters if p.name == item.name))
        for fitted in study.laws
        for item in fitted.profiles
    ]


def missing(study: TableStudy) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    return "" if _drawn(study) else "no law converged with a free parameter"


def caption(study: TableStudy) -> str:
    """Say what is shown."""
    level = percent(study.laws[0].fit.level)
    opened = [f"{item.name} of {law}" for law, item, _ in _drawn(study) if any(item.open_ends)]
    rest = f" Open at an end: {', '.join(opened)}: the data do not bound it there." if opened else ""
    return (
        "Rise of the objective with one parameter held and all others refitted, in units of χ²; dashed: the "
        f"{level} limit; vertical: the fit. A flat curve is a parameter that the table does not know.{rest}"
    )


@styled
def draw(study: TableStudy) -> Figure:
    """Draw one small panel for each parameter."""
    drawn = _drawn(study)
    rows = math.ceil(len(drawn) / _COLUMNS)
    columns = min(len(drawn), _COLUMNS)
    figure = Figure(figsize=(max(2.6 * columns, 5.2), 2.3 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    rows_seen = len(study.scale)
    for axes, (law, item, fitted) in zip(panels, drawn, strict=False):
        owner = next(entry for entry in study.laws if entry.fit.law == law)
        free = sum(not parameter.fixed for parameter in owner.fit.parameters)
        limit = f_quantile(owner.fit.level, 1, max(rows_seen - free, 1))
        axes.plot(item.values, item.rise, color="#2f7ab8")
        axes.axhline(limit, color=MUTED, linestyle="--", linewidth=0.9)
        axes.axvline(fitted, color=INK, linewidth=0.9)
        axes.axvspan(item.low, item.high, color=MISS if any(item.open_ends) else "#2f7ab8", alpha=0.12, linewidth=0)
        axes.set_ylim(-0.05 * limit, 3 * limit)
        axes.set_title(f"{item.name} = {number(fitted)}", fontsize=8.5)
        axes.set_xlabel(law if len(study.laws) > 1 else "")
        axes.tick_params(axis="x", labelsize=7)
    return figure

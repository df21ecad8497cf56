"""Figures of a study: each a pure function of its result, with a caption that says what was left out."""

from __future__ import annotations

from jepa_scale.report.figures import (
    arms,
    bounds,
    dials,
    edge,
    epochs,
    forecast,
    law_residuals,
    laws,
    regret,
    risk,
    seen,
    sizes,
    spectrum,
    surface,
    tuning,
)
from jepa_scale.report.page.plot import Plot

ORDER = {
    "u-turn": (regret, sizes),
    "spectrum": (spectrum, edge, risk, seen),
    "bounds": (bounds,),
    "laws": (laws, law_residuals),
    "forecasts": (forecast,),
    "advice": (surface,),
    "diagnostics": (tuning, epochs),
    "dials": (dials,),
}
"""Figures of each section of the page."""

BY_SECTION = {section: tuple(Plot.of(module) for module in modules) for section, modules in ORDER.items()}

PLOTS = tuple(plot for plots in BY_SECTION.values() for plot in plots)
"""In the order of the page."""

ARMS = Plot.of(arms)
"""Of a study that compares settings, in place of the others."""

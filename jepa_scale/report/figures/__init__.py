"""Figures of a study: each a pure function of its result, with a caption that says what was left out."""

from __future__ import annotations

from jepa_scale.report.figures import (
    arms,
    bounds,
    epochs,
    forecast,
    laws,
    regret,
    risk,
    seen,
    spectrum,
    surface,
    tuning,
)
from jepa_scale.report.plot import Plot

PLOTS = tuple(Plot.of(module) for module in (regret, risk, seen, spectrum, bounds, epochs, laws, forecast, surface))
"""In the order of the page."""

ARMS = Plot.of(arms)
"""Of a study that compares settings, in place of the others."""

TUNING = Plot.of(tuning)
"""In a section of its own, beside its table."""

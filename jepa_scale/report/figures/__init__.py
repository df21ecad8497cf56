"""Figures of a study: each a pure function of its result, with a caption that says what was left out.

A module that has a ``SECTION`` is a figure of that section of the page, in the order of ``PLACE``.
"""

from __future__ import annotations

import importlib
import pkgutil

from jepa_scale.report.figures import arms
from jepa_scale.report.page.plot import Plot

SECTIONS = ("hero", "u-turn", "spectrum", "bounds", "laws", "forecasts", "advice", "learning-rate", "training", "dials")
"""Sections of the page, and parts of them, that have figures; in the order of the page, whose opening has the hero."""


def _found() -> dict[str, tuple[Plot, ...]]:
    modules = [importlib.import_module(f"{__name__}.{entry.name}") for entry in pkgutil.iter_modules(__path__)]
    drawn = sorted((module for module in modules if hasattr(module, "SECTION")), key=lambda module: module.PLACE)
    stray = [f"{module.__name__}: {module.SECTION}" for module in drawn if module.SECTION not in SECTIONS]
    assert not stray, f"expected a section among {', '.join(SECTIONS)}, got {', '.join(stray)}"
    return {section: tuple(Plot.of(module) for module in drawn if section == module.SECTION) for section in SECTIONS}


BY_SECTION = _found()

PLOTS = tuple(plot for plots in BY_SECTION.values() for plot in plots)
"""All figures of a study, in the order of the page."""

ARMS = Plot.of(arms)
"""Figures of a study that compares settings, which replace the others."""

"""Figures of a study: each a pure function of its result, with a caption that says what was left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from matplotlib.figure import Figure

from jepa_scale.records import StudyResult
from jepa_scale.report.figures import bounds, epochs, forecast, laws, regret, risk, spectrum


@dataclass(frozen=True)
class Plot:
    """One figure of the report."""

    name: str
    """File name without its ending, and prefix of the ids in its SVG."""
    title: str
    draw: Callable[[StudyResult], Figure]
    """Only where ``missing`` is empty."""
    caption: Callable[[StudyResult], str]
    """Only where ``missing`` is empty."""
    missing: Callable[[StudyResult], str]
    """One sentence where there is nothing to draw, else empty."""

    @classmethod
    def of(cls, module: ModuleType) -> Plot:
        """Collect a figure from its file."""
        return cls(module.NAME, module.TITLE, module.draw, module.caption, module.missing)


PLOTS = tuple(Plot.of(module) for module in (regret, risk, spectrum, bounds, epochs, laws, forecast))
"""In the order of the page."""

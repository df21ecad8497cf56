"""A figure of a page: what it is called, when there is none, and how it gets there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from matplotlib.figure import Figure

from jepa_scale.report.files import write_whole
from jepa_scale.report.markup import card, text
from jepa_scale.report.style import to_png, to_svg

Shown = TypeVar("Shown")
"""What a figure is drawn from."""


@dataclass(frozen=True)
class Plot(Generic[Shown]):
    """One figure of a page."""

    name: str
    """File name without its ending, and prefix of the ids in its SVG."""
    title: str
    draw: Callable[[Shown], Figure]
    """Only where ``missing`` is empty."""
    caption: Callable[[Shown], str]
    """Only where ``missing`` is empty."""
    missing: Callable[[Shown], str]
    """One sentence where there is nothing to draw, else empty."""

    @classmethod
    def of(cls, module: ModuleType) -> Plot:
        """Collect a figure from its file."""
        return cls(module.NAME, module.TITLE, module.draw, module.caption, module.missing)

    def place(self, result: Shown, folder: Path) -> str:
        """Write the PNG into ``folder`` and return the figure's HTML; a sentence and no file where it is missing."""
        file, why_not = folder / f"{self.name}.png", self.missing(result)
        if why_not:
            # A picture of an earlier state would pass for this one's.
            file.unlink(missing_ok=True)
            said = f"<b>{text(self.title)}.</b> Not drawn: {text(why_not)}"
            return f'<figure id="figure-{self.name}"><figcaption>{said}</figcaption></figure>'
        figure, caption = self.draw(result), self.caption(result)
        write_whole(file, to_png(figure))
        return card(f"figure-{self.name}", self.title, caption, to_svg(figure, self.name))

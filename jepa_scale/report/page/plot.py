"""Figure of a page: its name, when it is missing, and how it is placed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from matplotlib.figure import Figure

from jepa_scale.files import write_whole
from jepa_scale.report.page.marks import inlined, unmarked
from jepa_scale.report.page.markup import card, text
from jepa_scale.report.page.style import to_png, to_svg

Shown = TypeVar("Shown")
"""Type of the result that a figure is drawn from."""

TWINS = ("png", "svg")
"""File endings of the figures next to a page."""


def place_figure(figure: Figure, name: str, title: str, caption: str, folder: Path) -> str:
    """Write a figure's files into ``folder``, which lies next to the page, and return its HTML."""
    svg = to_svg(figure)
    write_whole(folder / f"{name}.png", to_png(figure))
    write_whole(folder / f"{name}.svg", unmarked(svg).encode("utf-8"))
    files = [f"{folder.name}/{name}.{ending}" for ending in TWINS]
    return card(f"figure-{name}", title, caption, inlined(svg, name), files)


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
    """Returns one sentence if there is nothing to draw, else an empty string."""

    @classmethod
    def of(cls, module: ModuleType) -> Plot:
        """Return the figure that a module defines."""
        return cls(module.NAME, module.TITLE, module.draw, module.caption, module.missing)

    def place(self, result: Shown, folder: Path) -> str:
        """Write the files into ``folder`` and return the figure's HTML; a sentence and no file where it is missing."""
        why_not = self.missing(result)
        if not why_not:
            return place_figure(self.draw(result), self.name, self.title, self.caption(result), folder)
        for ending in TWINS:
            # A picture of an earlier state would pass for this one's.
            (folder / f"{self.name}.{ending}").unlink(missing_ok=True)
        caption = f"<b>{text(self.title)}.</b> Not drawn: {text(why_not)}"
        return f'<figure id="figure-{self.name}"><figcaption>{caption}</figcaption></figure>'

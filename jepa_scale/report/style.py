"""How every figure looks, and how it becomes SVG or PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatter, NullLocator

from jepa_scale.report.wording import number

Shown = TypeVar("Shown")
"""What a figure is drawn from."""

NARROWEST = 5.2
"""Inches: below this a legend under the panels is cut off."""

INK, MUTED, GRID = "#1f2933", "#66717d", "#e4e8ec"
MISS = "#c2410c"
"""For what contradicts an expectation: a missed forecast, a violated bound."""
EXACT = "#111827"
"""For what is known exactly."""
MARKERS = "osD^vPX*"

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.title_fontsize": 8.5,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Text as outlines: the page looks the same on a machine that lacks the font.
    "svg.fonttype": "path",
    "svg.hashsalt": "jepa-scale",
}


def styled(draw: Callable[[Shown], Figure]) -> Callable[[Shown], Figure]:
    """Draw in the house style, whatever the user's matplotlibrc says, and leave that as it was."""

    @wraps(draw)
    def wrapped(result: Shown) -> Figure:
        with matplotlib.style.context(["default", _STYLE]):
            return draw(result)

    return wrapped


def sequential(values: Sequence[int], palette: str = "viridis") -> dict[int, Any]:
    """Return one colour per value from a colour-blind-safe sequential palette, dark to light.

    The palest part of the palette is left out: it cannot be read on white.
    """
    span = max(len(values) - 1, 1)
    chosen = matplotlib.colormaps[palette]
    return {value: chosen(0.02 + 0.82 * position / span) for position, value in enumerate(values)}


def width_axis(axes: Any, widths: Sequence[int], label: str = "latent width k") -> None:
    """Make x a log2 axis with one tick per width of the grid."""
    axes.set_xscale("log", base=2)
    shown = list(widths) if len(widths) <= 10 else list(widths)[:: -(-len(widths) // 10)]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel(label)


def log_height(axes: Any) -> None:
    """Make y logarithmic with plain numbers; short axes, without two powers of ten, get numbers in between."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.0, 0.4)))


def to_svg(figure: Figure, prefix: str) -> str:
    """Return inline SVG whose ids all begin with ``prefix``, so that several figures can share a page."""
    buffer = io.StringIO()
    with matplotlib.style.context(["default", _STYLE]):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    # A style element would reach beyond its SVG into the page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    # The page sets the width; the viewBox keeps the proportions.
    head, body = text.split(">", 1)
    # Never blown up far beyond its drawn size: one panel is not to look like a poster.
    widest = 1.5 * float(re.search(r'width="([0-9.]+)pt"', head)[1])  # type: ignore[index]
    head = re.sub(r'\s(?:width|height|version|xmlns:xlink)="[^"]*"', "", head)
    return f'{head} style="max-width:{widest:.0f}pt;stroke-linejoin:round;stroke-linecap:butt">{body}'


def to_png(figure: Figure) -> bytes:
    """Return a PNG at 150 dots per inch."""
    buffer = io.BytesIO()
    with matplotlib.style.context(["default", _STYLE]):
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()

"""House style of figures, and their conversion to files."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from jepa_scale.report.page.palette import spread
from jepa_scale.report.wording import number, whole

Shown = TypeVar("Shown")
"""Type of the result that a figure is drawn from."""

NARROWEST = 5.2
"""Smallest width in inches; below it a legend under the panels is cut off."""

INK, MUTED, GRID = "#1f2933", "#66717d", "#e4e8ec"
MISS = "#c2410c"
"""Colour of what contradicts an expectation: a missed forecast, a violated bound."""
EXACT = "#111827"
"""Colour of what is known exactly."""
MARKERS = "osD^vPX*"
_NARROW_RATIO = 60.0
"""Ratio of the ends of a logarithmic axis below which powers of ten alone are too few numbers."""
_MOST_TICKS = 7
"""Largest number of ticks on an axis of sizes, whose numbers are long."""

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    # Hinted text is wider at some resolutions than where it was measured, and is cut at the edge of the picture.
    "text.hinting": "none",
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
    # No axis is at the top: to look for one costs a third of the time of a figure.
    "axes.titley": 1.0,
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
    """Draw in the house style, whatever the user's matplotlibrc says, and restore its settings afterwards."""

    @wraps(draw)
    def wrapped(result: Shown) -> Figure:
        with matplotlib.style.context(["default", _STYLE]):
            return draw(result)

    return wrapped


def sequential(values: Sequence[int], palette: str = "viridis") -> dict[int, Any]:
    """Return one colour per value from a colour-blind-safe sequential palette, dark to light."""
    return dict(zip(values, spread(len(values), palette), strict=True))


def outside(label: object) -> str:
    """Escape an untrusted text for a figure, in which a dollar sign would begin mathematics."""
    return str(label).replace("$", r"\$")


def size_axis(axes: Any, sizes: Sequence[int], label: str = "training transitions n") -> None:
    """Make x a logarithmic axis of n whose ticks are sizes of the grid, as many as fit."""
    axes.set_xscale("log")
    room = math.log(sizes[-1] / sizes[0]) / _MOST_TICKS
    shown = list(sizes[:1])
    for size in sizes[1:]:
        if math.log(size / shown[-1]) > room:
            shown.append(size)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: whole(value)))
    axes.set_xlabel(label)


def width_axis(axes: Any, widths: Sequence[int], label: str = "latent width k") -> None:
    """Make x a log2 axis with one tick per width of the grid."""
    axes.set_xscale("log", base=2)
    shown = list(widths) if len(widths) <= 10 else list(widths)[:: -(-len(widths) // 10)]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel(label)


def log_height(axes: Any) -> None:
    """Make y logarithmic with plain numbers; axes without two powers of ten also get numbers in between."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    # Not all eight of a decade: they say little, and each costs as much as a line of the figure.
    axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: number(value) if _narrow(axes) else ""))


def _narrow(axes: Any) -> bool:
    """Whether an axis shows fewer than two decades."""
    low, high = sorted(axes.yaxis.get_view_interval())
    return bool(low > 0 and high < _NARROW_RATIO * low)


def to_svg(figure: Figure) -> str:
    """Return a figure as the text of an SVG file."""
    buffer = io.StringIO()
    _save(figure, buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG at 150 dots per inch."""
    buffer = io.BytesIO()
    _save(figure, buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _save(figure: Figure, buffer: io.StringIO | io.BytesIO, **options: Any) -> None:
    """Write a figure, which is laid out the first time: to lay it out costs more than to draw it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        for spine in (spine for axes in figure.axes for spine in axes.spines.values()):
            # They lie within their ticks, and measuring one updates all of these.
            spine.set_in_layout(False)
        with matplotlib.style.context(["default", _STYLE]):
            engine.execute(figure)
    # Where the setting is on, matplotlib gives a figure without an engine a new one while it saves it.
    with matplotlib.style.context(["default", _STYLE, {"figure.constrained_layout.use": False}]):
        figure.set_layout_engine(None)
        figure.savefig(buffer, **options)

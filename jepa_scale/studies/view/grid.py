"""Grid of a study's cells as coloured numbers: rows n, columns k, the regret so far in each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

from jepa_scale.studies.view.status import RunState

RUNNING, FAILED, DIVERGED = "▸", "✗", "!"
_CORNER = "n \\ k"

# Steps of cividis from bright, little regret, to dark, much: read by people who do not tell red from green, and under
# text of their own, so that the terminal's background does not matter.
_COLOURS = ("#fee838", "#e1cc55", "#c3b369", "#a59c74", "#8a8678", "#707173", "#575d6d", "#3b496c", "#123570")
_DARK_TEXT = 5
"""Index of the first colour that is light enough for black text."""


@dataclass(frozen=True)
class GridCell:
    """All runs of one arm with the same n and k."""

    regret: float | None
    """Mean regret over the finished and running seeds that have one so far."""
    done: int
    total: int
    marks: str
    """Marks that show whether runs are running, failed or diverged."""


def cells_of(runs: Iterable[RunState]) -> dict[tuple[int, int], GridCell]:
    """Group runs into cells by (n, k)."""
    groups: dict[tuple[int, int], list[RunState]] = {}
    for run in runs:
        groups.setdefault((run.point.n, run.point.k), []).append(run)
    return {place: _cell(group) for place, group in groups.items()}


def _cell(runs: Sequence[RunState]) -> GridCell:
    regrets = [run.regret for run in runs if run.regret is not None and math.isfinite(run.regret)]
    marks = {
        RUNNING: any(run.state == "running" for run in runs),
        FAILED: any(run.state == "failed" for run in runs),
        DIVERGED: any(run.state == "done" and run.reason for run in runs),
    }
    return GridCell(
        regret=sum(regrets) / len(regrets) if regrets else None,
        done=sum(run.state == "done" for run in runs),
        total=len(runs),
        marks="".join(mark for mark, there in marks.items() if there),
    )


@dataclass(frozen=True)
class ColourScale:
    """Colours from the least regret to the largest, by its root: small ones differ by factors."""

    low: float
    high: float

    def style(self, regret: float, least: bool = False) -> Style:
        """Style of a number; the ``least`` of its row also stands out without colours."""
        share = 0.0
        if self.high > self.low:
            share = (_root(regret) - _root(self.low)) / (_root(self.high) - _root(self.low))
        step = min(int(share * len(_COLOURS)), len(_COLOURS) - 1)
        front = "#000000" if step < _DARK_TEXT else "#ffffff"
        return Style(color=front, bgcolor=_COLOURS[step], bold=least, underline=least)

    def legend(self) -> Text:
        """Legend of the colours, with the values at both ends."""
        text = Text(f"{number(self.low)} ")
        for colour in _COLOURS:
            text.append("█", Style(color=colour))
        return text.append(f" {number(self.high)}")


def _root(regret: float) -> float:
    return math.sqrt(max(regret, 0.0))


def scale_of(cells: Iterable[GridCell]) -> ColourScale | None:
    """Colour scale over all cells that have a number; None if no cell has one."""
    known = [cell.regret for cell in cells if cell.regret is not None]
    return ColourScale(min(known), max(known)) if known else None


def number(value: float) -> str:
    """Format a number, with three decimals where they are informative."""
    if value == 0 or 0.001 <= abs(value) < 1000:
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
    return f"{value:.0e}"


def grid_lines(
    cells: Mapping[tuple[int, int], GridCell], scale: ColourScale | None, width: int, height: int
) -> list[Text]:
    """Grid of cells in at most ``height`` lines of ``width`` characters; rows and columns cut off are counted."""
    sizes, widths = (sorted(set(axis)) for axis in zip(*cells, strict=True))
    side = max(len(_CORNER), *(len(str(n)) for n in sizes))
    parts = _shown(cells)
    for counted in (True, False):
        # The number of seeds gives way first: all runs are counted above.
        columns = [max(len(str(k)), *(len(part) for part in _column(parts, k, counted).values())) + 1 for k in widths]
        fits = _fitting(columns, width - side - 1)
        if fits == len(widths):
            break
    shown = widths[: max(fits, 1)]
    texts = {k: _column(parts, k, counted) for k in shown}
    rows = [_row(n, side, dict(zip(shown, columns, strict=False)), cells, texts, scale) for n in sizes]
    head = Text(f"{_CORNER:>{side}} ", "bold")
    head.append("".join(f"{k:>{wide}}" for k, wide in zip(shown, columns, strict=False)))
    left = [_more(len(widths) - len(shown), "width")]
    room = max(height - 1 - any(left), 1)
    if len(rows) > room:
        # Where nothing was cut before, the line that says so takes one more.
        rows = rows[: max(height - 2, 1)]
        left.insert(0, _more(len(sizes) - len(rows), "size"))
    cut = ", ".join(part for part in left if part)
    return [head, *rows, *([Text(f"… and {cut}", "dim")] if cut else [])]


def _more(count: int, what: str) -> str:
    return f"{count} more {what}{'s' * (count > 1)}" if count else ""


def _shown(cells: Mapping[tuple[int, int], GridCell]) -> dict[tuple[int, int], tuple[str, str, str]]:
    return {
        place: ("·" if cell.regret is None else number(cell.regret), f"{cell.done}/{cell.total}", cell.marks)
        for place, cell in cells.items()
    }


def _column(parts: Mapping[tuple[int, int], tuple[str, str, str]], k: int, counted: bool) -> dict[int, str]:
    """Texts of one width k by n, with their parts aligned."""
    by_size = {n: part for (n, width), part in parts.items() if width == k}
    wide = [max(len(part[index]) for part in by_size.values()) for index in range(3)]
    # A mark has its place before there is one: columns that move are hard to read.
    wide[2] = max(wide[2], 1)
    return {
        n: f"{value:>{wide[0]}}" + f" {count:>{wide[1]}}" * counted + f"{marks:<{wide[2]}}"
        for n, (value, count, marks) in by_size.items()
    }


def _fitting(columns: Sequence[int], room: int) -> int:
    """Number of columns that fit, counted from the left."""
    used = 0
    for index, wide in enumerate(columns):
        used += wide
        if used > room:
            return index
    return len(columns)


def _row(
    n: int,
    side: int,
    columns: Mapping[int, int],
    cells: Mapping[tuple[int, int], GridCell],
    texts: Mapping[int, Mapping[int, str]],
    scale: ColourScale | None,
) -> Text:
    """Row of the grid for one n; ``columns`` are the characters of each width k."""
    regrets = {k: cells[n, k].regret if (n, k) in cells else None for k in columns}
    known = [regret for regret in regrets.values() if regret is not None]
    line = Text().append(f"{n:>{side}} ", "bold")
    for k, wide in columns.items():
        text, regret = texts[k].get(n, ""), regrets[k]
        line.append(" " * (wide - len(text)))
        style = Style(dim=True)
        if scale is not None and regret is not None:
            style = scale.style(regret, least=len(known) > 1 and regret == min(known))
        line.append(text, style)
    return line

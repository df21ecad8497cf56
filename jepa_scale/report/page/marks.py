"""Interactive points of a figure: marked when drawn, found again in the page's SVG."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PICK = "pick:"


def keyed(keys: Iterable[str]) -> str:
    """Return the ``gid`` of an artist with one marker for each of these keys of the page's data, in this order."""
    return _PICK + " ".join(keys)


def runs(rows: Iterable[int]) -> str:
    """Return the ``gid`` of an artist with one marker for each of these rows of the study's table, in this order."""
    return keyed(f"r{row}" for row in rows)


def cells(places: Iterable[tuple[int, int]], part: str = "") -> str:
    """Return the ``gid`` of an artist with one marker for each (n, k), in this order; ``part`` names arm or study."""
    return keyed(cell_key(n, k, part) for n, k in places)


def cell_key(n: int, k: int, part: str = "") -> str:
    """Return the key of a cell in the page's data."""
    return f"c{part}-{n}-{k}"


def marked(svg: str) -> str:
    """Return an SVG whose marked points carry ``class="pt"`` and their key, each in ``data-p``.

    A group with more or fewer markers than keys stays without: no answer is better than that of another point.
    """
    parts, end = [], 0
    for match in re.finditer(rf'<g id="{_PICK}([^"]*)">', svg):
        close = _end_of_group(svg, match.end())
        keys = iter(match[1].split())
        inside = svg[match.end() : close]
        if inside.count("<use ") == len(match[1].split()):
            inside = re.sub("<use ", lambda _: f'<use class="pt" data-p="{next(keys)}" ', inside)  # noqa: B023
        parts += [svg[end : match.start()], "<g>", inside]
        end = close
    return unmarked("".join([*parts, svg[end:]]))


def unmarked(svg: str) -> str:
    """Return an SVG without the keys, for a separate file."""
    return re.sub(rf'<g id="{_PICK}[^"]*"(/?)>', r"<g\1>", svg)


def _end_of_group(svg: str, start: int) -> int:
    depth = 1
    # Not the groups that are empty, which end where they begin.
    for tag in re.compile(r"<g(?: [^>]*[^/>])?>|</g>").finditer(svg, start):
        depth += 1 if tag[0] != "</g>" else -1
        if not depth:
            return tag.start()
    return len(svg)


def inlined(svg: str, prefix: str) -> str:
    """Return an SVG to embed in a page: all ids begin with ``prefix``, so that a page can hold several figures.

    Colours become variables, which the page sets for light and dark.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*\n\s*", "\n", marked(text))
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    # A style element would reach beyond its SVG into the page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"((?:fill|stroke|stop-color): ?)#([0-9a-f]{6})\b", r"\1var(--k\2)", text)
    # The page sets the width; the viewBox keeps the proportions.
    head, body = text.split(">", 1)
    width = float(re.search(r'width="([0-9.]+)pt"', head)[1])  # type: ignore[index]
    head = re.sub(r'\s(?:width|height|version|xmlns:xlink)="[^"]*"', "", head)
    return f'{head} style="--w:{width:.0f}pt;stroke-linejoin:round;stroke-linecap:butt">{body}'


def colors_of(body: str) -> list[str]:
    """Return every colour that a page's figures use, as #rrggbb."""
    return sorted({f"#{color}" for color in re.findall(r"var\(--k([0-9a-f]{6})\)", body)})

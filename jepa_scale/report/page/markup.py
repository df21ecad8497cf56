"""Small pieces of HTML; every text from outside passes through ``text``."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from jepa_scale.report.page.marks import colors_of
from jepa_scale.report.page.stylesheet import css
from jepa_scale.texts import clean


def text(value: object) -> str:
    """Escape a text for HTML, quotes included, and show control characters instead of sending them."""
    return escape(clean(str(value)), quote=True)


_INDEX = re.compile(r"_(?:\{([^{}]*)\}|([0-9A-Za-z])(?![0-9A-Za-z_]))")


def formula(value: object) -> str:
    """Escape a text of ours for HTML, and set indices such as those of z_{t+1} and s_i lower.

    Not for texts from outside, whose underscores may be part of a name.

    Examples
    --------
    >>> formula("T = Σ s_i² of z_{t+1}; tail_dict stays")
    'T = Σ s<sub>i</sub>² of z<sub>t+1</sub>; tail_dict stays'
    """
    return _INDEX.sub(lambda found: f"<sub>{found[1] or found[2]}</sub>", text(value))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", numbers: Sequence[int] = ()) -> str:
    """Return a table that scrolls sideways; cells are HTML already, ``numbers`` are the columns set flush right."""
    kinds = [' class="number"' if column in numbers else "" for column in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{cell}</th>' for kind, cell in zip(kinds, head, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    title = f"<caption>{caption}</caption>" if caption else ""
    return f'<div class="wide"><table>{title}<thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def section(identity: str, title: str, *parts: str, closed: bool = False, printed: bool = True) -> str:
    """Return a section with its heading; one that is ``closed`` shows its content when its heading is clicked.

    On paper its content stands as well, unless it is not to be ``printed``: then only if it has been unfolded.
    """
    content = "\n".join(parts)
    if not closed:
        return f'<section id="{identity}"><h2>{text(title)}</h2>\n{content}</section>'
    kind = "section" if printed else "section screen"
    return (
        f'<section id="{identity}"><details class="{kind}"><summary><h2>{text(title)}</h2></summary>\n{content}'
        "</details></section>"
    )


def sections(
    bodies: Mapping[str, tuple[str, str]], closed: Collection[str] = (), screen: Collection[str] = ()
) -> tuple[str, str]:
    """Return the links to sections, given as id → title and content, and the sections.

    Those in ``closed`` are folded; those of them in ``screen`` are folded on paper too.
    """
    links = "".join(f'<li><a href="#{identity}">{text(title)}</a></li>' for identity, (title, _) in bodies.items())
    body = "\n".join(
        section(identity, title, content, closed=identity in closed, printed=identity not in screen)
        for identity, (title, content) in bodies.items()
    )
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>', body


def folded(summary: str, content: str) -> str:
    """Return content that a reader can unfold; paper has it if it has been unfolded."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def says(sentences: Sequence[str]) -> str:
    """Return a list of plain sentences."""
    return '<ul class="says">' + "".join(f"<li>{text(sentence)}</li>" for sentence in sentences) + "</ul>"


def paragraph(sentence: str, kind: str = "note") -> str:
    """Return a paragraph of plain text."""
    return f'<p class="{kind}">{text(sentence)}</p>'


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list | tuple) else value


def json_block(content: Mapping[str, Any]) -> str:
    """Return data for the page's script as JSON, escaped so that no content can end the block."""
    data = json.dumps(_cleaned(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        data = data.replace(letter, f"\\u{ord(letter):04x}")
    return f'<script type="application/json" id="page-data">{data}</script>'


SCRIPT = Path(__file__).parent / "page.js"
"""Script of every page."""


def document(title: str, body: str, data: Mapping[str, Any] | None = None, head: str = "") -> str:
    """Return a self-contained page; ``data`` is shown for its points and in its table of runs."""
    script = SCRIPT.read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">{head}
<title>{text(title)}</title>
<style>{css(colors_of(body))}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<main id="content" tabindex="-1">
<button type="button" id="theme" class="tool">Theme</button>
{body}
</main>
<div id="tip" aria-hidden="true" hidden></div>
{"" if data is None else json_block(data)}
<script>{script}</script>
</body>
</html>
"""


def card(identity: str, title: str, caption: str, svg: str, files: Sequence[str] = ()) -> str:
    """Return a figure with its caption, which names it; the drawing's own label says what can be done with it.

    ``files`` are the figure's twins, relative to the page.
    """
    points = svg.count('class="pt"')
    answers = points > 0
    label = f"Chart of {points} points; the arrow keys walk over them" if answers else "Chart, explained below"
    # A picture is one thing to a screen reader; a group lets it reach the points.
    drawn = svg.replace("<svg ", f'<svg role="{"group" if answers else "img"}" aria-label="{label}" ', 1)
    links = " · ".join(f'<a href="{text(file)}">{text(file.rpartition(".")[2].upper())}</a>' for file in files)
    twins = f' <span class="files">For papers: {links}.</span>' if files else ""
    return (
        f'<figure id="{identity}"><div class="card">{drawn}</div>'
        f"<figcaption><b>{text(title)}.</b> {text(caption)}{twins}</figcaption></figure>"
    )

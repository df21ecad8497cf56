"""Small pieces of HTML; every text from outside passes through ``text``."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from jepa_scale.report.stylesheet import CSS


def text(value: object) -> str:
    """Escape a text for HTML, quotes included."""
    return escape(str(value), quote=True)


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


def section(identity: str, title: str, *parts: str) -> str:
    """Return a section with its heading."""
    return f'<section id="{identity}"><h2>{text(title)}</h2>\n' + "\n".join(parts) + "</section>"


def says(sentences: Sequence[str]) -> str:
    """Return a list of plain sentences."""
    return '<ul class="says">' + "".join(f"<li>{text(sentence)}</li>" for sentence in sentences) + "</ul>"


def paragraph(sentence: str, kind: str = "note") -> str:
    """Return a paragraph of plain text."""
    return f'<p class="{kind}">{text(sentence)}</p>'


def document(title: str, body: str) -> str:
    """Return a page that needs nothing else."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<style>{CSS}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def card(identity: str, title: str, caption: str, svg: str) -> str:
    """Return a figure with its caption; the same words serve those who cannot see it."""
    label = text(f"{title}. {caption}")
    drawn = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return (
        f'<figure id="{identity}"><div class="card">{drawn}</div>'
        f"<figcaption><b>{text(title)}.</b> {text(caption)}</figcaption></figure>"
    )

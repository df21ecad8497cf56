"""Style sheet of a page: for screens, a dark theme, phones and paper."""

from __future__ import annotations

from collections.abc import Iterable

from jepa_scale.report.page.palette import DARK_CARD, LIGHT_CARD, in_the_dark

LIGHT = {
    "ink": "#1f2933", "muted": "#55606c", "line": "#d9dee3", "edge": "#7b8794", "page": "#fbfbfa",
    "card": LIGHT_CARD, "accent": "#1d5f8a", "alarm": "#a63a0a", "alarm-card": "#fdf1ea", "mark": "#fff3c4",
}  # fmt: skip
DARK = {
    "ink": "#e4e7eb", "muted": "#a5b0bc", "line": "#38414b", "edge": "#7c8894", "page": "#14181d",
    "card": DARK_CARD, "accent": "#7cc0ec", "alarm": "#ff9d6b", "alarm-card": "#3a2418", "mark": "#4a3f14",
}  # fmt: skip


def css(colors: Iterable[str]) -> str:
    """Return the style sheet, with the colours (#rrggbb) that the page's figures use for both themes."""
    ordered = sorted(colors)
    light = _variables({**LIGHT, **{f"k{color[1:]}": color for color in ordered}})
    dark = _variables({**DARK, **{f"k{color[1:]}": in_the_dark(color) for color in ordered}})
    # Paper is white whatever the screen is.
    return (
        f":root {{ {light} color-scheme: light; }}\n"
        "@media screen and (prefers-color-scheme: dark) {\n"
        f"  :root:not([data-theme=light]) {{ {dark} color-scheme: dark; }}\n}}\n"
        f"@media screen {{\n  :root[data-theme=dark] {{ {dark} color-scheme: dark; }}\n}}\n{_RULES}"
    )


def _variables(values: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in values.items())


_RULES = """\
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header { border-bottom: 2px solid var(--ink); padding-bottom: 1.25rem; margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .35rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 2.75rem 0 .75rem; padding-top: .5rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.5rem 0 .4rem; }
p, li { max-width: 46rem; overflow-wrap: break-word; }
.question { font-size: 1.1rem; color: var(--muted); margin: 0; }
.lead { font-size: 1.05rem; }
.verdict { font-size: 1.3rem; line-height: 1.4; font-weight: 600; margin: 1rem 0 .6rem; max-width: 62rem; }
.next { margin: .3rem 0 .8rem; } .next code { white-space: nowrap; }
.answer { font-size: 1.14rem; line-height: 1.5; padding-left: 1.4rem; }
.answer li { margin: .5rem 0; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0; margin: 1rem 0 0;
  font-size: .9rem; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 2px; }
.skip { position: absolute; left: -100vw; background: var(--card); padding: .5rem 1rem; z-index: 3; }
.skip:focus { left: .5rem; top: .5rem; }
button, input { font: inherit; font-size: .9rem; color: var(--ink); background: var(--card);
  border: 1px solid var(--edge); border-radius: .35rem; padding: .3rem .7rem; }
button { cursor: pointer; }
button:hover { border-color: var(--ink); }
html:not(.js) .tool { display: none; }
#theme { float: right; margin: 0 0 .5rem 1rem; }
.tools { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: .75rem 0; }
.tools label { flex: 1 1 16rem; display: flex; gap: .5rem; align-items: center; }
.tools input { flex: 1; min-width: 0; }
.keys { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(9.5rem, 100%), 1fr)); gap: .75rem;
  margin: 1rem 0; }
.key { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .85rem; }
.key b { display: block; font-size: 1.15rem; line-height: 1.3; overflow-wrap: anywhere; }
.key span { color: var(--muted); font-size: .84rem; }
.side { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.side h3 { margin-top: 0; overflow-wrap: anywhere; } .side ol { padding-left: 1.2rem; }
ul.says { padding-left: 1.15rem; margin: .25rem 0 0; }
ul.says li { margin: .25rem 0; }
li.alarm, p.alarm { color: var(--alarm); background: var(--alarm-card); border-left: 3px solid var(--alarm);
  padding: .15rem .6rem; border-radius: 0 .25rem .25rem 0; }
figure { margin: 1.5rem 0 2.25rem; break-inside: avoid; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .9rem;
  overflow-x: auto; }
.card svg { display: block; width: 100%; max-width: calc(1.5 * var(--w)); min-width: calc(.95 * var(--w));
  height: auto; margin: 0 auto; }
.pt:focus { outline: none; }
.pin { fill: none; stroke: var(--alarm); stroke-width: 2.2px; pointer-events: none; }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.8px; pointer-events: none; }
#tip { position: absolute; z-index: 2; max-width: min(24rem, 92vw); padding: .45rem .7rem; font-size: .84rem;
  line-height: 1.4; background: var(--card); color: var(--ink); border: 1px solid var(--edge); border-radius: .4rem;
  box-shadow: 0 2px 10px #0003; pointer-events: none; overflow-wrap: anywhere; }
#tip b, #tip span { display: block; }
figcaption { color: var(--muted); font-size: .9rem; margin-top: .6rem; max-width: 50rem; }
figcaption b { color: var(--ink); }
/* A table wider than the text takes what the window has, on both sides. */
.wide { overflow-x: auto; width: max-content; min-width: 100%; max-width: min(100vw - 2.5rem, 84rem);
  margin: .75rem 0 1.25rem 50%; translate: -50%; }
/* What is cut off fades out, so that nobody takes the edge for the end. */
.more { mask-image: linear-gradient(to right, #000 calc(100% - 3rem), #0003); }
@media screen {
  .wide table:not(.heat) > * > tr > :first-child, .heat tr > th:first-child { position: sticky; left: 0; z-index: 1;
    background: var(--page); }
}
.tall { max-height: 75vh; overflow: auto; border: 1px solid var(--line); border-radius: .35rem; }
.tall thead th { position: sticky; top: 0; background: var(--page); z-index: 1; }
.wide.tall thead tr > th:first-child { z-index: 2; }
table { min-width: min(22rem, 100%); border-collapse: collapse; font-size: .88rem; line-height: 1.4; }
caption { text-align: left; color: var(--muted); padding-bottom: .4rem; }
th, td { padding: .35rem .65rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 1.5px solid var(--muted); white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
#runs-table code { white-space: nowrap; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
th[aria-sort] button::after { content: " ↕"; color: var(--muted); }
th[aria-sort=ascending] button::after { content: " ↑"; color: var(--ink); }
th[aria-sort=descending] button::after { content: " ↓"; color: var(--ink); }
tr.pinned td { background: var(--mark); }
tr.pinned td:first-child { border-left: 4px solid var(--accent); }
table.heat td { text-align: center; border: 2px solid var(--page); white-space: nowrap; min-width: 5.6rem; }
table.heat td small { display: block; }
table.heat thead th { text-align: center; } table.heat tbody th { white-space: nowrap; }
/* Black on every shade, whatever the theme: the shades are the same in both. */
table.heat td.best { outline: 2px solid #000; outline-offset: -4px; font-weight: 700; }
.prose { min-width: 17rem; max-width: 30rem; } code.formula { display: inline-block; min-width: 13rem; }
.no { color: var(--alarm); font-weight: 600; }
.note { color: var(--muted); font-size: .88rem; }
details { margin: 1rem 0; }
details.section > summary { cursor: pointer; } details.section > summary h2 { display: inline; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .35rem 1rem; font-size: .92rem; }
dt { font-weight: 600; } dd { margin: 0; max-width: 44rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .35rem; padding: .7rem .9rem;
  font-size: .84rem; line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0;
  max-height: 26rem; overflow-y: auto; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
code { font-size: .86em; overflow-wrap: anywhere; }
@media (max-width: 36rem) {
  main { padding: 1.25rem .8rem 3rem; } h1 { font-size: 1.5rem; } dl { grid-template-columns: 1fr; }
  .card { padding: .5rem; } .verdict { font-size: 1.12rem; } .next code { white-space: normal; }
  .answer { font-size: 1.05rem; padding-left: 1.1rem; }
  .card svg { min-width: calc(.62 * var(--w)); }
  .wide { max-width: calc(100vw - 1.6rem); } .prose { min-width: 13rem; }
}
@page { margin: 15mm; }
@media print {
  body { font-size: 9.5pt; line-height: 1.4; } main { max-width: none; padding: 0; } h2, h3 { break-after: avoid; }
  nav, .tool, .skip, #tip, .ring, .pin { display: none !important; }
  .wide, .card, .tall, pre { overflow: visible; max-height: none; } .prose { min-width: 9em; }
  code.formula { min-width: 0; }
  .wide { width: auto; max-width: none; margin-left: 0; translate: none; } .more { mask-image: none; }
  .card svg { min-width: 0; max-width: 100%; max-height: 7.5cm; }
  #runs-table code { white-space: normal; }
  table { font-size: 7.5pt; } th, td { padding: .15rem .3rem; overflow-wrap: break-word; }
  #runs-table { font-size: 6.2pt; } #runs-table th, #runs-table td { padding: .1rem .2rem; }
  .tall thead th { position: static; } tr { break-inside: avoid; }
  tr[hidden] { display: table-row !important; }
  td.number, th.number, thead th, table.heat td, table.heat th { white-space: normal; }
  table.heat td { min-width: 0; } table.heat td, table.heat th { padding: .1rem .2rem; }
  details.section:not(.screen)::details-content { content-visibility: visible !important; height: auto !important; }
  .verdict { font-size: 13pt; } .answer { font-size: 10pt; } .answer li { margin: .25rem 0; }
  h2 { margin: 1.2rem 0 .5rem; }
  .keys { grid-template-columns: repeat(3, 1fr); gap: .4rem; } .key { padding: .35rem .6rem; }
  figure { margin: .8rem 0 1rem; } figcaption { font-size: 8pt; } ul.says { font-size: 9pt; }
  table.heat td, .card svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  th[aria-sort] button::after { content: "" !important; }
}
"""

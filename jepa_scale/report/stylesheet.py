"""The page's style sheet: readable on a screen, in the dark, on a phone and on paper."""

CSS = """
:root { --ink: #1f2933; --muted: #5b6672; --line: #d9dee3; --page: #fbfbfa; --card: #ffffff; --accent: #1d5f8a;
  --alarm: #a63a0a; --alarm-card: #fdf1ea; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --muted: #9aa5b1; --line: #38414b; --page: #14181d; --card: #1c2229; --accent: #7cc0ec;
    --alarm: #ff9d6b; --alarm-card: #3a2418; }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 56rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header { border-bottom: 2px solid var(--ink); padding-bottom: 1.25rem; margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .35rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .75rem; padding-top: .5rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.5rem 0 .4rem; }
p, li { max-width: 46rem; }
.question { font-size: 1.1rem; color: var(--muted); margin: 0; }
.lead { font-size: 1.05rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0; margin: 1rem 0 0;
  font-size: .9rem; }
a { color: var(--accent); }
.keys { display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.key { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .85rem; }
.key b { display: block; font-size: 1.15rem; line-height: 1.3; }
.key span { color: var(--muted); font-size: .84rem; }
ul.says { padding-left: 1.15rem; margin: .25rem 0 0; }
ul.says li { margin: .25rem 0; }
li.alarm, p.alarm { color: var(--alarm); background: var(--alarm-card); border-left: 3px solid var(--alarm);
  padding: .15rem .6rem; border-radius: 0 .25rem .25rem 0; }
figure { margin: 1.5rem 0 2.25rem; break-inside: avoid; }
figure .card { background: #ffffff; border: 1px solid var(--line); border-radius: .5rem; padding: .9rem; }
figure svg { display: block; width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--muted); font-size: .9rem; margin-top: .6rem; max-width: 50rem; }
figcaption b { color: var(--ink); }
.wide { overflow-x: auto; margin: .75rem 0 1.25rem; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.4; }
caption { text-align: left; color: var(--muted); padding-bottom: .4rem; }
th, td { padding: .35rem .65rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 1.5px solid var(--muted); white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
table.heat td { text-align: center; border: 2px solid var(--page); white-space: nowrap; min-width: 5.6rem; }
table.heat td small { display: block; opacity: .85; }
table.heat td.best { outline: 2px solid var(--ink); outline-offset: -2px; font-weight: 700; }
.no { color: var(--alarm); font-weight: 600; }
.note { color: var(--muted); font-size: .88rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .35rem 1rem; font-size: .92rem; }
dt { font-weight: 600; } dd { margin: 0; max-width: 44rem; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .86em; overflow-wrap: anywhere; }
@media (max-width: 36rem) {
  main { padding: 1.25rem .8rem 3rem; } h1 { font-size: 1.5rem; } dl { grid-template-columns: 1fr; }
}
@media print {
  :root { --ink: #000; --muted: #444; --line: #bbb; --page: #fff; --card: #fff; --accent: #000;
    --alarm: #a63a0a; --alarm-card: #fff; }
  main { max-width: none; padding: 0; } nav { display: none; } h2 { break-after: avoid; } tr { break-inside: avoid; }
  table.heat td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10pt; }
}
"""

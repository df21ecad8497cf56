"""The gallery: every committed table with its question, command, notes and figure."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import yaml
from matplotlib.figure import Figure
from tables import ROOT, TABLES, grouped, read_table

THEMES = {"light": ("#1c2229", "#d5dae0"), "dark": ("#e6e9ed", "#3d4650")}
"""Ink and grid of figures on a light and on a dark page."""
_OWN_FIGURES = {"point_mass_noise": "point_mass_noise.png"}
# Files of studies that are not named after their table.
_SWEEPS = {"objectives_point_mass": "objectives", "point_mass_nk": "library/point_mass_nk"}


def page() -> str:
    """Return the gallery as Markdown."""
    parts = [
        "# Gallery of studies",
        "",
        "Every table in `benchmarks/tables` holds one row per run. The figures on this page are drawn from those tables "
        "when the site is built: means over seeds, bars of one standard error. Columns are explained in the "
        "[glossary](../concepts/glossary.md).",
        "",
    ]
    notes = _notes()
    for name in names():
        parts += [f"## {name.replace('_', ' ')} {{ #{name} }}", "", *_question(name)]
        if name in _OWN_FIGURES:
            parts += [f"![{name}](../assets/benchmarks/{_OWN_FIGURES[name]})", ""]
        else:
            parts += [f"![{name}: {_caption(name)}](figures/{name}-{theme}.svg#only-{theme})" for theme in THEMES]
            parts += ["", f"*{_caption(name)}*", ""]
        parts += [f"Table: `benchmarks/tables/{name}.parquet`, {_runs(name)}.", ""]
        if notes.get(name):
            parts += [notes[name], ""]
    return "\n".join([*parts, "## audit verdicts { #audit_verdicts }", "", notes["audit_verdicts"], ""])


def names() -> list[str]:
    """Return the names of the tables of studies."""
    return sorted(path.stem for path in TABLES.glob("*.parquet"))


def figures() -> Iterator[tuple[str, bytes]]:
    """Yield the figures' file names and contents, one for each theme."""
    for name in names():
        if name in _OWN_FIGURES:
            continue
        light = svg(draw(name, *THEMES["light"]))
        yield f"{name}-light.svg", light
        # The same figure in other ink: drawing it again would take as long again.
        for old, new in zip(THEMES["light"], THEMES["dark"], strict=True):
            light = light.replace(old.encode(), new.encode())
        yield f"{name}-dark.svg", light


def _question(name: str) -> list[str]:
    path = ROOT / "sweeps" / f"{_SWEEPS.get(name, name)}.yaml"
    return [" ".join(yaml.safe_load(path.read_text(encoding="utf-8"))["question"].split()), ""] if path.exists() else []


def _runs(name: str) -> str:
    states = read_table(name)["status"]
    lost = sum(state != "finished" for state in states)
    return f"{len(states)} runs" + (f", {lost} of them diverged" if lost else "")


def _notes() -> dict[str, str]:
    """Sections of the tables' README by the tables that their headings name."""
    found: dict[str, str] = {}
    text = (TABLES / "README.md").read_text(encoding="utf-8")
    for heading, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE):
        first, *others = re.findall(r"`(\w+)\.\w+`", heading)
        found[first] = body.strip()
        for other in others:
            found[other] = f"How it was run: see [{first.replace('_', ' ')}](#{first})."
    return found


def _quantity(data: Mapping[str, list[Any]]) -> str:
    """Success where planning was scored by sampled tasks with an amortised planner's, else regret."""
    return "success" if any(map(_known, data.get("success", []))) else "regret"


def _known(value: float | None) -> bool:
    return value is not None and value == value


def _panels(data: Mapping[str, list[Any]]) -> list[str]:
    return sorted(set(data.get("arm", [""] * len(data["n"]))))


def _caption(name: str) -> str:
    data = read_table(name)
    what = "success of planning" if _quantity(data) == "success" else "planning regret"
    if len(set(data["k"])) == 1:
        return f"{what} by setting, one colour for each n"
    panel = ", one panel for each setting" if len(_panels(data)) > 1 else ""
    return f"{what} by n, one line for each width k{panel}"


def draw(name: str, ink: str, grid: str) -> Figure:
    """Draw a table: lines of n for each width, or dots for each setting where there is one width only."""
    data = read_table(name)
    panels, quantity = _panels(data), _quantity(data)
    if len(set(data["k"])) == 1:
        return _dots(data, panels, quantity, ink, grid)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(7.2 if columns > 1 else 6.0, 2.6 * rows if columns > 1 else 3.2), layout="constrained", facecolor="none")
    axes = figure.subplots(rows, columns, sharey=len(panels) < 12, squeeze=False)
    widths = sorted(set(data["k"]))
    colours = matplotlib.colormaps["viridis"](np.linspace(0.25, 0.85, len(widths)))
    for place, axis in enumerate(axes.flat):
        if place >= len(panels):
            axis.set_visible(False)
            continue
        for width, colour in zip(widths, colours, strict=True):
            points = _means(data, quantity, panels[place], width)
            if points:
                x, y, error = zip(*points, strict=True)
                axis.errorbar(x, y, error, color=colour, marker="o", markersize=3, linewidth=1.3, label=f"k = {width}")
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        if len(panels) > 1:
            axis.set_title(_setting(panels[place]), fontsize=8, color=ink)
        style(axis, ink, grid)
    figure.supxlabel("transitions n", fontsize=9, color=ink)
    figure.supylabel(quantity, fontsize=9, color=ink)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False, labelcolor=ink)
    return figure


def _dots(data: Mapping[str, list[Any]], panels: list[str], quantity: str, ink: str, grid: str) -> Figure:
    if any(map(_known, data.get("success_policy", []))):
        quantity = "success_policy"
    sizes, width = sorted(set(data["n"])), data["k"][0]
    figure = Figure(figsize=(6.4, 0.34 * len(panels) + 1.1), layout="constrained", facecolor="none")
    axis = figure.subplots()
    colours = matplotlib.colormaps["viridis"](np.linspace(0.35, 0.8, len(sizes)))
    for size, colour in zip(sizes, colours, strict=True):
        for place, panel in enumerate(panels):
            for n, mean, error in _means(data, quantity, panel, width):
                if n == size:
                    axis.errorbar(mean, place, xerr=error, color=colour, marker="o", markersize=5, label=grouped(size))
    axis.set_yticks(range(len(panels)), [_setting(panel) for panel in panels])
    axis.set_ylim(len(panels) - 0.5, -0.5)
    axis.set_xlim(left=0)
    axis.set_xlabel(quantity.replace("_", " of the "), fontsize=9, color=ink)
    handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(), [f"n = {size}" for size in handles], loc="outside right upper", fontsize=8, frameon=False,
        labelcolor=ink,
    )  # fmt: skip
    style(axis, ink, grid)
    return figure


def _setting(arm: str) -> str:
    """An arm in words: "objective=latent, world.noisy_goal=true" is "latent, noisy goal"."""
    words = []
    for part in arm.split(", "):
        key, _, value = part.partition("=")
        name = key.rpartition(".")[2].replace("_", " ")
        if not value:
            words.append(part.replace("_", " "))
        elif value in ("true", "false"):
            words.append(name if value == "true" else f"no {name}")
        elif re.fullmatch(r"[\d.]+", value):
            words.append(f"{name} {value}")
        else:
            words.append(value.replace("_", " "))
    return ", ".join(words)


def _means(data: Mapping[str, list[Any]], quantity: str, arm: str, width: int) -> list[tuple[int, float, float]]:
    arms = data.get("arm", [""] * len(data["n"]))
    found: dict[int, list[float]] = {}
    for i, value in enumerate(data[quantity]):
        if arms[i] == arm and data["k"][i] == width and data["status"][i] == "finished" and _known(value):
            found.setdefault(data["n"][i], []).append(value)
    return [
        (n, float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0)
        for n, values in sorted(found.items())
    ]


def style(axis: Any, ink: str, grid: str) -> None:
    """Colour ticks, spines and grid, without a frame."""
    axis.tick_params(colors=ink, labelsize=8)
    axis.grid(color=grid, linewidth=0.6)
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink)
    axis.patch.set_alpha(0)


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG that is the same for the same numbers."""
    written = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "jepa-scale", "svg.fonttype": "path"}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def write(path: Path, figure: Figure) -> None:
    """Write a figure as SVG."""
    path.write_bytes(svg(figure))

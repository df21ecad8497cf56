"""The gallery: every committed table with its question, command, notes and figure."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import yaml
from matplotlib.figure import Figure
from tables import ROOT, TABLES, grouped, read_table

from jepa_scale.report.page.palette import in_the_dark, spread

THEMES = ("light", "dark")
INK, GRID = "#1c2229", "#d5dae0"
"""Colours of text and grid on a light page."""
_OWN_FIGURES = {"point_mass_noise": "point_mass_noise.png"}
# Files of studies that are not named after their table.
_SWEEPS = {"objectives_point_mass": "objectives", "point_mass_nk": "library/point_mass_nk"}


def page() -> str:
    """Return the gallery as Markdown."""
    parts = [
        "# Gallery of studies",
        "",
        "Every table in `benchmarks/tables` holds one row per run. The figures on this page are drawn from those "
        "tables when the site is built: means over seeds, bars of one standard error. Columns are explained in the "
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
    for name in sorted(set(notes) - set(names())):
        parts += [f"## {name.replace('_', ' ')} {{ #{name} }}", "", f"Table: `benchmarks/tables/{name}.csv`.", ""]
        parts += [notes[name], ""]
    return "\n".join(parts)


def names() -> list[str]:
    """Return the names of the tables of studies."""
    return sorted(path.stem for path in TABLES.glob("*.parquet"))


def figures() -> Iterator[tuple[str, bytes]]:
    """Yield the figures' file names and contents, one for each theme."""
    for name in names():
        if name in _OWN_FIGURES:
            continue
        light = svg(draw(name))
        yield f"{name}-light.svg", light
        yield f"{name}-dark.svg", darkened(light)


def darkened(figure: bytes) -> bytes:
    """Return an SVG with its colours turned for a dark page, each as easy to see as it was on a light one."""
    return re.sub(rb"(?<=: )#[0-9a-f]{6}\b", lambda match: in_the_dark(match[0].decode()).encode(), figure)


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


def draw(name: str) -> Figure:
    """Draw a table: lines of n for each width, or dots for each setting where there is one width only."""
    data = read_table(name)
    panels, quantity = _panels(data), _quantity(data)
    if len(set(data["k"])) == 1:
        return _dots(data, panels, quantity)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(
        figsize=(7.2 if columns > 1 else 6.0, 2.6 * rows if columns > 1 else 3.2),
        layout="constrained",
        facecolor="none",
    )
    axes = figure.subplots(rows, columns, sharey=len(panels) < 12, squeeze=False)
    widths = sorted(set(data["k"]))
    colours = spread(len(widths), "viridis")
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
        axis.set_xticks(sorted(set(data["n"])), [_short(n) for n in sorted(set(data["n"]))])
        axis.minorticks_off()
        if len(panels) > 1:
            axis.set_title(_setting(panels[place]), fontsize=8, color=INK)
        style(axis)
    for axis in axes.flat:
        axis.set_ylim(bottom=0)
    figure.supxlabel("transitions n", fontsize=9, color=INK)
    figure.supylabel(quantity, fontsize=9, color=INK)
    # Panels may have other widths.
    found = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    labels = [label for label in (f"k = {width}" for width in widths) if label in found]
    figure.legend(
        [found[label] for label in labels], labels, loc="outside right upper", fontsize=8, frameon=False, labelcolor=INK
    )
    return figure


def _short(n: int) -> str:
    return f"{n // 1000}k" if n >= 1000 and n % 1000 == 0 else str(n)


def _dots(data: Mapping[str, list[Any]], panels: list[str], quantity: str) -> Figure:
    if any(map(_known, data.get("success_policy", []))):
        quantity = "success_policy"
    sizes, width = sorted(set(data["n"])), data["k"][0]
    figure = Figure(figsize=(6.4, 0.34 * len(panels) + 1.1), layout="constrained", facecolor="none")
    axis = figure.subplots()
    colours = spread(len(sizes), "viridis")
    for size, colour in zip(sizes, colours, strict=True):
        for place, panel in enumerate(panels):
            for n, mean, error in _means(data, quantity, panel, width):
                if n == size:
                    axis.errorbar(mean, place, xerr=error, color=colour, marker="o", markersize=5, label=grouped(size))
    for place, panel in enumerate(panels):
        if not any(_means(data, quantity, panel, width)):
            axis.annotate(
                "diverged", (0, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK
            )
    axis.set_yticks(range(len(panels)), [_setting(panel) for panel in panels])
    axis.set_ylim(len(panels) - 0.5, -0.5)
    axis.set_xlim(left=0)
    axis.set_xlabel(quantity.replace("_", " of the "), fontsize=9, color=INK)
    handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(), [f"n = {size}" for size in handles], loc="outside right upper", fontsize=8, frameon=False,
        labelcolor=INK,
    )  # fmt: skip
    style(axis)
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
    return [(n, *mean_and_error(values)) for n, values in sorted(found.items())]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return a mean and its standard error, which is 0 of a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def style(axis: Any) -> None:
    """Colour ticks, spines and grid, without a frame."""
    axis.tick_params(colors=INK, labelsize=8)
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    axis.patch.set_alpha(0)


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG that is the same for the same numbers."""
    written = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "jepa-scale", "svg.fonttype": "path"}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()

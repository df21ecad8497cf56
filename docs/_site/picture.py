"""Draws the picture of the README and the site's first page from the committed table of the quickstart.

python docs/_site/picture.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
from gallery import GRID, INK, darkened, style, svg
from tables import ROOT, grouped, read_table

import jepa_scale
from jepa_scale.report.page.palette import LIGHT_CARD, spread

TARGET = 0.02
"""Target regret of the study."""
_ZERO = 0.001
"""Regrets below this are drawn on the axis: the scale is linear from there to 0."""


def numbers() -> dict[str, Any]:
    """Return what is drawn: means ± errors of every cell, and forecasts of the largest n from the others.

    Numbers are rounded, so that the picture is the same wherever it is drawn.
    """
    data = read_table("quickstart")
    sizes, widths = sorted(set(data["n"])), sorted(set(data["k"]))
    cells = {}
    for n in sizes:
        for k in widths:
            runs = [data["regret"][i] for i in range(len(data["n"])) if (data["n"][i], data["k"][i]) == (n, k)]
            cells[n, k] = (float(np.mean(runs)), float(np.std(runs, ddof=1) / np.sqrt(len(runs))))
    smaller = [i for i, n in enumerate(data["n"]) if n < sizes[-1]]
    known = {name: [data[name][i] for i in smaller] for name in ("n", "k", "seed", "regret", "regret_random", "status")}
    forecast = jepa_scale.Runs.from_dataframe(known).forecast(n=[sizes[-1]] * len(widths), k=widths)
    fans = zip(widths, forecast.predicted, forecast.low, forecast.high, strict=True)
    return {
        "sizes": sizes,
        "widths": widths,
        "random": _round(data["regret_random"][0]),
        "cells": {key: (_round(mean), _round(error)) for key, (mean, error) in cells.items()},
        "forecasts": {k: (_round(mean), _round(low), _round(high)) for k, mean, low, high in fans},
    }


def _round(value: float) -> float:
    return round(float(value), 3)


def draw() -> Figure:
    """Draw regret against n, one line for each width, with the forecasts of the largest n."""
    shown = numbers()
    figure = Figure(figsize=(8.0, 3.9), layout="constrained", facecolor=LIGHT_CARD)
    axis = figure.subplots()
    colours = spread(len(shown["widths"]), "viridis")
    axis.axhline(shown["random"], color=INK, linewidth=0.8, linestyle=":")
    axis.annotate(f"random plans: {shown['random']:.2f}", (10_000, shown["random"]), (0, 3), color=INK,
                  fontsize=9, ha="center", textcoords="offset points")  # fmt: skip
    axis.axhline(TARGET, color=INK, linewidth=0.8, linestyle="--")
    axis.annotate(f"target: {TARGET}", (290, TARGET), (0, 3), color=INK, fontsize=9, textcoords="offset points")
    last = shown["sizes"][-1]
    for place, (k, colour) in enumerate(zip(shown["widths"], colours, strict=True)):
        mean, error = zip(*(shown["cells"][n, k] for n in shown["sizes"]), strict=True)
        axis.errorbar(shown["sizes"], mean, error, color=colour, marker="o", markersize=4, linewidth=1.6,
                      label=f"k = {k}")  # fmt: skip
        middle, low, high = shown["forecasts"][k]
        x = last * 1.16 * 1.09**place
        axis.errorbar(x, middle, [[max(middle - low, 0)], [max(high - middle, 0)]], color=colour, marker="o",
                      markerfacecolor=LIGHT_CARD, markersize=5, linewidth=1.2, capsize=2)  # fmt: skip
    axis.axvspan(last * 1.09, last * 2.0, color=GRID, alpha=0.35, linewidth=0)
    label = f"forecasts of n = {grouped(last)}\nfrom n ≤ {grouped(shown['sizes'][-2])}"
    axis.annotate(label, (last * 1.48, 0.7), (0, 3), ha="center", color=INK, fontsize=9, textcoords="offset points")
    axis.set_xscale("log")
    axis.set_xlim(270, last * 2.0)
    axis.set_xticks(shown["sizes"], [grouped(n) for n in shown["sizes"]])
    axis.minorticks_off()
    axis.set_yscale("symlog", linthresh=_ZERO, linscale=0.3)
    axis.set_ylim(-0.0001, 0.7)
    axis.set_yticks([0, 0.001, 0.01, 0.1, 0.5], ["0", "0.001", "0.01", "0.1", "0.5"])
    axis.set_xlabel("training transitions n", color=INK)
    axis.set_ylabel("planning regret", color=INK)
    style(axis)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK, fontsize=9, title="latent width",
                  title_fontsize=9).get_title().set_color(INK)  # fmt: skip
    return figure


def files() -> dict[str, bytes]:
    """Return the picture for both themes."""
    light = svg(draw())
    return {"light": light, "dark": darkened(light)}


def main() -> None:
    """Write the picture for both themes."""
    for theme, content in files().items():
        (ROOT / "docs" / "assets" / f"quickstart-{theme}.svg").write_bytes(content)


if __name__ == "__main__":
    main()

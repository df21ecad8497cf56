"""The quickstart's regret by width: networks at two learning rates, and exact minimisers of the empirical risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gallery import INK, mean_and_error, style
from matplotlib.figure import Figure
from tables import grouped, read_csv, read_table

from jepa_scale.report.page.palette import distinct

SIZES = (1000, 3000, 10000)
RATE = 0.00175
"""The lower of the two learning rates of the tuning check; the study's own is four times as high."""


def numbers() -> dict[str, dict[tuple[int, int], tuple[float, float]]]:
    """Return mean and standard error of the regret by (n, k) for each of the three."""
    tuning = read_csv("quickstart_tuning")
    kept = [place for place, rate in enumerate(tuning["rate"]) if rate == RATE]
    slow = {name: [column[place] for place in kept] for name, column in tuning.items()}
    return {
        "networks": _by_cell(read_table("quickstart")),
        "networks, a quarter of the rate": _by_cell(slow),
        "exact minimisers of the empirical risk": _by_cell(read_csv("quickstart_exact")),
    }


def _by_cell(data: Mapping[str, Sequence[float]]) -> dict[tuple[int, int], tuple[float, float]]:
    cells: dict[tuple[int, int], list[float]] = {}
    for n, k, regret in zip(data["n"], data["k"], data["regret"], strict=True):
        cells.setdefault((int(n), int(k)), []).append(regret)
    return {cell: mean_and_error(values) for cell, values in sorted(cells.items())}


def draw() -> Figure:
    """Draw regret against width, a panel for each n."""
    shown = numbers()
    figure = Figure(figsize=(8.0, 3.2), layout="constrained", facecolor="none")
    axes = figure.subplots(1, len(SIZES), sharey=True)
    colours = distinct(list(shown))
    looks = {"marker": "o", "markersize": 4}, {"marker": "D", "linestyle": "none", "markersize": 5}, {"linewidth": 0.8}
    for n, axis in zip(SIZES, axes, strict=True):
        for (name, cells), look in zip(shown.items(), looks, strict=True):
            points = [(k, *cells[size, k]) for size, k in cells if size == n]
            if points:
                k, mean, error = zip(*points, strict=True)
                axis.errorbar(k, mean, error, color=colours[name], label=name, **look)
        axis.set_xscale("log", base=2)
        axis.set_xticks(k, [str(width) for width in k])
        axis.minorticks_off()
        axis.set_title(f"n = {grouped(n)}", fontsize=9, color=INK)
        style(axis)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("planning regret", fontsize=9, color=INK)
    figure.supxlabel("latent width k", fontsize=9, color=INK)
    found = dict(zip(*reversed(axes[1].get_legend_handles_labels()), strict=True))
    figure.legend(found.values(), found, loc="outside upper center", ncols=3, fontsize=8, frameon=False, labelcolor=INK)
    return figure

"""Figure of what every epoch logged, for a few runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jepa_scale.records import StudyResult
from jepa_scale.report.figures.shared import name_lines
from jepa_scale.report.page import marks
from jepa_scale.report.page.style import EXACT, MUTED, NARROWEST, sequential, styled
from jepa_scale.report.summary import cells, finished, level, sizes, widths
from jepa_scale.report.wording import listed, plural, whole

NAME = "epochs"
TITLE = "Every epoch"
SECTION, PLACE = "training", 1

History = Sequence[Mapping[str, Any]]
"""Estimates of a run, as in its metrics file."""

_COLUMNS = 3
_ESTIMATE = "held-out\nestimate ± SE"


def missing(result: StudyResult) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    return "" if _chosen(result) else "No finished run has a history of epochs."


def caption(result: StudyResult) -> str:
    """Say what is shown, what the bands are and what was left out."""
    chosen = _chosen(result)
    n, seed = next((n, seed) for n, _, seed in chosen)
    flagged = sum(
        bool(row.get("flag"))
        for identity in chosen.values()
        for row in result.histories[identity]
        if row["name"] in ("spectrum/risk", "spectrum/gap")
    )
    absent = _absent(result, chosen.values())
    distrust = f" {plural(flagged, 'estimate')} among these carry a flag (see the metrics files)." if flagged else ""
    return (
        f"Estimates at the end of each epoch at n = {whole(n)}, seed {seed}, k = {listed([k for _, k, _ in chosen])} "
        "(1 seed for each column). "
        "Bands: ±1 jackknife standard error of the held-out estimate; exact curves have none. The gap is that of the "
        "learned features, not of the world. A bound above the dotted line at 1 is vacuous. "
        "Left out: every other run; their numbers are in the run folders."
        + (f" Not recorded by these runs: {listed(absent)}." if absent else "")
        + distrust
    )


@styled
def draw(result: StudyResult) -> Figure:
    """Draw one column for each run, one row for each quantity."""
    chosen = _chosen(result)
    rows = _rows(result, chosen.values())
    figure = Figure(figsize=(max(1.6 + 1.95 * len(chosen), NARROWEST), 0.6 + 1.5 * len(rows)))
    grid = figure.subplots(len(rows), len(chosen), sharex=True, sharey="row", squeeze=False)
    colors = sequential(widths(result.table), "plasma")
    places = {record.run_id: row for row, record in finished(result)}
    for column, ((_, k, _), identity) in enumerate(chosen.items()):
        for axes, (draw_row, _) in zip(grid[:, column], rows, strict=True):
            draw_row(axes, result, result.histories[identity], colors[k])
            for drawn in (line for line in axes.lines if line.get_marker() != "None"):
                drawn.set_gid(marks.runs([places[identity]] * len(drawn.get_xdata())))
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        grid[0, column].set_title(f"k = {k}")
        grid[-1, column].set_xlabel("epoch")
    for axes, (_, label) in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(label)
    figure.align_ylabels(grid[:, 0])
    for axes in grid[:, 0]:
        # Only now: the rows share their axis, and setting a limit ends its automatic scaling for every column.
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    for row in grid:
        name_lines(row)
    return figure


def _risk(axes: Any, result: StudyResult, rows: History, color: Any) -> None:
    _band(axes, rows, "spectrum/risk", color, _ESTIMATE)
    _line(axes, rows, "exact/risk", EXACT, "exact", "--")


def _gap(axes: Any, result: StudyResult, rows: History, color: Any) -> None:
    _band(axes, rows, "spectrum/gap", color, _ESTIMATE)


def _bound(axes: Any, result: StudyResult, rows: History, color: Any) -> None:
    # Runs of before have B1′ alone.
    name = "bound/best" if len(_series(rows, "bound/best")[0]) else "bound/b1_prime"
    _line(axes, rows, name, EXACT, "exact", "--")
    axes.axhline(1.0, color=MUTED, linestyle=":", linewidth=1, label="vacuous above")


def _regret(axes: Any, result: StudyResult, rows: History, color: Any) -> None:
    _line(axes, rows, f"regret/{result.score}", EXACT, "exact", "--")
    floor = level(result.table, "regret_random")
    if floor is not None:
        axes.axhline(floor, color=MUTED, linestyle="-.", linewidth=1, label="random plans")


_ROWS = {
    "spectrum/risk": (_risk, "risk R"),
    "spectrum/gap": (_gap, "gap of learned\nfeatures"),
    "bound/b1_prime": (_bound, "smallest bound"),
    "regret": (_regret, "expected\nregret"),
}
"""Scale and label of each quantity, by its name in the history."""


def _rows(result: StudyResult, identities: Iterable[str]) -> list[tuple[Callable[..., None], str]]:
    """Return the quantities that at least one of the runs has; the others get no empty row of panels."""
    histories = [result.histories[identity] for identity in identities]
    names = {name: f"regret/{result.score}" if name == "regret" else name for name in _ROWS}
    return [_ROWS[name] for name, full in names.items() if any(len(_series(rows, full)[0]) for rows in histories)]


def _absent(result: StudyResult, identities: Iterable[str]) -> list[str]:
    shown = _rows(result, identities)
    return [label.replace("\n", " ") for draw_row, label in _ROWS.values() if (draw_row, label) not in shown]


def _series(rows: History, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (epochs, 2) values with standard errors, and the epochs, counted from 1."""
    logged = sorted(
        (row["epoch"], row) for row in rows if row["name"] == name and isinstance(row["value"], float | int)
    )
    values = [[row["value"], row["standard_error"] or 0.0] for _, row in logged]
    return np.array([epoch + 1 for epoch, _ in logged]), np.array(values, dtype=float).reshape(-1, 2)


def _band(axes: Any, rows: History, name: str, color: Any, label: str) -> None:
    epochs, values = _series(rows, name)
    if len(epochs):
        mean, error = values.T
        axes.fill_between(epochs, mean - error, mean + error, color=color, alpha=0.22, linewidth=0)
        axes.plot(epochs, mean, color=color, marker="o", markersize=3, label=label)


def _line(axes: Any, rows: History, name: str, color: Any, label: str, line: Any) -> None:
    epochs, values = _series(rows, name)
    if len(epochs):
        axes.plot(
            epochs, values[:, 0], color=color, linestyle=line, linewidth=1.3, marker=".", markersize=4, label=label
        )


def _chosen(result: StudyResult) -> dict[tuple[int, int, int], str]:
    """Return the smallest, the best and the largest k of the middle n that has histories, at its lowest seed."""
    rows: dict[tuple[int, int], dict[int, str]] = {}
    for _, record in finished(result):
        n, k, seed = (int(record.dials[name]) for name in ("n", "k", "seed"))
        rows.setdefault((n, seed), {})[k] = record.run_id
    every = sizes(result.table)
    middle = every[(len(every) - 1) // 2] if every else 1
    # A study has thousands of histories: only those of a row are read, in the order in which rows are wanted.
    for n, seed in sorted(rows, key=lambda row: (abs(math.log(row[0] / middle)), *row)):
        available = {k: name for k, name in rows[n, seed].items() if _has_risk(result, name)}
        if available:
            return _three(result, n, seed, available)
    return {}


def _has_risk(result: StudyResult, name: str) -> bool:
    return any(row["name"] == "exact/risk" for row in result.histories.get(name, ()))


def _three(result: StudyResult, n: int, seed: int, available: Mapping[int, str]) -> dict[tuple[int, int, int], str]:
    trained = sorted(available)
    means = {k: cell.mean for (size, k), cell in cells(result.table, "regret").items() if size == n and k in trained}
    best = min(means, key=lambda k: (means[k], k)) if means else trained[len(trained) // 2]
    picked = sorted({trained[0], best, trained[-1]})
    if len(picked) < _COLUMNS <= len(trained):
        # The best is at an end: the middle width keeps the comparison.
        picked = sorted({*picked, next(k for k in trained[len(trained) // 2 :] + trained if k not in picked)})
    return {(n, k, seed): available[k] for k in picked}

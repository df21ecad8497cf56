"""What fine-tuning changed: each run against itself before."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import RunTable
from jepa_scale.report.page.markup import table
from jepa_scale.report.summary import Cell, cells
from jepa_scale.report.wording import measured, whole, with_error

_CHANGE = "regret"


def changes(runs: RunTable) -> dict[tuple[int, int], Cell]:
    """Mean over seeds of regret after − before fine-tuning, by (n, k): paired, as a run has both; < 0 is a gain."""
    if not len(runs):
        return {}
    change = runs["regret"].astype(float) - runs["regret_pretrained"].astype(float)
    return cells(RunTable({**runs.columns, _CHANGE: change}), _CHANGE)


def finetuned_table(runs: RunTable) -> str:
    """One row for each cell; nothing where no run was fine-tuned."""
    found = changes(runs)
    if not found:
        return ""
    columns = {"before": "regret_pretrained", "after": "regret"}
    if np.isfinite(runs["success_pretrained"].astype(float)).any():
        columns |= {"success before": "success_pretrained", "success after": "success"}
    means = {name: cells(runs, column) for name, column in columns.items()}
    rows = []
    for where, change in found.items():
        shown = [measured(by_cell[where]) for by_cell in means.values()]
        rows.append((whole(change.n), str(change.k), *shown, with_error(change.mean, change.standard_error)))
    head = ("n", "k", *columns, "change of regret")
    said = "Regret before and after fine-tuning; the change is paired by run, ± one standard error over seeds."
    return table(head, rows, said, tuple(range(len(head))))

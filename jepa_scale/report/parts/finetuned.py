"""Effect of fine-tuning: each run compared with itself before."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import RunTable
from jepa_scale.report.page.markup import table
from jepa_scale.report.summary import Cell, cells
from jepa_scale.report.wording import measured, whole, with_error

_CHANGE = "regret"


def changes(runs: RunTable) -> dict[tuple[int, int], Cell]:
    """Return the mean over seeds of regret after − before fine-tuning by (n, k), paired by run; < 0 is a gain."""
    if not len(runs):
        return {}
    change = runs["regret"].astype(float) - runs["regret_pretrained"].astype(float)
    return cells(RunTable({**runs.columns, _CHANGE: change}), _CHANGE)


def finetuned_table(runs: RunTable) -> str:
    """Return a table with one row for each cell; empty if no run was fine-tuned."""
    changed = changes(runs)
    if not changed:
        return ""
    columns = {"before": "regret_pretrained", "after": "regret"}
    if np.isfinite(runs["success_pretrained"].astype(float)).any():
        columns |= {"success before": "success_pretrained", "success after": "success"}
    means = {name: cells(runs, column) for name, column in columns.items()}
    rows = []
    for where, change in changed.items():
        shown = [measured(by_cell[where]) for by_cell in means.values()]
        rows.append((whole(change.n), str(change.k), *shown, with_error(change.mean, change.standard_error)))
    head = ("n", "k", *columns, "change of regret")
    caption = "Regret before and after fine-tuning; the change is paired by run, ± one standard error over seeds."
    return table(head, rows, caption, tuple(range(len(head))))

"""Comparison of the arms of a study: means over seeds, and the correlation of deficits with regret."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jepa_scale.records import Arm, RunRecord, StudyResult
from jepa_scale.report.page.markup import paragraph, table, text
from jepa_scale.report.parts.protocol import interval_of, sentence_of, tasks_of
from jepa_scale.report.summary import ZERO, Mean, cells, finished, mean_of, sizes, widths
from jepa_scale.report.wording import number, whole, with_error


def records_of(arm: Arm, n: int, k: int) -> list[RunRecord]:
    """Return the records of the finished runs of one cell of an arm."""
    return [record for _, record in finished(arm.result) if (record.dials["n"], record.dials["k"]) == (n, k)]


def final_mean(records: Sequence[RunRecord], name: str) -> Mean | None:
    """Return the mean over runs of an estimate at the last epoch."""
    values = [record.final.get(name) for record in records]
    return mean_of([math.nan if value is None else float(value) for value in values])


_COLUMNS = {
    "success": "success",
    "amortised plan": "success_policy",
    "at the end": "success_final",
    "same cost": "success_same_cost",
    "oracle": "success_oracle",
    "random": "success_random",
    "do nothing": "success_do_nothing",
    "regret": "regret",
    "before fine-tuning": "regret_pretrained",
    "of geometry": "regret_geometry",
    "of dynamics": "regret_dynamics",
    "T": "total",
    "subspace deficit": "subspace_deficit",
    "seconds": "wall_seconds",
}


def arms_table(result: StudyResult) -> str:
    """Return a table with one row for each cell of each arm; columns that no arm has are left out."""
    shown = {name: column for name, column in _COLUMNS.items() if np.isfinite(result.table[column]).any()}
    keys = list(result.arms[0].values)
    rows = []
    for arm in result.arms:
        data = arm.result.table
        for n in sizes(data):
            for k in widths(data):
                chosen = data.where((data["n"] == n) & (data["k"] == k) & (data["status"] == "finished"))
                means = {name: mean_of(chosen[column].tolist()) for name, column in shown.items()}
                values = [_cell(arm.result, shown[name], mean) for name, mean in means.items()]
                lost = int(((data["n"] == n) & (data["k"] == k) & (data["status"] != "finished")).sum())
                cell = (whole(n), str(k), f"{len(chosen)}" + (f" (+{lost} diverged)" if lost else ""))
                rows.append((*(text(arm.values[key]) for key in keys), *cell, *map(text, values)))
    head = (*(f"<code>{text(key)}</code>" for key in keys), "n", "k", "runs", *shown)
    columns = range(len(keys), len(head))
    caption = "Means over seeds ± one standard error over seeds; success, ceilings and floors over the same tasks"
    caption += ", with 95 % Wilson intervals over these. " if result.sampled else ". "
    caption += sentence_of([record for _, record in finished(result)])
    return table(head, rows, caption, tuple(columns)) + paragraph(deficit_and_regret(result))


def _cell(result: StudyResult, column: str, mean: Mean | None) -> str:
    """Format a mean over seeds; a rate of tasks also with its interval over tasks, which seeds do not show."""
    if mean is None:
        return "–"
    if not column.startswith("success"):
        return with_error(mean.value, mean.standard_error)
    policy = column.removeprefix("success").removeprefix("_")
    tasks = tasks_of(result, policy if policy in ("oracle", "same_cost", "random", "do_nothing") else "model")
    error = mean.standard_error
    shown = with_error(mean.value, error if error is not None and error >= ZERO else None)
    return f"{shown} {interval_of(mean.value, tasks)}".rstrip()


_DRAWS = 2000
_FEWEST = 6
"""Smallest number of cells for a rank correlation to be informative."""


def deficit_and_regret(result: StudyResult) -> str:
    """Return a sentence on the rank correlation of subspace deficit and regret over all cells: ρ with an interval."""
    from scipy.stats import spearmanr

    pairs = []
    for arm in result.arms:
        deficits, regrets = cells(arm.result.table, "subspace_deficit"), cells(arm.result.table, "regret")
        pairs += [(deficits[cell].mean, regrets[cell].mean) for cell in deficits if cell in regrets]
    if len(pairs) < _FEWEST or len({value for value, _ in pairs}) < 3 or len({value for _, value in pairs}) < 3:
        return f"Too few cells ({len(pairs)}) to say whether less subspace deficit goes with less regret."
    values = np.array(pairs)
    rho = spearmanr(values[:, 0], values[:, 1]).statistic
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(_DRAWS):
        sample = values[generator.integers(len(values), size=len(values))]
        if len(np.unique(sample[:, 0])) > 1 and len(np.unique(sample[:, 1])) > 1:
            drawn.append(spearmanr(sample[:, 0], sample[:, 1]).statistic)
    low, high = np.quantile(drawn, [0.05, 0.95])
    verdict = (
        "less deficit goes with less regret" if low > 0 else
        "less deficit goes with more regret" if high < 0 else
        "no relation can be told"
    )  # fmt: skip
    return (
        f"Subspace deficit and regret over the {len(pairs)} cells of all arms: rank correlation {number(rho, 2)} "
        f"[{number(low, 2)}, {number(high, 2)}] (90 % bootstrap over cells): {verdict}."
    )

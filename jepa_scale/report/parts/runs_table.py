"""Table of all runs of a study on the page, and the same numbers for the page's script."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jepa_scale.records import RunTable, StudyResult
from jepa_scale.report.page.marks import cell_key
from jepa_scale.report.page.markup import folded, paragraph, text
from jepa_scale.report.summary import cells
from jepa_scale.report.wording import bound, measured, number, over, whole, with_error

_EXTRA = {
    "regret_standard_error": "standard error of a run's regret over its tasks or pairs; 0 where it is exact",
    "folder": "of the run, in the study's folder",
    "data_checksum": "SHA-256 of what was trained on",
}
"""Meaning of the columns of the page's data other than ``RunTable.COLUMNS``."""

_SHOWN = {
    "run_id": "run", "arm": "arm", "n": "n", "k": "k", "seed": "seed", "status": "status",
    "regret_pretrained": "before fine-tuning", "regret": "regret", "success": "success", "risk": "risk",
    "tail": "tail", "bound_best": "best bound", "bound_b1_prime": "B1′", "bound_t4": "T4",
    "parameters": "parameters", "wall_seconds": "seconds",
}  # fmt: skip
_ALWAYS = ("run_id", "n", "k", "seed", "status", "regret", "parameters", "wall_seconds")


def columns(result: StudyResult) -> dict[str, list[Any]]:
    """Return all columns of the runs as plain values, None if missing, without empty columns."""
    data = result.table
    values = {name: _plain(data[name]) for name in RunTable.COLUMNS}
    records = [result.records.get(str(run)) for run in data["run_id"]]
    values["regret_standard_error"] = [_error(result, row)[0] for row in range(len(data))]
    values["folder"] = [f"runs/{run}" for run in data["run_id"]]
    values["data_checksum"] = [None if record is None else record.data_checksum for record in records]
    return {name: column for name, column in values.items() if any(value not in (None, "") for value in column)}


def _plain(column: np.ndarray) -> list[Any]:
    values = column.tolist()
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]


def _error(result: StudyResult, row: int) -> tuple[float | None, int | None]:
    """Return the standard error of a run's regret, and the number of tasks or pairs behind it."""
    record = result.records.get(str(result.table["run_id"][row]))
    if record is None:
        return None, None
    score = record.config.get("planner", {}).get("score", result.score)
    name = f"regret/{score}"
    return record.final_standard_errors.get(name), record.final_n.get(name)


def regret_of_run(result: StudyResult, row: int) -> str:
    """Return a run's regret with its error and what it was measured on."""
    value = float(result.table["regret"][row])
    if not math.isfinite(value):
        return f"no regret: {result.table['status'][row]}"
    error, tried = _error(result, row)
    if tried is not None:
        kind = "tasks" if result.sampled else "pairs"
        return f"{with_error(value, error)} (SE over {whole(tried)} {kind})"
    if result.sampled:
        return f"{number(value)} (no standard error recorded)"
    return f"{number(value)} ({over(result)}; 1 seed)"


def page_data(result: StudyResult) -> dict[str, Any]:
    """Return the data of the page's script: the table, the text of each point and the runs of each cell."""
    data = result.table
    tips, filters = {}, {}
    for row in range(len(data)):
        arm = [str(data["arm"][row])] if data["arm"][row] else []
        place = f"n = {whole(data['n'][row])}, k = {int(data['k'][row])}, seed {int(data['seed'][row])}"
        tips[f"r{row}"] = [place, *arm, f"regret {regret_of_run(result, row)}", f"runs/{data['run_id'][row]}"]
    groups = [(str(i), arm.label, arm.result) for i, arm in enumerate(result.arms)] or [("", "", result)]
    for part, label, group in groups:
        for n, k in _places(group):
            # A quotation mark would end the quoted part.
            filters[cell_key(n, k, part)] = f"n={n} k={k}" + (' arm="' + label.replace('"', "") + '"' if label else "")
        tips |= {key: [lines[0], *[label] * bool(label), *lines[1:]] for key, lines in cell_tips(group, part).items()}
    return {"columns": columns(result), "tips": tips, "filters": filters, "file": file_name(result.name)}


def _places(result: StudyResult) -> list[tuple[int, int]]:
    return sorted({place for target in _MEANS for place in cells(result.table, target)})


_MEANS = ("regret", "success", "risk", "total")


def cell_tips(result: StudyResult, part: str = "") -> dict[str, list[str]]:
    """Return the tooltip of each cell's mean: its n and k, then each target with its standard error and seeds."""
    tips = {cell_key(n, k, part): [f"n = {whole(n)}, k = {k}"] for n, k in _places(result)}
    for target in _MEANS:
        for (n, k), cell in cells(result.table, target).items():
            name = "held-out T" if target == "total" else target
            tips[cell_key(n, k, part)].append(f"mean {name} {measured(cell)}")
    return tips


def file_name(name: str) -> str:
    """Return a file name that every file system accepts."""
    kept = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    return kept.strip("-")[:80] or "study"


def runs(result: StudyResult) -> str:
    """Return the table of all runs, with controls to sort, filter and save it."""
    data = result.table
    if not len(data):
        return paragraph("There are no runs.")
    shown = {name: title for name, title in _SHOWN.items() if name in _ALWAYS or _filled(data, name)}
    head = "".join(
        f'<th scope="col" aria-sort="none"{_kind(name)}>'
        f'<button type="button" data-key="{name}">{text(title)}</button></th>'
        for name, title in shown.items()
    )
    body = "\n".join(
        f'<tr id="run-{row}" data-r="{row}">'
        + "".join(f"<td{_kind(name)}>{_cell(data, name, row)}</td>" for name in shown)
        + "</tr>"
        for row in range(len(data))
    )
    caption = (
        "Regret is that of the tasks." if result.sampled else f"Regret: {over(result)}. Risk: exact for each model."
    )
    return (
        '<div class="tools tool"><label>Filter <input id="filter" type="search" autocomplete="off" '
        'placeholder="n=3000 k&gt;=16 diverged" aria-describedby="filter-help"></label>'
        '<button type="button" id="clear">Show all</button>'
        '<button type="button" id="csv">Download CSV</button><span id="shown" role="status"></span></div>'
        '<p class="note tool" id="filter-help">Words must all be found; column=value, &lt;, &gt;, &lt;=, &gt;= and != '
        "compare the numbers behind the table (columns as in the CSV). The CSV holds the runs shown, in this order, "
        "with all columns and digits. A column&#x27;s name sorts by it.</p>"
        f'<div class="wide tall"><table id="runs-table"><caption>{text(caption)} Folders: runs/ and the run&#x27;s '
        f"name.</caption><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>" + _glossary(result)
    )


def _glossary(result: StudyResult) -> str:
    """Return the meaning of the columns of the CSV."""
    known = {name: meaning.replace("NaN", "empty") for name, meaning in {**RunTable.COLUMNS, **_EXTRA}.items()}
    terms = "".join(f"<dt><code>{name}</code></dt><dd>{text(known[name])}</dd>" for name in columns(result))
    return folded("Columns of the CSV", f"<dl>{terms}</dl>")


def _filled(data: RunTable, name: str) -> bool:
    column = data[name]
    return bool(np.isfinite(column).any()) if column.dtype.kind == "f" else bool((column != "").any())


def _kind(name: str) -> str:
    return "" if name in ("run_id", "arm", "status") else ' class="number"'


def _cell(data: RunTable, name: str, row: int) -> str:
    value = data[name][row]
    if name == "run_id":
        return f"<code>{text(value)}</code>"
    if name == "status":
        return "finished" if value == "finished" else f'<span class="no">{text(value)}</span>'
    if name == "arm":
        return text(value)
    if name.startswith("bound_"):
        return "–" if math.isnan(value) else text(bound(float(value)))
    return str(int(value)) if name in ("k", "seed") else whole(value) if name in ("n", "parameters") else number(value)

"""A table from W&B runs: this project's, whose keys are known, or any others, whose keys the user gives."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.foreign import listed, reading, short
from jepa_scale.integrations.wandb.files import WandbRun
from jepa_scale.records import RunRecord, RunTable
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.external import LARGEST, counted_seeds, factors, filled_table, product
from jepa_scale.studies.table import row_of, run_table, write_table

EXAMPLE = "--columns n=data.num_samples k=model.dim seed=seed regret=eval/regret"
_NEEDED = ("n", "k", "regret")
"""Columns that advice needs: a run without a value in one of them, if mapped, is left out."""


def import_runs(source: str, runs: Sequence[WandbRun], columns: Mapping[str, str]) -> tuple[RunTable, tuple[str, ...]]:
    """Return the table of runs and remarks on it, such as how many were left out.

    ``columns`` maps names of the table to keys of configuration or summary, or to products of them; empty: the runs
    are this project's own.

    Raises
    ------
    UserError
        If the runs are not ours and no columns were given, a key does not exist, or no run is left.
    """
    # The run of a study as a whole is none of its runs.
    runs = [run for run in runs if "study/done" not in run.summary]
    sound, wrong = [], []
    for run in runs:
        try:
            _check(run, bool(columns))
            sound.append(run)
        except UserError as error:
            wrong.append(f"left out: {error}")
    if wrong and not sound:
        raise UserError(f"{source}: no run can be used ({_count(len(runs))}), the first one is {wrong[0]}")
    table, remarks = _theirs(source, sound, columns) if columns else _ours(source, sound)
    return table, (*wrong, *remarks)


def check_out(path: Path) -> None:
    """Refuse a path to which no table can be written, before anything is read.

    Raises
    ------
    UserError
        If the path does not name a parquet file.
    """
    if path.suffix != ".parquet" or path.is_dir():
        raise UserError(f"--out: expected a file that ends in .parquet, got {path}")


def write_import(table: RunTable, path: Path) -> None:
    """Write the table as parquet.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(table, path)
    except OSError as error:
        raise UserError(f"--out: {path} cannot be written ({error.strerror or error}): choose another place") from None


def is_ours(run: WandbRun) -> bool:
    """Whether a run was mirrored by this project, and has ended."""
    dials = {f"dials/{name}" for name in ("n", "k", "seed", "parameters", "flops_per_step")}
    return {"run/status", *dials} <= set(run.summary) and "planner" in run.config


def _check(run: WandbRun, theirs: bool) -> None:
    """Refuse a run whose values do not form a row of a table; the error names it."""
    with reading(f"run {short(run.run_id, 80)}", "values of a run", refuse=UserError):
        flattened(run)
        if not theirs and is_ours(run):
            row_of(record_of(run))


def _ours(source: str, runs: Sequence[WandbRun]) -> tuple[RunTable, tuple[str, ...]]:
    ours = [run for run in runs if is_ours(run)]
    if not ours:
        raise UserError(
            f"{source}: no run has a result of jepa-scale ({_count(len(runs))}); name the keys to read, such as "
            f"{EXAMPLE}; {_found(runs)}"
        )
    arms, remarks = _arms(ours)
    records = [record_of(run) for run in ours]
    # As a study lists its cells: a replicate before the next seed, wide models first.
    records.sort(key=lambda row: (row.dials["seed"], -row.dials["k"], row.dials["n"], row.run_id))
    others = Counter(run.state for run in runs if not is_ours(run))
    if others:
        remarks += [f"left out, without a result of jepa-scale: {_count(sum(others.values()))} ({_listed(others)})"]
    table = run_table(records)
    named = np.array([arms[record.run_id] for record in records])
    return RunTable({**table.columns, "arm": named}), tuple(remarks)


def _arms(runs: Sequence[WandbRun]) -> tuple[dict[str, str], list[str]]:
    """Label each run by the settings, other than the seed, in which runs of equal n and k differ; empty if none do.

    Settings that follow from n and k, such as a budget of passes over the data, do not count.
    """
    flat = {run.run_id: {"group": run.group} | dict(_leaves(_without(run.config), "")) for run in runs}
    cells: dict[tuple[Any, Any], list[str]] = {}
    for run in runs:
        cells.setdefault((run.summary["dials/n"], run.summary["dials/k"]), []).append(run.run_id)
    keys = sorted({key for settings in flat.values() for key in settings})
    apart = [key for key in keys if any(len({repr(flat[run].get(key)) for run in here}) > 1 for here in cells.values())]
    if len({run.group for run in runs}) > 1:
        apart = ["group", *(key for key in apart if key != "group")]
    remarks = [f"runs differ in {listed(apart)}: the column arm tells them apart"] if apart else []
    return {run: ", ".join(f"{key}={settings.get(key)}" for key in apart) for run, settings in flat.items()}, remarks


def _without(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("seed", "logger")}


def record_of(run: WandbRun) -> RunRecord:
    """Build the run record of one of our runs, as far as the table needs it."""
    summary = run.summary
    status = summary["run/status"]
    if status not in ("finished", "diverged"):
        raise UserError(f"run {run.run_id}: expected the status finished or diverged, got {short(status)}")
    if not isinstance(run.config["planner"], Mapping):
        raise UserError(f"run {run.run_id}: expected a planner of jepa-scale, got {short(run.config['planner'])}")
    return RunRecord(
        run_id=run.run_id,
        config=run.config,
        status=status,
        reason=str(summary.get("run/reason") or ""),
        dials={name: _whole(run, name, value) for name, value in _under("dials/", summary)},
        # Of a diverged run nothing is kept but that it diverged.
        final=_last_epoch(run.history) if status == "finished" else {},
        final_standard_errors={},
        final_n={},
        bounds=(),
        truth=dict(_under("truth/", summary)),
        spectrum={},
        versions={},
        data_checksum="",
        times={"wall_seconds": _number(summary.get("run/wall_seconds"))},
        pretrained=dict(_under("pretrained/", summary)),
        halfway=dict(_under("halfway/", summary)),
    )


def _under(prefix: str, summary: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in summary.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), _number(value)


def _last_epoch(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the estimates of the last epoch that has any.

    The summary is not enough: it keeps the last identified value, at whatever epoch that was.
    """
    epochs: dict[int, dict[str, float]] = {}
    for row in history:
        estimates = {
            name: float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and math.isfinite(value) and name != "epoch" and name[0] != "_"
        }
        if estimates and row.get("epoch") is not None:
            epochs.setdefault(int(row["epoch"]), {}).update(estimates)
    return epochs[max(epochs)] if epochs else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _whole(run: WandbRun, name: str, value: float) -> int:
    if not 0 <= value <= LARGEST or value != int(value):
        raise UserError(f"run {run.run_id}: expected a whole number ≥ 0 as {short(name, 80)}, got {value:g}")
    return int(value)


def _theirs(source: str, runs: Sequence[WandbRun], names: Mapping[str, str]) -> tuple[RunTable, tuple[str, ...]]:
    text = {"run_id", "arm", "status", "reason"} & set(names)
    if text:
        raise UserError(
            f"--columns: {', '.join(sorted(text))} comes from W&B itself, name numbers such as n, k, regret"
        )
    ended, left = [], Counter[str]()
    for run in runs:
        if _status(run) in ("finished", "diverged"):
            ended.append(run)
        else:
            left[run.state] += 1
    if not ended:
        raise UserError(f"{source}: no run has finished ({_count(len(runs))}: {_listed(left)})")
    flat = [flattened(run) for run in ended]
    columns = {name: _column(source, ended, flat, name, key) for name, key in names.items()}
    kept = []
    for index, run in enumerate(ended):
        wrong = _wrong(columns, names, index, _status(run))
        kept += [] if wrong else [index]
        left.update([wrong] if wrong else [])
    if not kept:
        raise UserError(f"{source}: no run can be used: {_listed(left)}; {_found(ended)}")
    chosen = [ended[index] for index in kept]
    table = _table(chosen, {name: [values[index] for index in kept] for name, values in columns.items()})
    remarks = [f"left out: {_count(sum(left.values()))} ({_listed(left)})"] if left else []
    return table, (*remarks, *_remarks(table, names))


def _status(run: WandbRun) -> str:
    """Return the status that the run reported, else the state in W&B."""
    return str(run.summary.get("run/status", run.state))


def flattened(run: WandbRun) -> dict[str, Any]:
    """Flatten configuration and summary by dotted key; a summary of several kinds (``min``, …) also counts as ``last``.

    If both have a key, the configuration's value is used: it states what was requested.
    """
    summary = dict(_leaves(run.summary, ""))
    for name, value in run.summary.items():
        if isinstance(value, Mapping) and "last" in value:
            summary[name] = value["last"]
    return {**summary, **dict(_leaves(run.config, ""))}


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        # A histogram or a file is no number, and its parts are none of the user's.
        if isinstance(value, Mapping) and "_type" not in value:
            yield from _leaves(value, f"{prefix}{name}.")
        elif not name.startswith("_") and not isinstance(value, Mapping):
            yield f"{prefix}{name}", value


def _column(source: str, runs: Sequence[WandbRun], flat: Sequence[Mapping[str, Any]], name: str, key: str) -> list[Any]:
    """Return one value per run: numbers, or texts if an extra column has any, for ``fit --cluster``."""
    known = list(dict.fromkeys(part for row in flat for part in row))
    parts = [part for part in factors(key, known) if isinstance(part, str)]
    missing = next((part for part in parts if part not in known), None)
    if missing is not None:
        near = difflib.get_close_matches(missing, known, 3, 0.5)
        hint = f"; do you mean {', '.join(near)}?" if near else ""
        raise UserError(f"{source}: --columns {name}={key}: no run has {missing!r}{hint}; {_found(runs)}")
    columns = {part: [row.get(part) for row in flat] for part in parts}
    if parts == [key] and name not in RunTable.COLUMNS and any(isinstance(value, str) for value in columns[key]):
        values = columns[key]
        if not all(math.isfinite(number) for number in product(columns, key, len(flat))):
            return ["" if value is None else str(value) for value in values]
    return product(columns, key, len(flat)).tolist()


def _wrong(columns: Mapping[str, Sequence[Any]], names: Mapping[str, str], index: int, status: str) -> str:
    """Return why a run cannot be used; empty if it can."""
    for name in ("n", "k", "seed"):
        if name not in columns:
            continue
        value, least = columns[name][index], 0 if name == "seed" else 1
        if not math.isfinite(value):
            return f"{names[name]} is not a number"
        if not least <= value <= LARGEST or value != int(value):
            return f"{names[name]} is {value:g}, expected a whole number ≥ {least} for {name}"
    if "regret" in columns and status == "finished" and not math.isfinite(columns["regret"][index]):
        return f"{names['regret']} is not a number"
    return ""


def _table(runs: Sequence[WandbRun], values_by_name: Mapping[str, Sequence[Any]]) -> RunTable:
    columns = {name: np.array(values) for name, values in values_by_name.items()}
    columns["run_id"] = np.array([run.run_id for run in runs])
    columns["status"] = np.array([_status(run) for run in runs])
    columns["reason"] = np.array([str(run.summary.get("run/reason") or "") for run in runs])
    if "seed" not in values_by_name and {"n", "k"} <= set(values_by_name):
        columns["seed"] = counted_seeds(columns["n"], columns["k"])
    return filled_table(columns)


def _remarks(table: RunTable, names: Mapping[str, str]) -> Iterator[str]:
    lacking = [name for name in _NEEDED if name not in names]
    if lacking:
        yield f"without {', '.join(lacking)}: fit can use the table, advise needs n, k and regret"
    elif "seed" not in names:
        yield "seeds are numbered in the order of the runs of each (n, k); name the real ones with --columns seed=KEY"
    else:
        cells = Counter(zip(*(table[name].tolist() for name in ("n", "k", "seed")), strict=True))
        repeated = sum(count - 1 for count in cells.values())
        if repeated:
            yield f"{_count(repeated)} with the n, k and seed of another: each counts as a run of its own"
    outside = unusable(table)
    if outside:
        yield f"regret outside [0, 1] in {_count(outside)}: advise takes a lost probability"


def unusable(table: RunTable) -> int:
    """Number of runs whose regret is outside [0, 1], not a lost probability."""
    return int(((table["regret"] < 0) | (table["regret"] > 1)).sum())


def _found(runs: Sequence[WandbRun]) -> str:
    plain = [replace(run, summary={}) for run in runs], [replace(run, config={}) for run in runs]
    parts = []
    for kind, some in zip(("configuration", "summary"), plain, strict=True):
        counts = Counter(key for run in some for key, value in flattened(run).items() if _is_number(value))
        parts.append(f"numbers in the {kind}: {listed(key for key, _ in counts.most_common()) or 'none'}")
    return "; ".join(parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} × {short(name, 80)}" for name, count in sorted(counts.items(), key=lambda item: -item[1])
    )


def _count(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"

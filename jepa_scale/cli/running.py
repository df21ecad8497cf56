"""Doing one run on the terminal: printing its epochs as they pass, and its record."""

from __future__ import annotations

import sys
import typing
from pathlib import Path

if typing.TYPE_CHECKING:
    from jepa_scale.records import RunRecord
    from jepa_scale.terminal import Console


def run_here(config: dict[str, typing.Any], folder: Path, accept_mixed: bool) -> int:
    """Do a run, in one process per device; print its record and return the exit code."""
    from jepa_scale.runs.distributed.exits import FAILED, STOPPED
    from jepa_scale.runs.distributed.launch import run_ranks
    from jepa_scale.runs.distributed.process import requeue
    from jepa_scale.runs.distributed.ranks import place
    from jepa_scale.runs.errors import Interrupted
    from jepa_scale.runs.folder import RunFolder
    from jepa_scale.runs.identity import run_id
    from jepa_scale.terminal import Console

    here = place()
    console = Console(quiet=not here.leads)
    before = RunFolder(folder).read_record()
    note = (
        "" if before is None else f": {before.status} before, nothing is trained again (another folder, or delete it)"
    )
    console.print(f"run {run_id(config)} in {folder}{note}", highlight=False, soft_wrap=True)
    try:
        if config["trainer"]["devices"] > 1 and here.world_size == 1:
            code = run_ranks(config, folder, accept_mixed=accept_mixed)
            record = RunFolder(folder).read_record()
            if code or record is None:
                return code or FAILED
        else:
            from jepa_scale.callbacks.printer import EpochPrinter
            from jepa_scale.runs.run import run

            watching = [EpochPrinter(console, config["planner"]["score"])]
            record = run(config, folder, extra=watching, accept_mixed=accept_mixed)
    except Interrupted as stop:
        if here.leads:
            print(f"jepa-scale: {stop}", file=sys.stderr)
            requeue(stop)
        return STOPPED
    _print_record(console, record)
    return 0 if record.status == "finished" else 1


def _print_record(console: Console, record: RunRecord) -> None:
    from rich.table import Table

    from jepa_scale.report.parts.evaluation import (
        copy_wins,
        observation_table,
        of_record,
        prediction_table,
        success_table,
        tabulated,
        vacuous_tasks,
    )
    from jepa_scale.report.parts.protocol import sentence

    if record.status != "finished":
        console.print(f"[red]{record.status}[/red]: {record.reason}", highlight=False)
        return
    table = Table(title=f"n={record.dials['n']}, k={record.dials['k']}, seed={record.dials['seed']}")
    for column in ("quantity", "value", "standard error", "transitions"):
        table.add_column(column, justify="left" if column == "quantity" else "right")
    for name, value in sorted(record.final.items()):
        if "/action_" in name or value is None or tabulated(name):
            continue
        error, count = record.final_standard_errors[name], record.final_n[name]
        # Of sampled tasks that all end alike there is no error to estimate, but the value is not exact for it.
        shown = ("exact" if count is None else "0") if error == 0 else "" if error is None else f"{error:.2g}"
        table.add_row(name, f"{value:.4g}", shown, "" if count is None else f"{count}")
    console.print(table)
    evaluation = of_record(record)
    tables = success_table(evaluation, record.protocol), prediction_table(evaluation), observation_table(evaluation)
    for extra in tables:
        if extra is not None:
            console.print(extra)
    for line in (sentence(record.protocol), vacuous_tasks(evaluation), copy_wins(evaluation)):
        if line:
            console.print(line, highlight=False, markup=False)
    for bound in record.bounds:
        failed = [item["statement"] for item in bound["hypotheses"] if not item["holds"]]
        word = "vacuous" if bound["vacuous"] else "informative"
        applies = "applies" if not failed else f"does not apply: fails {', '.join(failed)}"
        console.print(f"{bound['label']}: {bound['value']:.3g}, {word}, {applies}", highlight=False)

"""Doing one run on the terminal: printing its epochs as they pass, and its record."""

from __future__ import annotations

import argparse
import shlex
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

if typing.TYPE_CHECKING:
    from jepa_scale.cli import answers
    from jepa_scale.cli.output import Output
    from jepa_scale.records import RunRecord


def run_here(config: dict[str, typing.Any], folder: Path, parsed: argparse.Namespace) -> int:
    """Do a run, in one process per device; print its record and return the exit code."""
    from jepa_scale.cli.output import Output
    from jepa_scale.runs.distributed.exits import FAILED, STOPPED
    from jepa_scale.runs.distributed.launch import run_ranks
    from jepa_scale.runs.distributed.process import requeue
    from jepa_scale.runs.distributed.ranks import place
    from jepa_scale.runs.errors import Interrupted
    from jepa_scale.runs.folder import RunFolder
    from jepa_scale.runs.identity import run_id
    from jepa_scale.terminal import Console

    here, out = place(), Output(parsed)
    console = out.progress() if here.leads else Console(quiet=True)
    before = RunFolder(folder).read_record()
    note = (
        "" if before is None else f": {before.status} before, nothing is trained again (another folder, or delete it)"
    )
    console.print(f"run {run_id(config)} in {folder}{note}", highlight=False, soft_wrap=True)
    try:
        if config["trainer"]["devices"] > 1 and here.world_size == 1:
            code = run_ranks(config, folder, accept_mixed=parsed.accept_mixed)
            record = RunFolder(folder).read_record()
            if code or record is None:
                return code or FAILED
        else:
            from jepa_scale.callbacks.printer import EpochPrinter
            from jepa_scale.runs.run import run

            watching = [EpochPrinter(console, config["planner"]["score"])]
            record = run(config, folder, extra=watching, accept_mixed=parsed.accept_mixed)
    except Interrupted as stop:
        if here.leads:
            print(f"jepa-scale: {stop}", file=sys.stderr)
            requeue(stop)
        return STOPPED
    if here.leads:
        _end(out, parsed.command, record, folder)
    return 0 if record.status == "finished" else 1


def _end(out: Output, command: str, record: RunRecord, folder: Path) -> None:
    from jepa_scale.cli.output import Ending
    from jepa_scale.cli.runs import as_answers, verdict_of
    from jepa_scale.report.parts.evaluation import copy_wins, of_record, vacuous_tasks
    from jepa_scale.report.parts.protocol import sentence

    estimates = of_record(record)
    finished = record.status == "finished"
    verdict = f"{record.status}: {record.reason}"
    if finished:
        verdict = verdict_of(estimates, record.config["planner"].get("score", ""))
    ending = Ending(
        verdict,
        [line for line in (sentence(record.protocol), _bound(record)) if line] if finished else (),
        _details(record) if finished else (),
        [line for line in (vacuous_tasks(estimates), copy_wins(estimates)) if line],
        {"run": folder},
        f"jepa-scale evaluate {shlex.quote(str(folder))}" if finished else "",
        "" if finished else "the run is kept as it diverged: lower optimizer.lr, for example, and train again",
    )

    def answer() -> answers.Run:
        from jepa_scale.cli.answers import Run

        return Run(
            command="finetune" if command == "finetune" else "train",
            **ending.fields(),
            run_id=record.run_id,
            status=record.status,
            estimates=as_answers(estimates),
        )

    out.end(ending, answer)


def _bound(record: RunRecord) -> str:
    """Return a sentence on the bounds that apply; empty where the world has none."""
    from jepa_scale.report.wording import number

    applying = [bound for bound in record.bounds if all(item["holds"] for item in bound["hypotheses"])]
    if not applying:
        return ""
    best = min(applying, key=lambda bound: float(bound["value"]))
    word = "vacuous" if best["vacuous"] else "informative"
    return f"Smallest bound that applies: {best['label']}, {number(best['value'])}, {word}."


def _details(record: RunRecord) -> list[typing.Any]:
    from rich.table import Table

    from jepa_scale.report.parts.evaluation import (
        observation_table,
        of_record,
        prediction_table,
        success_table,
        tabulated,
    )

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
    evaluation = of_record(record)
    tables = success_table(evaluation, record.protocol), prediction_table(evaluation), observation_table(evaluation)
    return [table, *(extra for extra in tables if extra is not None), *map(_bound_line, record.bounds)]


def _bound_line(bound: Mapping[str, typing.Any]) -> str:
    failed = [item["statement"] for item in bound["hypotheses"] if not item["holds"]]
    word = "vacuous" if bound["vacuous"] else "informative"
    applies = "applies" if not failed else f"does not apply: fails {', '.join(failed)}"
    return f"{bound['label']}: {bound['value']:.3g}, {word}, {applies}"

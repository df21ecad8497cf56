"""The commands on studies that run elsewhere: `sweep`, `status`, `cancel`, `collect`."""

from __future__ import annotations

import argparse
import re
import typing
from dataclasses import replace
from pathlib import Path

# Nothing heavy is imported up here: --help must not wait for torch.

_SWEEP = """\
launchers:
  launcher=local workers=4           worker processes on this machine, until all runs are done
  launcher=slurm launcher.KEY=VALUE  job arrays of workers on a SLURM cluster; the command returns at once

The same command again does, or submits, only what is missing. Settings of the launcher: conf/launcher/*.yaml.

examples:
  jepa-scale sweep my_sweep.yaml launcher=slurm launcher.partition=gpu launcher.time=4:00:00 workers=16
  jepa-scale sweep my_sweep.yaml launcher=slurm --dry-run          the batch scripts, without submitting them
  jepa-scale status studies/my_sweep                               runs by state, jobs, time left, failures
  jepa-scale collect studies/my_sweep && jepa-scale report studies/my_sweep
"""


_COLLECT = """\
sources of W&B runs:
  wandb://ENTITY/PROJECT[?group=G&job_type=J&tag=T&state=finished&host=SERVER]
                         runs on a server; host is one of your own, else the one that W&B is set up for
  FOLDER                 a folder with offline runs (offline-run-*) anywhere below

Runs of jepa-scale need no more. Of other runs, --columns says which keys of the configuration (dotted), of the summary
(eval/regret, loss.min), or products of them (n=trajectories*100), are n, k and regret; seed is optional. Other names
are kept as columns for `fit`.

examples:
  jepa-scale collect wandb://me/torus?group=quickstart
  jepa-scale collect 'wandb://me/sweeps?tag=final' --columns n=data.num_samples k=model.dim regret=eval/regret
  jepa-scale advise wandb/sweeps.parquet --n 100000 --target-regret 0.05
"""

_WATCH_SECONDS, _DAY = 5, 86400
_STATUS = """\
--watch on a terminal: the regret of every cell so far, what is running, jobs, failures, the forecast for the largest
n. Elsewhere a line, or with --json an object on a line, whenever something has changed. It ends by itself, with exit
code 0, when all runs are done or nobody has been at the others for 30 seconds; Ctrl-C ends it before, and the study
goes on. SLURM is asked every 30 seconds at most.

--json: at is when it was looked (UTC); left is the seconds until the last run is done, from and to, by what finished
runs took, or null where that is not known; a run that is lost was at a worker that has ended.

examples:
  jepa-scale status studies/my_sweep
  jepa-scale status --watch studies/my_sweep
  jepa-scale status studies/my_sweep --watch 60 --json >> history.jsonl
"""


def add_parsers(commands: typing.Any) -> None:
    """Add the commands."""
    sweep = commands.add_parser(
        "sweep",
        help="run a study's runs, here or on a SLURM cluster",
        description="Plan a study's runs and have workers do them, on this machine or on a SLURM cluster.",
        epilog=_SWEEP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.add_argument("sweep", help="study file, or the name of a shipped one")
    sweep.add_argument("overrides", nargs="*", help="launcher=…, workers=N, and key=value for every run")
    sweep.add_argument("--folder", type=Path, help="where the study lives (default: studies/NAME)")
    sweep.add_argument("--dry-run", action="store_true", help="print the batch scripts; write and submit nothing")

    status = commands.add_parser(
        "status",
        help="where a study stands: runs by state, jobs, time left, failures; --watch follows it",
        description="Show where a study stands. Runs of workers that have ended are queued again.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Without nargs, `--watch STUDY` would take the folder for its seconds and miss it here: run_status sorts them.
    status.add_argument("study", type=Path, nargs="?", help="study folder")
    status.add_argument("--json", action="store_true", help="print it as JSON; with --watch, one object a line")
    status.add_argument(
        "--watch",
        nargs="?",
        const=str(_WATCH_SECONDS),
        metavar="SECONDS",
        help=f"follow it until nothing is left that could run, looking every SECONDS (default: {_WATCH_SECONDS})",
    )

    cancel = commands.add_parser(
        "cancel",
        help="cancel a study's SLURM jobs; what is done stays",
        description="Cancel a study's SLURM jobs, so that none starts again. The sweep command goes on from there.",
    )
    cancel.add_argument("study", type=Path, help="study folder")

    collect = commands.add_parser(
        "collect",
        help="write a study's table and fits from its runs; a table from runs in W&B, yours or anybody's",
        description="Write table.parquet and fit.json from a study's runs, and list those without a record. "
        "Of runs in W&B, on a server or offline, write a table that `advise` and `fit` take.",
        epilog=_COLLECT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # No Path: it would make wandb:/ of wandb://.
    collect.add_argument("study", metavar="SOURCE", help="study folder, folder of offline W&B runs, or wandb://…")
    collect.add_argument(
        "--columns", nargs="+", default=[], metavar="NAME=KEY", help="n=data.num_samples regret=eval/regret …"
    )
    collect.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="of a study, a folder to write into instead of its own; of W&B runs, their table (default: "
        "wandb/NAME.parquet)",
    )


def _plain(text: str) -> None:
    print(text, flush=True)


def run_sweep(parsed: argparse.Namespace) -> int:
    """Do a study's runs, or submit workers for them."""
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.launchers import LocalLauncher
    from jepa_scale.study.spec import find_sweep, launcher_of, read_spec
    from jepa_scale.terminal import Console

    spec = read_spec(find_sweep(parsed.sweep))
    launcher, overrides = launcher_of(spec, parsed.overrides)
    spec = spec.with_overrides(overrides)
    folder = parsed.folder or Path("studies") / spec.name
    if isinstance(launcher, LocalLauncher):
        from jepa_scale.study.sweep import run_study

        if parsed.dry_run:
            raise UserError("--dry-run prints the batch scripts of launcher=slurm; local workers have none")
        result = run_study(spec, folder, launcher.processes, Console(), parsed.accept_mixed)
        return _print_gaps(result, folder)

    from jepa_scale.study.launch import dry_run, submit_study

    if parsed.dry_run:
        print(dry_run(spec, folder, launcher), end="")
        return 0
    submit_study(spec, folder, launcher, _plain, parsed.accept_mixed)
    print(f"look at it with: jepa-scale status {folder}")
    return 0


def run_status(parsed: argparse.Namespace) -> int:
    """Print where a study stands, or follow it."""
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.status import status_of

    study, watched = parsed.study, parsed.watch
    if study is None and watched is not None and not _is_number(watched):
        study, watched = Path(watched), str(_WATCH_SECONDS)
    if study is None:
        raise UserError("status: expected the folder of a study, got none: jepa-scale status studies/NAME")
    if watched is not None:
        return _watch(study, _seconds(watched), parsed.json)
    found = status_of(study)
    if parsed.json:
        print(_as_json(found, indent=1))
        return 0
    _print_status(found)
    return 0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds(text: str) -> float:
    from jepa_scale.runs.errors import UserError

    seconds = float(text) if _is_number(text) else 0.0
    if not 0 < seconds <= _DAY:
        raise UserError(f"--watch: expected seconds between two looks, above 0 and at most {_DAY} (a day), got {text}")
    return seconds


def _watch(study: Path, seconds: float, as_json: bool) -> int:
    import sys

    from jepa_scale.study.live import watch
    from jepa_scale.terminal import Console

    last: dict[str, typing.Any] = {}

    def tell(found: typing.Any) -> None:
        nonlocal last
        # Every look sees other estimates of the time that is left: that alone is no news.
        if (without := replace(found, left=None).content()) != last:
            last = without
            print(_as_json(found), flush=True)

    try:
        why = watch(study, Console(), seconds, tell if as_json else None)
    except KeyboardInterrupt:
        print("\njepa-scale: no longer watched; the study itself goes on", file=sys.stderr)
        return 130
    if not as_json:
        print(why)
    return 0


def _as_json(found: typing.Any, indent: int | None = None) -> str:
    import datetime
    import json

    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return json.dumps({"at": at, **found.content()}, indent=indent, ensure_ascii=False)


def _print_status(found: typing.Any) -> None:
    from jepa_scale.study.status import WORDS, duration

    counts = found.counts
    diverged = f", {found.diverged} of them diverged" if found.diverged else ""
    print(f"{found.name}: {counts['done']} of {len(found.runs)} runs done{diverged}" + ", cancelled" * found.cancelled)
    shown = [f"{counts[state]} {words}" for state, words in WORDS.items() if counts[state]]
    if shown:
        print("  " + ", ".join(shown))
    if counts["left"]:
        print("  the same study or sweep command queues what is not queued")
    _print_tasks(found)
    if found.left is not None:
        low, high = (duration(seconds) for seconds in found.left)
        print(f"  about {low} to {high} left, by the quartiles of what finished runs took, at the workers it has")
    _print_runs(found)


def _print_tasks(found: typing.Any) -> None:
    if found.unknown:
        print(f"  which jobs live is not known: {found.unknown}")
        return
    for words in found.jobs:
        print(f"  jobs: {words}")
    if found.tasks or found.held or not (found.counts["waiting"] or found.counts["lost"]):
        return
    if found.ordered:
        print("  no job is left for the runs that wait: the same sweep command submits new ones")
    else:
        print("  nobody is at it: the same study or sweep command goes on with it")


def _print_runs(found: typing.Any, most: int = 10) -> None:
    from jepa_scale.study.owners import task_of
    from jepa_scale.study.status import duration

    running = [run for run in found.runs if run.state == "running"]
    for run in running[:most]:
        task = found.tasks.get(task_of(run.owner) or "")
        queued = f", whose job is {task.state.lower()} again" if task is not None and task.state != "RUNNING" else ""
        epochs = f", {run.epochs} epoch{'s' * (run.epochs != 1)}" if run.epochs else ""
        print(f"  {run.point.run_id} {run.point}: {run.owner} for {duration(run.seconds)}{epochs}{queued}")
    if len(running) > most:
        print(f"  … and {len(running) - most} more are running")
    failed = [run for run in found.runs if run.state == "failed"]
    for run in failed[:most]:
        print(f"  failed: {run.point.run_id} {run.point}: {run.reason}")
    if len(failed) > most:
        print(f"  … and {len(failed) - most} more failed")
    if failed:
        print(f"  errors are in {found.folder / 'errors'}; the next sweep command tries failed runs again")


def run_cancel(parsed: argparse.Namespace) -> int:
    """Cancel a study's jobs."""
    from jepa_scale.study.cancel import cancel_study

    tasks, runs = cancel_study(parsed.study)
    if not tasks:
        print("no job was left to cancel")
        return 0
    print(f"{tasks} tasks were cancelled; runs that they were at, and that wait again where they stopped: {runs}")
    print("the sweep command goes on with them")
    return 0


def run_collect(parsed: argparse.Namespace) -> int:
    """Write table and fits, list gaps; the exit code is 1 where there are some. Of W&B runs, write their table."""
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.wandb_files import offline_folders
    from jepa_scale.study.wandb_server import SCHEME

    folder = Path(parsed.study)
    if re.match(r"(?i)(wandb|https?):", parsed.study) and not parsed.study.startswith(SCHEME):
        raise UserError(f"expected wandb://ENTITY/PROJECT for runs in W&B, got {parsed.study}")
    if parsed.study.startswith(SCHEME):
        return _collect_wandb(parsed)
    if not (folder / "study.yaml").is_file():
        if offline_folders(folder):
            return _collect_wandb(parsed)
        raise UserError(
            f"{folder} is neither a study's folder (no study.yaml) nor holds offline W&B runs (offline-run-*): give "
            "one of these, or wandb://ENTITY/PROJECT"
        )

    from jepa_scale.study.collect import collect_folder
    from jepa_scale.study.holdings import writable
    from jepa_scale.study.status import status_of

    if parsed.columns:
        raise UserError(f"--columns is for W&B runs, and {folder} is a study; for those give {folder}/runs")
    if parsed.out is not None and parsed.out.is_file():
        raise UserError(f"--out: expected a folder to write the table of a study into, got the file {parsed.out}")
    into = writable(folder, parsed.out)
    if (folder / "plan.json").is_file() and into == folder:
        # Runs of workers that have ended are queued again, for the workers of the next sweep command.
        status_of(folder)
    return _print_gaps(collect_folder(folder, into), into)


def _collect_wandb(parsed: argparse.Namespace) -> int:
    from jepa_scale.study.external import pairs
    from jepa_scale.study.wandb_files import read_runs
    from jepa_scale.study.wandb_import import check_out, import_runs, is_ours, unusable, write_import
    from jepa_scale.study.wandb_server import SCHEME, parse_address, read_server

    columns = pairs("--columns", parsed.columns, "n=data.num_samples")
    if parsed.out is not None:
        check_out(parsed.out)
    if parsed.study.startswith(SCHEME):
        address = parse_address(parsed.study)
        name = "-".join([address.project, *address.filters.values()])
        runs = read_server(address, needs_history=lambda run: not columns and is_ours(run))
    else:
        name = Path(parsed.study).resolve().name
        runs = read_runs(Path(parsed.study), unreadable=lambda said: _plain(f"left out: {said}"))
    table, said = import_runs(parsed.study, runs, columns)
    out = parsed.out or Path("wandb") / f"{name.replace('/', '_')}.parquet"
    write_import(table, out)
    for sentence in said:
        print(sentence)
    print(f"{len(table)} run{'s' * (len(table) != 1)} in {out}")
    answerable = {"n", "k", "regret"} <= (set(columns) or set(table.COLUMNS)) and not unusable(table)
    if answerable:
        print(f"look at it with: jepa-scale advise {out}")
    print(f"laws of it: jepa-scale fit {out} --law … --columns NAME=COLUMN …")
    return 0


def _print_gaps(result: typing.Any, folder: Path, most: int = 20) -> int:
    unfinished, done = result.unfinished, len(result.records)
    diverged = sum(record.status == "diverged" for record in result.records.values())
    for phrase in result.mixed:
        print(f"mixed code: {phrase}")
    for sentence in unfinished[:most]:
        print(f"missing: {sentence}")
    if len(unfinished) > most:
        print(f"… and {len(unfinished) - most} more are missing: jepa-scale status {folder}")
    apart = f", {diverged} of them diverged" if diverged else ""
    print(f"{done} runs in {folder / 'table.parquet'}{apart}, {len(unfinished)} missing")
    return 1 if unfinished else 0

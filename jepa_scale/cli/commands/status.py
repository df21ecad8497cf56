"""Show where a study stands, or follow it."""

from __future__ import annotations

import argparse
import sys
import typing
from dataclasses import replace
from pathlib import Path

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


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "status",
        help="where a study stands: runs by state, jobs, time left, failures; --watch follows it",
        description="Show where a study stands. Runs of workers that have ended are queued again.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, nargs="?", help="study folder")
    parser.add_argument("--json", action="store_true", help="print it as JSON; with --watch, one object a line")
    parser.add_argument(
        "--watch",
        nargs="?",
        const=str(_WATCH_SECONDS),
        metavar="SECONDS",
        help=f"follow it until nothing is left that could run, looking every SECONDS (default: {_WATCH_SECONDS})",
    )
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Print where a study stands, or follow it."""
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.view.status import status_of

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

    from jepa_scale.study.view.live import watch
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
    from jepa_scale.study.view.status import WORDS, duration

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
    from jepa_scale.study.queue.owners import task_of
    from jepa_scale.study.view.status import duration

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

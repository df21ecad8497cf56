"""The ``status`` command: show the status of a study, or follow it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

GROUP = "cluster"

_WATCH_SECONDS, _DAY = 5, 86400
_STATUS = """\
--watch on a terminal shows the regret of every cell so far, running runs, jobs, failures and the forecast for the
largest n; elsewhere it prints a line, or with --json an object, whenever something has changed. It ends with exit
code 0 when all runs are done, or no worker has been active for 30 seconds; Ctrl-C ends it earlier and does not stop
the study. SLURM is asked every 30 seconds at most.

--json: at is the time of reading (UTC); left is a lower and an upper estimate of the seconds until all runs are done,
or null if unknown; a lost run is one whose worker has ended.

examples:
  jepa-scale status studies/my_sweep
  jepa-scale status --watch studies/my_sweep
  jepa-scale status studies/my_sweep --watch 60 --json >> history.jsonl
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "status",
        help="show a study's status: runs by state, jobs, time left, failures; --watch follows it",
        description="Show the status of a study. Runs of workers that have ended are queued again.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, nargs="?", help="study folder")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("-q", "--quiet", action="store_true", help="print the number of runs that are done alone")
    shown.add_argument("--json", action="store_true", help="print JSON; with --watch, one object per line")
    parser.add_argument(
        "--watch",
        nargs="?",
        const=str(_WATCH_SECONDS),
        metavar="SECONDS",
        help=f"follow the study until nothing can run any more, reading every SECONDS (default: {_WATCH_SECONDS})",
    )
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Print the status of a study, or follow it."""
    from jepa_scale.runs.errors import UserError
    from jepa_scale.studies.view.status import status_of

    study, watched = parsed.study, parsed.watch
    if study is None and watched is not None and not _is_number(watched):
        study, watched = Path(watched), str(_WATCH_SECONDS)
    if study is None:
        raise UserError("status: expected the folder of a study, got none: jepa-scale status studies/NAME")
    if watched is not None:
        return _watch(study, _seconds(watched), parsed.json)
    with _uncollected():
        status = status_of(study)
    if parsed.json:
        print(_as_json(status, indent=1))
        return 0
    _print_status(status, parsed.quiet)
    return 0


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Let Python not look for circles among the many small objects of a large study, of which there are none.

    Looking takes a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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

    from dataclasses import replace

    from jepa_scale.studies.view.live import watch
    from jepa_scale.terminal import Console

    last: dict[str, typing.Any] = {}

    def tell(status: typing.Any) -> None:
        nonlocal last
        # Every look sees other estimates of the time that is left: that alone is no news.
        if (without := replace(status, left=None).content()) != last:
            last = without
            print(_as_json(status), flush=True)

    try:
        why = watch(study, Console(), seconds, tell if as_json else None)
    except KeyboardInterrupt:
        print("\njepa-scale: no longer watched; the study itself goes on", file=sys.stderr)
        return 130
    if not as_json:
        print(why)
    return 0


def _as_json(status: typing.Any, indent: int | None = None) -> str:
    import datetime
    import json

    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return json.dumps({"at": at, **status.content()}, indent=indent, ensure_ascii=False)


def _print_status(status: typing.Any, quiet: bool = False) -> None:
    from jepa_scale.studies.view.status import WORDS, duration

    counts = status.counts
    diverged = f", {status.diverged} of them diverged" if status.diverged else ""
    print(
        f"{status.name}: {counts['done']} of {len(status.runs)} runs done{diverged}" + ", cancelled" * status.cancelled
    )
    if quiet:
        return
    shown = [f"{counts[state]} {words}" for state, words in WORDS.items() if counts[state]]
    if shown:
        print("  " + ", ".join(shown))
    if counts["left"]:
        print("  the same study or sweep command queues what is not queued")
    _print_tasks(status)
    if status.left is not None:
        low, high = (duration(seconds) for seconds in status.left)
        print(f"  about {low} to {high} left, by the quartiles of what finished runs took, at the workers it has")
    _print_runs(status)


def _print_tasks(status: typing.Any) -> None:
    if status.unknown:
        print(f"  which jobs live is not known: {status.unknown}")
        return
    for words in status.jobs:
        print(f"  jobs: {words}")
    if status.tasks or status.held or not (status.counts["waiting"] or status.counts["lost"]):
        return
    if status.ordered:
        print("  no job is left for the runs that wait: the same sweep command submits new ones")
    else:
        print("  nobody is at it: the same study or sweep command goes on with it")


def _print_runs(status: typing.Any, most: int = 10) -> None:
    from jepa_scale.studies.queue.owners import task_of
    from jepa_scale.studies.view.status import duration

    running = [run for run in status.runs if run.state == "running"]
    for run in running[:most]:
        task = status.tasks.get(task_of(run.owner) or "")
        queued = f", whose job is {task.state.lower()} again" if task is not None and task.state != "RUNNING" else ""
        epochs = f", {run.epochs} epoch{'s' * (run.epochs != 1)}" if run.epochs else ""
        print(f"  {run.point.run_id} {run.point}: {run.owner} for {duration(run.seconds)}{epochs}{queued}")
    if len(running) > most:
        print(f"  … and {len(running) - most} more are running")
    failed = [run for run in status.runs if run.state == "failed"]
    for run in failed[:most]:
        print(f"  failed: {run.point.run_id} {run.point}: {run.reason}")
    if len(failed) > most:
        print(f"  … and {len(failed) - most} more failed")
    if failed:
        print(f"  errors are in {status.folder / 'errors'}; the next sweep command tries failed runs again")

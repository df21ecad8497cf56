"""The ``status`` command: show the status of a study, or follow it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

from jepa_scale.cli.common import add_output

if typing.TYPE_CHECKING:
    from jepa_scale.cli import answers
    from jepa_scale.cli.output import Ending
    from jepa_scale.studies.view.status import Status

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
    parser.add_argument(
        "--watch",
        nargs="?",
        const=str(_WATCH_SECONDS),
        metavar="SECONDS",
        help=f"follow the study until nothing can run any more, reading every SECONDS (default: {_WATCH_SECONDS})",
    )
    add_output(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Print the status of a study, or follow it."""
    from jepa_scale.cli.output import Output
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
    ending = _ending(status)
    Output(parsed).end(ending, lambda: _answer(status, ending))
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

    def tell(status: Status) -> None:
        nonlocal last
        # Every look sees other estimates of the time that is left: that alone is no news.
        if (without := replace(status, left=None).content()) != last:
            last = without
            print(_answer(status, _ending(status)).text(None), flush=True)

    try:
        why = watch(study, Console(), seconds, tell if as_json else None)
    except KeyboardInterrupt:
        print("\njepa-scale: no longer watched; the study itself goes on", file=sys.stderr)
        return 130
    if not as_json:
        print(why)
    return 0


def _answer(status: Status, ending: Ending) -> answers.Status:
    import datetime

    from jepa_scale.cli import answers

    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return answers.Status(**ending.fields(), at=at, **answers.plain(status.content()))


def _ending(status: Status) -> Ending:
    from jepa_scale.cli.output import Ending
    from jepa_scale.studies.view.status import WORDS, duration

    counts = status.counts
    diverged = f", {status.diverged} of them diverged" if status.diverged else ""
    shown = [f"{counts[state]} {words}" for state, words in WORDS.items() if counts[state]]
    notes = [", ".join(shown)] if shown else []
    if counts["left"]:
        notes.append("the same study or sweep command queues what is not queued")
    notes += _tasks(status)
    if status.left is not None:
        low, high = (duration(seconds) for seconds in status.left)
        notes.append(f"about {low} to {high} left, by the quartiles of what finished runs took, at the workers it has")
    return Ending(
        f"{status.name}: {counts['done']} of {len(status.runs)} runs done{diverged}" + ", cancelled" * status.cancelled,
        [*notes, *_running(status)],
        cautions=_failed(status),
        files={},
        **_following(status),
    )


def _following(status: Status) -> dict[str, str]:
    """Return the command after a look, or why there is none, as ``Ending`` takes them."""
    import shlex

    place = shlex.quote(str(status.folder))
    counts = status.counts
    if counts["done"] == len(status.runs):
        return {"next_command": f"jepa-scale report {place}"}
    if counts["running"] or status.tasks or status.held:
        return {"next_command": f"jepa-scale status --watch {place}"}
    if status.ordered:
        return {"no_next": "the same sweep command submits what is missing"}
    return {"next_command": f"jepa-scale study {shlex.quote(str(status.folder / 'study.yaml'))} --folder {place}"}


def _tasks(status: Status) -> list[str]:
    if status.unknown:
        return [f"which jobs live is not known: {status.unknown}"]
    jobs = [f"jobs: {words}" for words in status.jobs]
    if status.tasks or status.held or not (status.counts["waiting"] or status.counts["lost"]):
        return jobs
    if status.ordered:
        return [*jobs, "no job is left for the runs that wait: the same sweep command submits new ones"]
    return [*jobs, "nobody is at it: the same study or sweep command goes on with it"]


def _running(status: Status) -> list[str]:
    from jepa_scale.studies.queue.owners import task_of
    from jepa_scale.studies.view.status import duration

    lines = []
    for run in (run for run in status.runs if run.state == "running"):
        task = status.tasks.get(task_of(run.owner) or "")
        queued = f", whose job is {task.state.lower()} again" if task is not None and task.state != "RUNNING" else ""
        epochs = f", {run.epochs} epoch{'s' * (run.epochs != 1)}" if run.epochs else ""
        lines.append(f"{run.point.run_id} {run.point}: {run.owner} for {duration(run.seconds)}{epochs}{queued}")
    return lines


def _failed(status: Status) -> list[str]:
    failed = [run for run in status.runs if run.state == "failed"]
    if not failed:
        return []
    errors = f"errors are in {status.folder / 'errors'}; the next sweep command tries failed runs again"
    return [errors, *(f"failed: {run.point.run_id} {run.point}: {run.reason}" for run in failed)]

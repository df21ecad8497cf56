"""Where a study stands: runs by state, jobs, time left, failures. Reads files and asks SLURM once; imports no torch."""

from __future__ import annotations

import datetime
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from jepa_scale import cluster
from jepa_scale.runs.errors import UserError
from jepa_scale.study.design import DesignPoint, design_sampler
from jepa_scale.study.manifest import read_plan
from jepa_scale.study.orders import Orders, cancelled, read_orders
from jepa_scale.study.owners import Living, jobs_of, owners, task_of
from jepa_scale.study.spec import StudySpec, spec_of
from jepa_scale.study.storage import NO_TIME, YOUNG, Queue

State = Literal["done", "running", "waiting", "failed", "lost", "left"]
"""With a record; at a worker; for one; without a record after an error; at a worker that has ended; to no one."""
STATES: tuple[State, ...] = ("done", "running", "waiting", "failed", "lost", "left")


@dataclass(frozen=True)
class RunState:
    """One run of a study."""

    point: DesignPoint
    state: State
    owner: str = ""
    seconds: float = 0.0
    """Since its worker took it, while it is running."""
    reason: str = ""
    """Last line of its error, or why it diverged."""
    epochs: int = 0
    """With estimates, of a running one."""


@dataclass(frozen=True)
class Status:
    """A study as it stands."""

    name: str
    folder: Path
    runs: tuple[RunState, ...]
    tasks: Mapping[str, cluster.Task]
    """Of SLURM's jobs of this study."""
    unknown: str
    """Why it is not known which jobs live; else empty."""
    cancelled: bool
    left: tuple[float, float] | None
    """Seconds until the last run is done, from and to; None where nothing is known of it."""

    @property
    def diverged(self) -> int:
        """Runs that are done and came to nothing."""
        return sum(run.state == "done" and bool(run.reason) for run in self.runs)

    @property
    def counts(self) -> dict[State, int]:
        """Runs in each state."""
        found = Counter(run.state for run in self.runs)
        return {state: found[state] for state in STATES}


def open_study(study: Path) -> tuple[StudySpec, list[DesignPoint], Orders | None, Queue]:
    """What a study's folder says, and its queue.

    Raises
    ------
    UserError
        If the folder is not a planned study's, or one of its files is damaged.
    """
    spec, points, orders = spec_of(study), read_plan(study), read_orders(study)
    url = None if orders is None else orders.launcher.storage
    return spec, points, orders, Queue(study, spec.name, design_sampler(spec), url)


def status_of(study: Path) -> Status:
    """Look at a study; runs of workers that have ended are queued again.

    Raises
    ------
    UserError
        As ``open_study``.
    """
    spec, points, orders, queue = open_study(study)
    tasks, unknown = _tasks(queue, orders)
    if not unknown and orders is not None and not cancelled(study):
        # Where no worker lives nobody can be taking a run just now; a job that collects is none.
        young = YOUNG if set(tasks) - set(orders.collect) else NO_TIME
        queue.reap(Living(frozenset(tasks)).lost, orders.launcher.attempts, young)
    latest = {trial.user_attrs.get("run"): trial for trial in queue.trials()}
    runs = tuple(_state(point, study, latest.get(point.run_id), tasks, unknown) for point in points)
    if spec.design is not None:
        # A design takes some of its runs; the others lack nothing.
        runs = tuple(run for run in runs if run.state != "left")
    return Status(spec.name, study, runs, tasks, unknown, cancelled(study), _left(runs, tasks, queue))


def _tasks(queue: Queue, orders: Orders | None) -> tuple[dict[str, cluster.Task], str]:
    jobs = {*jobs_of(owners(queue)), *(orders.jobs if orders is not None else ())}
    try:
        return cluster.tasks(jobs), ""
    except cluster.SlurmError as error:
        return {}, str(error)


def _state(
    point: DesignPoint, study: Path, trial: FrozenTrial | None, tasks: Mapping[str, cluster.Task], unknown: str
) -> RunState:
    failed = trial is not None and trial.state == TrialState.FAIL
    # Reading all records would take long; those of failed trials are diverged runs', or what could not be read.
    if point.folder(study).record_path.exists() and not (failed and _unreadable(point, study)):
        reason = str(trial.user_attrs.get("reason", "")) if failed and trial is not None else ""
        return RunState(point, "done", reason=reason if reason.startswith("diverged") else "")
    if trial is None:
        return RunState(point, "left")
    owner = str(trial.user_attrs.get("worker", ""))
    if trial.state == TrialState.WAITING:
        return RunState(point, "waiting")
    if trial.state == TrialState.RUNNING:
        ended = not unknown and Living(frozenset(tasks)).lost(owner)
        began = trial.datetime_start or datetime.datetime.now(datetime.UTC)
        seconds = (datetime.datetime.now(datetime.UTC) - began.astimezone(datetime.UTC)).total_seconds()
        return RunState(point, "lost" if ended else "running", owner, seconds, epochs=_epochs(point, study))
    return RunState(point, "failed", owner, reason=_reason(point, study, trial))


def _epochs(point: DesignPoint, study: Path) -> int:
    """Epochs whose estimates a run has written: told by the last line, as reading all would take long."""
    path = point.folder(study).metrics_path
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        found = re.findall(rb'"epoch": (\d+)', file.read())
    return int(found[-1]) + 1 if found else 0


_TAIL = 4096


def _unreadable(point: DesignPoint, study: Path) -> bool:
    try:
        return point.folder(study).read_record() is None
    except UserError:
        return True


def _reason(point: DesignPoint, study: Path, trial: FrozenTrial) -> str:
    left = study / "errors" / f"{point.run_id}.txt"
    lines = left.read_text(encoding="utf-8", errors="replace").strip().splitlines() if left.exists() else []
    return lines[-1] if lines else str(trial.user_attrs.get("reason", "it gave no reason"))


def _left(runs: Sequence[RunState], tasks: Mapping[str, cluster.Task], queue: Queue) -> tuple[float, float] | None:
    """Work that is left over the workers at it, from the quartiles of what finished runs took."""
    # From being taken to being told, as starting a process takes its time too.
    took = [
        trial.duration.total_seconds()
        for trial in queue.trials()
        if trial.state == TrialState.COMPLETE and trial.duration is not None and trial.duration.total_seconds() > 0
    ]
    open_runs = [run for run in runs if run.state in ("running", "waiting", "lost")]
    busy = {task_of(run.owner) or run.owner for run in runs if run.state == "running"}
    busy |= {task.name for task in tasks.values() if task.state == "RUNNING" and "_" in task.name}
    if len(took) < 4 or not open_runs or not busy:
        return None
    low, _, high = statistics.quantiles(took, n=4)
    running = sum(run.seconds for run in open_runs if run.state == "running")
    share = min(len(busy), len(open_runs))
    return max(len(open_runs) * low - running, 0.0) / share, max(len(open_runs) * high - running, 0.0) / share

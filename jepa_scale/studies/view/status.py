"""Status of a study: runs by state, jobs, time left, failures. Reads files, asks the cluster, never imports torch."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from optuna.trial import FrozenTrial, TrialState

from jepa_scale.files import NotWritten
from jepa_scale.records import RunRecord
from jepa_scale.records.quantities import Target
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import refuse_links
from jepa_scale.studies.design import DesignPoint, design_sampler
from jepa_scale.studies.launching.jobs import JobsUnknown, Task, task_of
from jepa_scale.studies.launching.submission import (
    Submission,
    cancelled,
    jobs_named,
    read_submission,
    storage_of,
    tasks_of,
)
from jepa_scale.studies.manifest import read_plan
from jepa_scale.studies.queue.owners import Living, held, owners
from jepa_scale.studies.queue.storage import NO_TIME, YOUNG, Queue
from jepa_scale.studies.queue.trials import outcome_of, regret_of
from jepa_scale.studies.specification.spec import StudySpec, spec_of
from jepa_scale.studies.view.tails import Tail

T = TypeVar("T")
State = Literal["done", "running", "waiting", "failed", "lost", "left"]
"""State of a run: has a record; claimed by a worker; waits for one; ended with an error, without a record; claimed by a
worker that has ended; not queued."""
STATES: tuple[State, ...] = ("done", "running", "waiting", "failed", "lost", "left")
WORDS: Mapping[State, str] = {
    "running": "running",
    "waiting": "waiting for a worker",
    "failed": "failed",
    "lost": "at workers that have ended",
    "left": "not queued",
}
"""Description of each state other than done, for the reader."""


@dataclass(frozen=True)
class RunState:
    """State of one run of a study."""

    point: DesignPoint
    state: State
    owner: str = ""
    seconds: float = 0.0
    """Seconds since its worker claimed it; 0 unless the run is running."""
    reason: str = ""
    """Last line of its error, or why it diverged."""
    epochs: int = 0
    """Epochs with estimates so far, of a running run."""
    of_epochs: int | None = None
    """Total epochs of a running run; None if unknown."""
    regret: float | None = None
    """Regret under the run's own planner score, final or latest; None if there is none."""


@dataclass(frozen=True)
class Status:
    """Status of a study at one moment."""

    name: str
    folder: Path
    runs: tuple[RunState, ...]
    tasks: Mapping[str, Task]
    """Tasks of this study's jobs on a cluster, by name."""
    unknown: str
    """Why it is unknown which jobs are alive; empty if it is known."""
    cancelled: bool
    left: tuple[float, float] | None
    """Lower and upper estimate of the seconds until all runs are done; None if unknown."""
    held: bool
    """Whether a process on this machine works on the study; true if that cannot be determined."""
    ordered: bool
    """Whether workers for the study were ever submitted to a cluster."""
    most: int | None = None
    """Most runs that an adaptive design may choose; None for a grid."""

    @property
    def diverged(self) -> int:
        """Number of finished runs that diverged."""
        return sum(run.state == "done" and bool(run.reason) for run in self.runs)

    @property
    def total(self) -> int:
        """Number of runs planned; for a design, the most it may choose."""
        return len(self.runs) if self.most is None else max(self.most, len(self.runs))

    @property
    def jobs(self) -> list[str]:
        """The study's jobs by state, and why they wait."""
        kinds = Counter((task.state, task.node if task.state == "PENDING" else "") for task in self.tasks.values())
        return [f"{count} {state.lower()}{' ' * bool(why)}{why}" for (state, why), count in sorted(kinds.items())]

    @property
    def counts(self) -> dict[State, int]:
        """Number of runs in each state."""
        counter = Counter(run.state for run in self.runs)
        return {state: counter[state] for state in STATES}

    def content(self) -> dict[str, Any]:
        """The status as JSON values; ``left`` is in seconds."""
        runs = {run.point.run_id: {"state": run.state, "owner": run.owner, "reason": run.reason} for run in self.runs}
        tasks = {task.name: {"state": task.state, "where": task.node} for task in self.tasks.values()}
        return {"study": self.name, "counts": self.counts, "runs": runs, "tasks": tasks, "left": self.left}


def open_study(study: Path) -> tuple[StudySpec, list[DesignPoint], Queue]:
    """Open a study's folder: its specification, design points and queue.

    Raises
    ------
    UserError
        If the folder holds no planned study, or one of its files is damaged.
    """
    spec, points, url = spec_of(study), read_plan(study, looking=True), storage_of(study)
    reads = not os.access(study, os.W_OK)
    if reads:
        warnings.warn(f"{study} is read as it is, without its lock: it may be changing", stacklevel=2)
    else:
        refuse_links(study)
    queue = Queue(study, spec.name, design_sampler(spec), url, reads=reads, dials=spec.others, target=spec.target)
    return spec, points, queue


def status_of(study: Path) -> Status:
    """Read the status of a study; runs of workers that have ended are queued again.

    Raises
    ------
    UserError
        As ``open_study``.
    """
    return Look(study).status()


class Once(Generic[T]):
    """Cache of values computed from runs' records, each of which is read once because it never changes."""

    def __init__(self, study: Path, make: Callable[[RunRecord], T]) -> None:
        self.study, self.make = study, make
        self._made: dict[str, T] = {}

    def __call__(self, point: DesignPoint) -> T | None:
        """Value of one run; None if it has no readable record."""
        if point.run_id not in self._made:
            try:
                record = point.folder(self.study).read_record()
            except UserError:
                return None
            if record is None:
                return None
            self._made[point.run_id] = self.make(record)
        return self._made[point.run_id]


class Look:
    """Repeated reader of a study's status; files that no longer change are read once.

    A process that runs the study in ``workers`` processes passes its own ``queue``; runs of dead workers are then left
    to it. The cluster is asked at most every ``patience`` seconds.

    Raises
    ------
    UserError
        As ``open_study``.
    """

    def __init__(self, study: Path, queue: Queue | None = None, patience: float = 0.0, workers: int = 0) -> None:
        self.study, self.patience, self._runs = study, patience, str(study / "runs")
        self.at_it = None if queue is None else True
        """True if this process runs the study; None: find out whether another process does."""
        self._most = workers
        if queue is None:
            self.spec, self.points, self.queue = open_study(study)
        else:
            self.spec, self.points, self.queue = spec_of(study), read_plan(study, looking=True), queue
        self.reaps = queue is None and not self.queue.reads
        self._planned = self._plan_time()
        self._asked = -float("inf")
        self._known: tuple[dict[str, Task], str] = {}, ""
        self._ended: dict[int, RunState] = {}
        self._recorded = Once(study, regret_of)
        self._tails: dict[str, Tail] = {}
        self._settings: dict[str, tuple[str, int]] = {}

    def status(self) -> Status:
        """Read the current status of the study.

        Raises
        ------
        UserError
            As ``open_study``.
        """
        if self._plan_time() != self._planned:
            self.points, self._planned = read_plan(self.study, looking=True), self._plan_time()
        submission, stopped = read_submission(self.study), cancelled(self.study)
        tasks, unknown = self._tasks(submission, stopped)
        trials = self.queue.trials()
        latest = {trial.user_attrs.get("run"): trial for trial in trials}
        # After the trials: whoever has taken runs held the study before.
        here = held(self.study) if self.at_it is None else self.at_it
        lost = functools.partial(_lost, tasks, unknown, here)
        runs = tuple(self._state(point, latest.get(point.run_id), lost) for point in self.points)
        most = None
        if self.spec.design is not None:
            # A design takes some of its runs; the others lack nothing.
            runs = tuple(run for run in runs if run.state != "left")
            most = min(len(self.points), self.spec.design.get("runs", len(self.points)))
        left = _left(runs, self._workers(runs, tasks, here), trials)
        ordered = submission is not None and submission.cluster is not None
        return Status(self.spec.name, self.study, runs, tasks, unknown, stopped, left, here, ordered, most)

    def workers(self, status: Status) -> set[str]:
        """Names of the tasks that are workers; jobs that collect the study are left out."""
        submission = read_submission(self.study)
        return set(status.tasks) - set(submission.collect if submission is not None else ())

    def _workers(self, runs: Sequence[RunState], tasks: Mapping[str, Task], here: bool) -> int:
        busy = {run.owner for run in runs if run.state == "running" and run.owner}
        ours = {owner for owner in busy if task_of(owner) is None}
        # Between two runs a process of this machine has none, and is at work: as many as were seen at once.
        self._most = max(self._most, len(ours)) if here else 0
        others = {task_of(owner) for owner in busy - ours}
        others |= {task.name for task in tasks.values() if task.state == "RUNNING" and "_" in task.name}
        return self._most + len(others)

    def _plan_time(self) -> int:
        return (self.study / "plan.json").stat().st_mtime_ns

    def _tasks(self, submission: Submission | None, stopped: bool) -> tuple[dict[str, Task], str]:
        if time.monotonic() - self._asked < self.patience:
            return self._known
        try:
            self._known = tasks_of(submission, jobs_named(submission, owners(self.queue))), ""
        except JobsUnknown as error:
            self._known = {}, str(error)
        tasks, unknown = self._known
        launcher = None if submission is None else submission.cluster
        if self.reaps and not unknown and submission is not None and launcher is not None and not stopped:
            # Where no worker lives nobody can be taking a run just now; a job that collects is none.
            young = YOUNG if set(tasks) - set(submission.collect) else NO_TIME
            try:
                self.queue.reap(Living(frozenset(tasks)).lost, launcher.attempts, young)
            except NotWritten as error:
                # Runs of dead workers stay lost until there is room again; to see that needs no disk.
                warnings.warn(str(error), stacklevel=2)
        self._asked = time.monotonic()
        return self._known

    def _state(self, point: DesignPoint, trial: FrozenTrial | None, lost: Callable[[str], bool]) -> RunState:
        # By trial: whoever deletes a record has the run done again, as another one.
        known = None if trial is None else self._ended.get(trial._trial_id)
        if known is not None:
            return known
        failed = trial is not None and trial.state == TrialState.FAIL
        # Reading all records would take long; those of failed trials are diverged runs', or what could not be read.
        recorded = os.path.exists(f"{self._runs}/{point.run_id}/record.json")
        if recorded and not (failed and _unreadable(point, self.study)):
            return self._done(point, trial)
        if trial is None:
            return RunState(point, "left")
        owner = str(trial.user_attrs.get("worker", ""))
        if trial.state == TrialState.WAITING:
            return RunState(point, "waiting")
        if trial.state == TrialState.RUNNING:
            began = trial.datetime_start or datetime.datetime.now(datetime.UTC)
            seconds = (datetime.datetime.now(datetime.UTC) - began.astimezone(datetime.UTC)).total_seconds()
            return self._so_far(RunState(point, "lost" if lost(owner) else "running", owner, seconds))
        return RunState(point, "failed", owner, reason=_reason(point, self.study, trial))

    def _done(self, point: DesignPoint, trial: FrozenTrial | None) -> RunState:
        reason = str(trial.user_attrs.get("reason", "")) if trial is not None else ""
        diverged = trial is not None and outcome_of(trial) == "diverged"
        if trial is not None and trial.state == TrialState.COMPLETE and self.queue.target == Target():
            regret = trial.value
        else:
            regret = None if diverged else self._recorded(point)
        state = RunState(point, "done", reason=reason if diverged else "", regret=regret)
        if trial is not None and trial.state.is_finished():
            self._ended[trial._trial_id] = state
            self._tails.pop(point.run_id, None)
        return state

    def _so_far(self, run: RunState) -> RunState:
        folder = run.point.folder(self.study)
        tail = self._tails.setdefault(run.point.run_id, Tail(folder.metrics_path))
        tail.read()
        if run.point.run_id not in self._settings:
            config = folder.peek_config()
            # Not there yet: asked for again next time. Strange: the run itself will say so.
            with contextlib.suppress(KeyError, TypeError):
                if config is not None:
                    self._settings[run.point.run_id] = _settings_of(config)
        score, of_epochs = self._settings.get(run.point.run_id, ("", None))
        return replace(run, epochs=tail.epochs, of_epochs=of_epochs, regret=tail.regrets.get(score))


def _lost(tasks: Mapping[str, Task], unknown: str, here: bool, owner: str) -> bool:
    """Whether an owner's run has no live worker: its task has ended, or no process works on this machine (``here``)."""
    if task_of(owner) is not None:
        return not unknown and Living(frozenset(tasks)).lost(owner)
    # A task that is just taking a run has no name there yet.
    return not here and (bool(owner) or not (tasks or unknown))


def _settings_of(config: Mapping[str, Any]) -> tuple[str, int]:
    """Score of a run's planner, and total epochs of its stages."""
    later = config["finetune"]["epochs"] if "finetune" in config["stages"] else 0
    return str(config["planner"].get("score")), config["trainer"]["epochs"] + later


def _unreadable(point: DesignPoint, study: Path) -> bool:
    try:
        return point.folder(study).read_record() is None
    except UserError:
        return True


def _reason(point: DesignPoint, study: Path, trial: FrozenTrial) -> str:
    left = study / "errors" / f"{point.run_id}.txt"
    lines = left.read_text(encoding="utf-8", errors="replace").strip().splitlines() if left.exists() else []
    return lines[-1] if lines else str(trial.user_attrs.get("reason", "it gave no reason"))


def duration(seconds: float) -> str:
    """Format seconds as M:SS, or H:MM:SS from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _left(runs: Sequence[RunState], workers: int, trials: Sequence[FrozenTrial]) -> tuple[float, float] | None:
    """Seconds left, lower and upper: remaining work by the quartiles of finished runs' times, divided among workers."""
    # From being taken to being told, as starting a process takes its time too.
    ended = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE and trial.duration is not None and trial.duration.total_seconds() > 0
    ]
    open_runs = [run for run in runs if run.state in ("running", "waiting", "lost")]
    if len(ended) < 4 or not open_runs or not workers:
        return None
    took = [trial.duration.total_seconds() for trial in ended if trial.duration is not None]
    alone = _busy(ended) / sum(took)
    low, _, high = (alone * seconds for seconds in statistics.quantiles(took, n=4))
    begun = {run.owner: run.seconds for run in sorted(open_runs, key=lambda run: run.seconds) if run.state == "running"}
    share = min(workers, len(open_runs))
    rest = (max(len(open_runs) * seconds - sum(begun.values()), 0.0) / share for seconds in (low, high))
    return next(rest), next(rest)


def _busy(ended: Sequence[FrozenTrial]) -> float:
    """Seconds in which workers had runs, each counted once: members of a cohort run at the same time."""
    seconds, until = 0.0, dict[str, datetime.datetime]()
    for start, end, worker in sorted(
        (trial.datetime_start, trial.datetime_complete, str(trial.user_attrs.get("worker", trial.number)))
        for trial in ended
        if trial.datetime_start is not None and trial.datetime_complete is not None
    ):
        start = max(start, until.get(worker, start))
        if end > start:
            seconds, until[worker] = seconds + (end - start).total_seconds(), end
    return seconds

"""The queue of a study: an Optuna study in journal storage, an index that can be rebuilt from the runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from jepa_scale.records import RunRecord
from jepa_scale.study.design import DesignPoint
from jepa_scale.study.sampler import SECONDS, ScalingDesignSampler

# Wide ranges rather than categories: a categorical value space cannot be extended when the study grows.
_WIDE = {"n": IntDistribution(1, 2**40, log=True), "k": IntDistribution(1, 2**30, log=True)}
DISTRIBUTIONS: dict[str, BaseDistribution] = {**_WIDE, "seed": IntDistribution(0, 2**31 - 1)}
_DIED = "its worker died"
ATTEMPTS = 2
"""How often a run is tried when its worker dies under it."""


@dataclass(frozen=True)
class Claim:
    """A run that this worker alone is to do."""

    trial_id: int
    run_id: str
    attempt: int


class _KernelLock(JournalFileOpenLock):
    """A journal lock that the operating system lets go of when its holder is killed.

    Optuna's own locks are files that a killed process leaves behind, and that the others then wait for: the lock of a
    journal with a relative path for ever, as its age cannot be told through the dangling link.
    """

    def __init__(self, path: Path) -> None:
        # Not super().__init__: the parent is the interface here, and its lock file is what this replaces.
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Let go of it."""
        self._lock.release()


class Queue:
    """Design points as Optuna trials: n, k and seed are the parameters, the run's regret is the value."""

    def __init__(self, study_folder: Path, name: str, sampler: ScalingDesignSampler | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.path = study_folder / "journal.log"
        self.storage = self._open()
        self.sampler = sampler
        self.study = optuna.create_study(
            study_name=name,
            storage=self.storage,
            direction="minimize",
            load_if_exists=True,
            sampler=sampler or _never_asked(),
        )

    def _open(self) -> JournalStorage:
        try:
            return self._load()
        except Exception:
            # A torn journal is not worth a user's time: runs/ holds the results, and plan() writes a new index.
            self.path.rename(self.path.with_suffix(f".damaged-{int(time.time())}"))
            return self._load()

    def _load(self) -> JournalStorage:
        return JournalStorage(JournalFileBackend(str(self.path), _KernelLock(self.path.with_suffix(".lock"))))

    def trials(self) -> list[FrozenTrial]:
        """All trials, oldest first; not copies, so they must not be changed."""
        return self.study.get_trials(deepcopy=False)

    def plan(self, points: Iterable[DesignPoint], done: Mapping[str, RunRecord]) -> int:
        """Make the queue agree with the runs on disk; return how many are waiting.

        Only the process that holds the study may call this: whatever is still RUNNING then has no one to finish it.
        """
        points = list(points)
        by_run: dict[str, list[FrozenTrial]] = {}
        for trial in self.trials():
            if trial.state == TrialState.RUNNING:
                self._tell(trial._trial_id, TrialState.FAIL, reason=_DIED)
            else:
                by_run.setdefault(trial.user_attrs.get("run", ""), []).append(trial)
        waiting = 0
        for point in points:
            trials = by_run.get(point.run_id, [])
            record = done.get(point.run_id)
            if record is None:
                # A design's cells are chosen when a worker asks; only what a dead worker left is done again.
                if self.sampler is not None and not trials and point.purpose == "cell":
                    continue
                waiting += 1
                if not any(trial.state == TrialState.WAITING for trial in trials):
                    self._enqueue_point(point)
                continue
            for trial in trials:
                if trial.state == TrialState.WAITING and self._take(trial._trial_id):
                    self.finish(trial._trial_id, record)
            if not trials:
                self.study.add_trial(_finished_trial(point, record))
        return waiting + int(self.undecided(points))

    def undecided(self, points: Iterable[DesignPoint]) -> bool:
        """Whether a design would choose another run."""
        return self.sampler is not None and self._proposed(points) is not None

    def _proposed(self, points: Iterable[DesignPoint]) -> DesignPoint | None:
        """Return the run that the design chooses next; None where it is done."""
        assert self.sampler is not None  # asked of designs only
        trials = [
            trial
            for trial in self.trials()
            # A trial whose worker died is done again as another one; its cell counts once.
            if trial.state != TrialState.WAITING
            and "purpose" not in trial.user_attrs
            and not str(trial.user_attrs.get("reason", "")).startswith(_DIED)
        ]
        chosen = self.sampler.proposal(trials)
        if chosen is None:
            return None
        taken = {trial.user_attrs.get("run") for trial in self.trials()}
        cell = [
            point
            for point in points
            if (point.n, point.k) == (chosen.n, chosen.k) and point.purpose == "cell" and point.run_id not in taken
        ]
        return min(cell, key=lambda point: point.seed) if cell else None

    def claim(self, worker: str, points: Iterable[DesignPoint] = ()) -> Claim | None:
        """Take the first waiting run, or the one that the design chooses; None when there is none left."""
        claimed = self._claim_waiting(worker)
        if claimed is not None or self.sampler is None:
            return claimed
        # One at a time: each choice must count the runs that the others have just begun.
        with FileLock(self.path.with_name("design.lock")):
            point = self._proposed(points)
            if point is None:
                return None
            self._enqueue_point(point)
            return self._claim_waiting(worker)

    def _claim_waiting(self, worker: str) -> Claim | None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if self._take(trial._trial_id):
                handle = optuna.trial.Trial(self.study, trial._trial_id)
                # The queued values become the trial's parameters only when they are asked for.
                handle.suggest_int("n", 1, 2**40, log=True)
                handle.suggest_int("k", 1, 2**30, log=True)
                handle.suggest_int("seed", 0, 2**31 - 1)
                handle.set_user_attr("worker", worker)
                return Claim(trial._trial_id, trial.user_attrs["run"], trial.user_attrs["attempt"])
        return None

    def _take(self, trial_id: int) -> bool:
        # False: another worker was faster. Ended between our look and now: likewise not ours.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, RuntimeError):
            return self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return False

    def finish(self, trial_id: int, record: RunRecord) -> None:
        """Tell the outcome of a run that has a record."""
        value = regret_of(record)
        if value is None:
            self._tell(trial_id, TrialState.FAIL, reason=f"{record.status}: {record.reason}")
        else:
            self.storage.set_trial_user_attr(trial_id, SECONDS, record.times.get("wall_seconds"))
            self.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, values=[value])

    def fail(self, trial_id: int, reason: str) -> None:
        """Tell that a run ended with an error and has no record."""
        self._tell(trial_id, TrialState.FAIL, reason=reason)

    def give_up_or_retry(self, worker: str) -> None:
        """Queue again what a dead worker was doing, unless it has been tried often enough."""
        for trial in list(self.running()):
            if trial.user_attrs.get("worker") != worker:
                continue
            attempt = trial.user_attrs["attempt"]
            self._tell(trial._trial_id, TrialState.FAIL, reason=f"{_DIED}, at attempt {attempt} of {ATTEMPTS}")
            if attempt < ATTEMPTS:
                marks: dict[str, Any] = {name: trial.user_attrs[name] for name in _MARKS if name in trial.user_attrs}
                self._enqueue(trial.params, {**marks, "attempt": attempt + 1})

    def waiting(self) -> int:
        """Runs that no one has taken yet."""
        return sum(trial.state == TrialState.WAITING for trial in self.trials())

    def running(self) -> Iterator[FrozenTrial]:
        """Trials that a worker is at."""
        return (trial for trial in self.trials() if trial.state == TrialState.RUNNING)

    def _enqueue_point(self, point: DesignPoint) -> None:
        self._enqueue({"n": point.n, "k": point.k, "seed": point.seed}, {**_marks(point), "attempt": 1})

    def _enqueue(self, parameters: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        self.study.enqueue_trial(dict(parameters), user_attrs=dict(attributes))

    def _tell(self, trial_id: int, state: TrialState, reason: str) -> None:
        self.storage.set_trial_user_attr(trial_id, "reason", reason)
        self.storage.set_trial_state_values(trial_id, state)


def regret_of(record: RunRecord) -> float | None:
    """The run's regret under its own planner's score; None if it did not finish."""
    score = record.config["planner"].get("score")
    return record.final.get(f"regret/{score}") if record.status == "finished" else None


_MARKS = ("run", "purpose", "label")


def _marks(point: DesignPoint) -> dict[str, Any]:
    """Which run a trial is; one that is no cell of the table says what it is for."""
    marks = {"run": point.run_id}
    return marks if point.purpose == "cell" else {**marks, "purpose": point.purpose, "label": point.label}


def _finished_trial(point: DesignPoint, record: RunRecord) -> FrozenTrial:
    value: float | None = regret_of(record)
    seconds = record.times.get("wall_seconds")
    attributes: dict[str, Any] = {**_marks(point), "attempt": 1, SECONDS: seconds}
    if value is None:
        attributes["reason"] = f"{record.status}: {record.reason}"
    return create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        value=value,
        params={"n": point.n, "k": point.k, "seed": point.seed},
        distributions=DISTRIBUTIONS,
        user_attrs=attributes,
    )


def _never_asked() -> optuna.samplers.BaseSampler:
    """Every trial is enqueued with all its parameters, so the sampler has nothing to choose."""
    return optuna.samplers.RandomSampler(seed=0)

"""The queue of a study: an Optuna study in journal storage, an index that can be rebuilt from the runs."""

from __future__ import annotations

import contextlib
import copy
import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from jepa_scale.records import RunRecord
from jepa_scale.records.dials import Dial
from jepa_scale.records.quantities import Target
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.studies.design import DesignPoint
from jepa_scale.studies.queue import listing, server
from jepa_scale.studies.queue.claims import Claims
from jepa_scale.studies.queue.journal import Unreadable, open_journal, open_url, put_aside
from jepa_scale.studies.queue.places import Claim, Kind, claim_of
from jepa_scale.studies.queue.target import MOST_POINTS, create_study, curve_of, estimate_of, stored_target, value_of
from jepa_scale.studies.queue.trials import (
    DIED,
    DISTRIBUTIONS,
    OUTCOME,
    Outcome,
    age,
    distribution,
    finished_trial,
    kept,
    marks,
    outcome,
    outcome_of,
    parameters,
    reason_of,
)
from jepa_scale.studies.sampler import SECONDS, ScalingDesignSampler

ATTEMPTS = 2
"""Attempts at a run whose worker dies."""
YOUNG = datetime.timedelta(minutes=10)
"""Age up to which a running trial without an owner may be one that a worker is just claiming."""
NO_TIME = datetime.timedelta(0)
_AT_ONCE = 500
"""Runs that are planned in one transaction: while one lasts no worker can claim or tell anything."""


class Queue:
    """Design points as Optuna trials: n, k and seed are the parameters, the study's target is the value.

    The queue is stored in the study's journal file, or on the server at a URL. With ``reads`` it takes no lock and
    writes nothing, as for another user's folder.

    Raises
    ------
    Unreadable
        If the journal is damaged and ``rebuild`` is not set; with it, a new journal replaces the damaged one.
    UserError
        If ``reads`` is set and there is no journal.
    """

    def __init__(
        self,
        study_folder: Path,
        name: str,
        sampler: ScalingDesignSampler | None = None,
        url: str | None = None,
        rebuild: bool = False,
        reads: bool = False,
        dials: Sequence[Dial] = (),
        target: Target | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder, self.path = study_folder, study_folder / "journal.log"
        self.reads = reads
        self._space = DISTRIBUTIONS | {dial.name: distribution(dial) for dial in dials}
        if reads and not self.path.is_file():
            raise UserError(f"{study_folder} has no journal.log, and none can be written there: see its runs/ instead")
        self.storage = self._open(rebuild) if url is None else open_url(url)
        self.sampler = sampler
        chooser = sampler or _never_asked()
        try:
            # First, as to create one writes into the journal even where it is there: to look at a study needs no disk.
            self.study = optuna.load_study(study_name=name, storage=self.storage, sampler=chooser)
        except KeyError:
            if reads:
                raise UserError(f"{self.path} holds no study {name!r}: it is another study's") from None
            self.study = create_study(name, self.storage, target or Target(), chooser)
        self.target = stored_target(self.study)
        """What the values of trials are; of a study that was begun with another target it stays that one."""
        self._claims = Claims(self.study, self.storage, self._space)

    @property
    def name(self) -> str:
        """The study's name, which may differ from its folder's."""
        return str(self.study.study_name)

    def _open(self, rebuild: bool) -> BaseStorage:
        try:
            return open_journal(self.path)
        except Unreadable:
            if not rebuild:
                raise
            # A damaged journal is not worth a user's time: runs/ holds the results, and plan() writes a new index.
            put_aside(self.path)
            return open_journal(self.path)

    def trials(self) -> list[FrozenTrial]:
        """All trials, oldest first; not copies, so they must not be changed."""
        return self._listed(None)

    def _listed(self, states: tuple[TrialState, ...] | None) -> list[FrozenTrial]:
        if isinstance(self.storage, RDBStorage):
            return listing.trials(self.storage, self._claims.study_id, states)
        return self.study.get_trials(deepcopy=False, states=states)

    def plan(
        self,
        points: Iterable[DesignPoint],
        done: Mapping[str, RunRecord],
        alive: Callable[[str], bool] | None = None,
        young: datetime.timedelta = NO_TIME,
    ) -> int:
        """Make the queue agree with the runs on disk; return how many are waiting.

        Only the process that holds the study's lock may call this. Owners that are ``alive`` keep their runs; None: no
        owner is alive. Running trials without an owner are kept up to the age ``young``: a worker may be claiming them.
        """
        points = list(points)
        self.reap(lambda owner: alive is None or not alive(owner), attempts=0, young=young)
        by_run: dict[str, list[FrozenTrial]] = {}
        for trial in self.trials():
            by_run.setdefault(trial.user_attrs.get("run", ""), []).append(trial)
        waiting = 0
        for first in range(0, len(points), _AT_ONCE):
            new: list[DesignPoint] = []
            with self._claims.transaction():
                waiting += sum(self._plan(point, by_run, done, new) for point in points[first : first + _AT_ONCE])
                self._enqueue_points(new)
        self._claims.forget()
        return waiting + int(self.undecided(points))

    def _plan(
        self,
        point: DesignPoint,
        by_run: Mapping[str, list[FrozenTrial]],
        done: Mapping[str, RunRecord],
        new: list[DesignPoint],
    ) -> int:
        """Make the trials of one run agree with its record; return how many runs that leaves waiting, 0 or 1.

        A run that has to be queued is added to ``new``.
        """
        trials, record = by_run.get(point.run_id, []), done.get(point.run_id)
        if any(trial.state == TrialState.RUNNING for trial in trials):
            return 0
        if record is None:
            # A design's cells are chosen when a worker asks; only what a dead worker left is done again.
            if self.sampler is not None and not trials and point.purpose == "cell":
                return 0
            if not any(trial.state == TrialState.WAITING for trial in trials):
                new.append(point)
            return 1
        for trial in trials:
            if trial.state == TrialState.WAITING and self._claims.take(trial._trial_id):
                self.finish(trial._trial_id, record)
        if not trials:
            value, curve = value_of(record, self.target), self._curve(record)
            self.study.add_trial(finished_trial(point, record, self._space, value, curve))
        return 0

    def undecided(self, points: Iterable[DesignPoint]) -> bool:
        """Whether the design, if there is one, would choose another run."""
        return self.sampler is not None and self._proposed(points) is not None

    def _proposed(self, points: Iterable[DesignPoint]) -> DesignPoint | None:
        """Return the run that the design chooses next; None if the design is complete."""
        assert self.sampler is not None  # asked of designs only
        trials = [
            trial
            for trial in self.trials()
            # A trial whose worker died is done again as another one; its cell counts once.
            if trial.state != TrialState.WAITING and "purpose" not in trial.user_attrs and outcome_of(trial) != "died"
        ]
        chosen = self.sampler.proposal([self._minimised(trial) for trial in trials])
        if chosen is None:
            return None
        queued = {trial.user_attrs.get("run") for trial in self.trials()}
        cell = [
            point
            for point in points
            if (point.n, point.k) == (chosen.n, chosen.k) and point.purpose == "cell" and point.run_id not in queued
        ]
        return min(cell, key=lambda point: point.seed) if cell else None

    def _minimised(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial with the distance to the upper end as its value, if more is better."""
        if self.target.better == "lower" or trial.values is None:
            return trial
        copied = copy.copy(trial)
        copied.values = [float(self.target.of(trial.value))]
        return copied

    def claim(self, worker: str, points: Iterable[DesignPoint] = (), resources: str | None = None) -> Claim | None:
        """Claim the first waiting run, or the one that the design chooses; None when there is none left.

        ``resources`` restricts the choice to runs of that class.
        """
        return next(iter(self.claim_several(worker, points, resources)), None)

    def claim_several(
        self,
        worker: str,
        points: Iterable[DesignPoint] = (),
        resources: str | None = None,
        kind: Kind | None = None,
        most: Callable[[str, int], int] = lambda run, waiting: 1,
    ) -> list[Claim]:
        """Claim runs of one ``kind`` together, in one transaction where the storage has any; none when none is left.

        ``most`` says how many, given the first and how many of its kind seem to wait. Of a design it is one.
        """
        claimed = self._claims.claim(worker, resources, kind, most)
        if claimed or self.sampler is None:
            return claimed
        # One at a time: each choice must count the runs that the others have just begun.
        with FileLock(self.path.with_name("design.lock")):
            point = self._proposed(points)
            if point is None:
                return []
            self._enqueue_points([point])
            return self._claims.claim(worker, resources, None, lambda run, waiting: 1)

    def resumed(self, worker: str) -> list[Claim]:
        """The runs that this worker was doing when it last ended: several, if they were a cohort."""
        return [claim_of(trial) for trial in self.running() if trial.user_attrs.get("worker") == worker]

    def note_start(self, claim: Claim, mark: float) -> int:
        """Store the progress of a run that is started now; return its number of consecutive starts without progress."""
        before = self._trial(claim.trial_id).user_attrs
        stalls = before.get("stalls", 0) + 1 if "mark" in before and mark <= before["mark"] else 0
        self.storage.set_trial_user_attr(claim.trial_id, "mark", mark)
        self.storage.set_trial_user_attr(claim.trial_id, "stopped", False)
        self.storage.set_trial_user_attr(claim.trial_id, "stalls", stalls)
        return stalls

    def finish(self, trial_id: int, record: RunRecord) -> None:
        """Store the outcome of a run that has a record."""
        value, curve = value_of(record, self.target), self._curve(record)
        # Ended already: another worker took it from this one, believing it dead.
        with (
            self._claims.transaction(),
            contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, RuntimeError),
        ):
            for step, point in curve.items():
                self.storage.set_trial_intermediate_value(trial_id, step, point)
            if value is None:
                self._tell(trial_id, outcome(record), reason=reason_of(record))
            else:
                self.storage.set_trial_user_attr(trial_id, SECONDS, record.times.get("wall_seconds"))
                self.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, values=[value])

    def _curve(self, record: RunRecord) -> dict[int, float]:
        """Return the learning curve of a run's target, as long as a study of so many runs may store."""
        estimate, runs = estimate_of(self.target, record), self.storage.get_n_trials(self._claims.study_id)
        if not estimate or MOST_POINTS // max(runs, 1) < 2:
            return {}
        try:
            rows = RunFolder(self.folder / "runs" / record.run_id, record.run_id).read_metrics()
        except (UserError, OSError):
            # The record is what counts; a curve is for looking at.
            return {}
        return curve_of(rows, estimate, MOST_POINTS // max(runs, 1))

    def fail(self, trial_id: int, reason: str) -> None:
        """Store that a run ended with an error and has no record."""
        self._tell(trial_id, "failed", reason=reason)

    def note_stop(self, claim: Claim) -> None:
        """Store that a run was stopped cleanly, so that the end of its worker does not count as a death."""
        self.storage.set_trial_user_attr(claim.trial_id, "stopped", True)

    def died(self, claim: Claim, reason: str, attempts: int = ATTEMPTS) -> None:
        """Store that a run's process was killed, and queue the run again unless its attempts are used up."""
        with self._reaping():
            self._retry(self._trial(claim.trial_id), reason, attempts)

    def release(self, claim: Claim, reason: str) -> None:
        """Queue again a run that this worker cannot resume, without counting another attempt."""
        with self._reaping():
            self._again(self._trial(claim.trial_id), reason)

    def _again(self, trial: FrozenTrial, reason: str) -> None:
        # Queued first: a death in between leaves two, of which the second finds the record of the first.
        self._enqueue(self._values(trial), kept(trial, trial.user_attrs["attempt"]))
        self._tell(trial._trial_id, "died", reason=f"{DIED}: {reason}")

    def reap(
        self, dead: Callable[[str], bool], attempts: int | None = ATTEMPTS, young: datetime.timedelta = YOUNG
    ) -> list[str]:
        """Take runs away from dead owners and return their ids; those with a record are stored as finished.

        The others are queued again, unless they have been tried ``attempts`` times. Runs that were stopped cleanly, and
        all runs if ``attempts`` is None, are queued again without counting another attempt.
        """
        reaped = []
        with self._reaping():
            for trial in list(self.running()):
                owner = trial.user_attrs.get("worker")
                if not (age(trial) > young if owner is None else dead(owner)):
                    continue
                reaped.append(trial.user_attrs["run"])
                record = RunFolder(self.folder / "runs" / reaped[-1], reaped[-1]).read_record()
                if record is not None:
                    self.finish(trial._trial_id, record)
                elif attempts is None or (attempts and trial.user_attrs.get("stopped")):
                    self._again(trial, "it was stopped in good order")
                else:
                    self._retry(trial, "", attempts)
            if attempts:
                self._complete_retries(attempts)
        return reaped

    def _retry(self, trial: FrozenTrial, reason: str, attempts: int) -> None:
        attempt = trial.user_attrs["attempt"]
        message = f"{DIED}: {reason}" if reason else DIED
        of = f" of {attempts}" if attempts >= attempt else ""
        self._tell(trial._trial_id, "died", reason=f"{message}, at attempt {attempt}{of}")
        if attempt < attempts:
            self._enqueue(self._values(trial), kept(trial, attempt + 1))

    def _complete_retries(self, attempts: int) -> None:
        """Queue the runs that an earlier reaper marked as died but did not queue again before it was killed."""
        latest = {trial.user_attrs.get("run"): trial for trial in self.trials()}
        for trial in latest.values():
            if outcome_of(trial) == "died" and trial.user_attrs["attempt"] < attempts:
                self._enqueue(self._values(trial), kept(trial, trial.user_attrs["attempt"] + 1))

    def _reaping(self) -> FileLock:
        """Lock that admits one reaper at a time, so that a run is queued again only once."""
        return FileLock(self.path.with_name("reap.lock"))

    def _trial(self, trial_id: int) -> FrozenTrial:
        return self.storage.get_trial(trial_id)

    @staticmethod
    def _values(trial: FrozenTrial) -> dict[str, Any]:
        # A worker that dies while it takes a trial has not asked for the queued values yet.
        return {**trial.system_attrs.get("fixed_params", {}), **trial.params}

    def waiting(self, resources: str | None = None) -> int:
        """Number of runs that no worker has claimed yet, of a class of resources or of all."""
        return len(self._claims.waiting(resources))

    def seem_waiting(self, resources: str | None = None) -> bool:
        """Whether runs wait, as far as this worker knows; it looks again once it has tried all that it knew of."""
        return self._claims.seem_waiting(resources)

    def running(self) -> Iterator[FrozenTrial]:
        """Trials that a worker has claimed and not finished."""
        return iter(self._listed((TrialState.RUNNING,)))

    def _enqueue_points(self, points: Sequence[DesignPoint]) -> None:
        trials = [(parameters(point), {**marks(point), "attempt": 1}) for point in points]
        if isinstance(self.storage, RDBStorage):
            server.enqueue(self.storage, self._claims.study_id, trials)
        else:
            for values, attributes in trials:
                self._enqueue(values, attributes)

    def _enqueue(self, parameters: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        self.study.enqueue_trial(dict(parameters), user_attrs=dict(attributes))

    def _tell(self, trial_id: int, outcome: Outcome, reason: str) -> None:
        # Ended already: another worker took it from this one, believing it dead, and whoever is first has told.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, RuntimeError):
            self.storage.set_trial_user_attr(trial_id, OUTCOME, outcome)
            self.storage.set_trial_user_attr(trial_id, "reason", reason)
            self.storage.set_trial_state_values(trial_id, TrialState.FAIL)


def _never_asked() -> optuna.samplers.BaseSampler:
    """Placeholder sampler: every trial is enqueued with all its parameters, so there is nothing to choose."""
    return optuna.samplers.RandomSampler(seed=0)

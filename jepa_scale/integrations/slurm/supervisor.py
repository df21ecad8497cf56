"""A worker on a cluster: takes runs from a study's queue and starts processes for each of them.

It imports nothing heavy, so that it can handle SLURM's signals soon after it starts.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jepa_scale import signals
from jepa_scale.integrations.slurm import commands
from jepa_scale.integrations.slurm.launcher import SlurmLauncher
from jepa_scale.runs.distributed import exits
from jepa_scale.runs.distributed.process import SUPERVISED
from jepa_scale.runs.distributed.together import Member, read_ends
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder, atomic_write
from jepa_scale.studies.cohorts import MOST, Cohorts
from jepa_scale.studies.design import DesignPoint, design_sampler, devices_of
from jepa_scale.studies.launching.jobs import Task, job_of, owner_of
from jepa_scale.studies.launching.submission import cancelled, read_submission
from jepa_scale.studies.manifest import read_plan
from jepa_scale.studies.queue.owners import living
from jepa_scale.studies.queue.places import Claim
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.sampler import SECONDS
from jepa_scale.studies.specification.spec import read_spec

_POLL = 0.2
_AGAIN = 3.0
"""Seconds after which a signal is sent again: processes that are still starting ignore it."""
_REAP = 30.0
"""Seconds between checks for runs whose worker has ended."""
_END = 600.0
"""Seconds that a requeued worker waits for SLURM to end it."""
_STALLS = 5
"""Consecutive starts without progress after which a run is given up."""
_APART = 2
"""Those after which a run goes alone: it may be what ends its cohort."""


class Supervisor:
    """The worker that runs as one task of a job array."""

    def __init__(self, study: Path, resources: str, task: str) -> None:
        self.study, self.resources, self.task, self.owner = study, resources, task, owner_of(SlurmLauncher.scheme, task)
        submission = read_submission(study)
        if submission is None or not isinstance(submission.launcher, SlurmLauncher):
            raise UserError(f"{study} has no launch.json: submit it with `jepa-scale sweep SWEEP launcher=slurm`")
        self.launcher, spec = submission.launcher, read_spec(study / "study.yaml")
        self.points = {point.run_id: point for point in read_plan(study)}
        self.queue = Queue(
            study, spec.name, design_sampler(spec), self.launcher.storage, dials=spec.others, target=spec.target
        )
        cores = (os.cpu_count() or 1) // self.launcher.cpus_per_task
        self.cohorts = Cohorts(
            self.launcher.cohort, self.launcher.workers, self.points, min(self.launcher.workers, max(1, cores))
        )
        cohorts = self.launcher.cohort != "off" and devices_of(resources)[0] == "cpu"
        self._kind = self.cohorts.kind if cohorts else None
        """What runs of a cohort share; None where every run goes alone, as on GPUs."""
        self.tried = self.failed = 0
        self._held: dict[str, Claim] = {}
        """Claims that have not been told of."""
        self._took: list[float] | None = None
        """Seconds of finished steps of this class: those of runs known at first, and this worker's own."""
        self._reaped = -_REAP

    def work(self) -> int:
        """Do runs until none is left, time is up or SLURM ends the job; return the exit code."""
        claims = self.queue.resumed(self.owner)
        while True:
            claims = claims or self._next()
            if not claims:
                return 1 if self.failed else 0
            self._held = {claim.run_id: claim for claim in claims}
            code = self._do_all(claims)
            if code is not None:
                return code
            claims = []

    def _next(self) -> list[Claim]:
        """Claim the next run, or those of a cohort; none when there is nothing more for this worker."""
        idle = time.monotonic()
        while not cancelled(self.study):
            waiting = self.queue.seem_waiting(self.resources)
            if signals.request() or (waiting and not self._fits()):
                if waiting:
                    self._come_back()
                return []
            claims = self.queue.claim_several(
                self.owner, self.points.values(), self.resources, self._kind, self.cohorts.most
            )
            if claims:
                return claims
            if time.monotonic() - self._reaped >= _REAP:
                self._reaped = time.monotonic()
                self._reap()
                continue
            busy = any(trial.user_attrs.get("resources") == self.resources for trial in self.queue.running())
            if not busy or time.monotonic() - idle > self.launcher.linger:
                return []
            time.sleep(1)
        self._say("the study was cancelled")
        return []

    def _reap(self) -> None:
        try:
            lost = living(self.queue).lost
        except UserError as error:
            self._say(str(error))
            return
        for run in self.queue.reap(lost, self.launcher.attempts):
            self._say(f"run {run}: its worker is gone")

    def _fits(self) -> bool:
        """Whether the time left is enough for another run; always true of a worker's first run."""
        if not self.tried:
            return True
        own = self._own()
        if own is None or own.left is None:
            return True
        if self._took is None:
            # Once: to list all trials before each run takes as long as a run, in a study of many.
            known = [trial for trial in self.queue.trials() if trial.user_attrs.get("resources") == self.resources]
            # Of a member of a cohort its own share is known.
            self._took = [(trial.user_attrs.get(SECONDS) or 0.0) * self._most for trial in known]
        needed = 1.2 * max(self._took, default=60 * (self.launcher.minutes or 0) * self._most)
        needed += self.launcher.signal_seconds
        if own.left < needed:
            self._say(f"{own.left:.0f} s are left, another run needs about {needed:.0f} s")
        return own.left >= needed

    @property
    def _most(self) -> int:
        """Most runs that are done at once."""
        if isinstance(self.launcher.cohort, int):
            return self.launcher.cohort
        return MOST if self.launcher.cohort == "auto" else 1

    def _own(self) -> Task | None:
        """This worker's task in SLURM; None if SLURM does not answer or does not list it."""
        try:
            return commands.tasks([job_of(self.task)]).get(self.task)
        except commands.SlurmError as error:
            self._say(str(error))
            return None

    def _do_all(self, claims: list[Claim]) -> int | None:
        """Do runs, together if there are several; return the exit code if the worker must end, else None."""
        together: list[Claim] = []
        alone: list[Claim] = []
        for claim in claims:
            stalls = self._begin(claim)
            if stalls is not None:
                joins = stalls < _APART and self._kind is not None and self._kind(claim.run_id) is not None
                (together if joins else alone).append(claim)
        if len(together) > 1:
            code, left = self._do_together(together)
            if code is not None:
                return code
            alone += left
        else:
            alone += together
        for claim in alone:
            code = self._do(claim)
            if code is not None:
                return code
        return None

    def _begin(self, claim: Claim) -> int | None:
        """Note that a run is begun; return its number of starts without progress, or None if it is not to be done."""
        self.tried += 1
        if claim.run_id not in self.points:
            # The study has grown since.
            self.points = {point.run_id: point for point in read_plan(self.study)}
            self.cohorts.points = self.points
        point = self.points.get(claim.run_id)
        if point is None:
            self._fail(claim, "the study no longer holds this run")
            return None
        folder = point.folder(self.study)
        stalls = self.queue.note_start(claim, _newest_checkpoint(folder))
        if stalls < _STALLS:
            folder.error_path.unlink(missing_ok=True)
            return stalls
        self.failed += 1
        reason = f"begun {stalls + 1} times without having come further: its jobs are too short for it, or break"
        self._say(f"run {claim.run_id}: {reason}")
        self._fail(claim, reason)
        return None

    def _do(self, claim: Claim) -> int | None:
        """Do one run; return the exit code if the worker must end, else None."""
        point = self.points[claim.run_id]
        self._name(claim)
        started = time.monotonic()
        code = self._step(point, _alone(point, self.study, self.queue.name))
        if self._ended(claim):
            self._note_seconds(started)
        elif self._is_stop(code):
            return self._stopped()
        else:
            self._broken(claim, code)
        return None

    def _do_together(self, claims: list[Claim]) -> tuple[int | None, list[Claim]]:
        """Do runs in one process; return the exit code if the worker must end, and those that are to be done alone."""
        points = [self.points[claim.run_id] for claim in claims]
        ends = self.study / "workers" / f"{self.task}.ends"
        ends.parent.mkdir(exist_ok=True)
        ends.unlink(missing_ok=True)
        self._say(f"{len(claims)} runs together")
        for claim in claims:
            self._name(claim)
        left = {claim.run_id: claim for claim in claims}
        alone: list[Claim] = []

        def look() -> None:
            for end in read_ends(ends.read_text(encoding="utf-8")) if ends.exists() else []:
                claim = left.pop(end.run, None)
                if claim is not None and end.alone:
                    self.cohorts.refuse([end.run], end.alone)
                    alone.append(claim)
                elif claim is not None and not self._ended(claim):
                    self._broken(claim, exits.FINISHED)

        started = time.monotonic()
        code = self._step(points[0], _cohort(points, self.study, self.queue.name, ends), look)
        look()
        ends.unlink(missing_ok=True)
        rest = [claim for claim in left.values() if not self._ended(claim)]
        if len(rest) + len(alone) < len(claims):
            self._note_seconds(started)
        if self._is_stop(code):
            return self._stopped(), alone
        for claim in rest:
            self._broken(claim, code)
        return None, alone

    def _ended(self, claim: Claim) -> bool:
        """Tell the queue of a run that has a record; return whether it has, damaged or not."""
        folder = self.points[claim.run_id].folder(self.study)
        try:
            record = folder.read_record()
        except UserError as error:
            self.failed += 1
            self._say(f"run {claim.run_id}: {error}")
            self._fail(claim, str(error))
            return True
        if record is None:
            return False
        (self.study / "errors" / f"{claim.run_id}.txt").unlink(missing_ok=True)
        self._held.pop(claim.run_id, None)
        self.queue.finish(claim.trial_id, record)
        self._say(f"run {claim.run_id}: {record.status}{': ' * bool(record.reason)}{record.reason}")
        return True

    def _is_stop(self, code: int) -> bool:
        """Whether a process has ended because it was asked to stop."""
        return code == exits.STOPPED or bool(signals.request()) or code in _signalled(signals.SIGNALS)

    def _broken(self, claim: Claim, code: int) -> None:
        """Tell the queue of a run that has no record and was not stopped."""
        folder = self.points[claim.run_id].folder(self.study)
        if folder.error_path.exists():
            self._failed(claim, folder)
            return
        # Killed, as for want of memory, or never started: not the run's own doing.
        self._say(f"run {claim.run_id}: its process ended with status {code} and gave no reason")
        self._held.pop(claim.run_id, None)
        self.queue.died(claim, f"its process ended with status {code} and gave no reason", self.launcher.attempts)

    def _note_seconds(self, started: float) -> None:
        if self._took is not None:
            self._took.append(time.monotonic() - started)

    def _name(self, claim: Claim) -> None:
        attempt = f", attempt {claim.attempt}" if claim.attempt > 1 else ""
        self._say(f"run {claim.run_id}: {self.points[claim.run_id]}{attempt}")

    def _fail(self, claim: Claim, reason: str) -> None:
        self._held.pop(claim.run_id, None)
        self.queue.fail(claim.trial_id, reason)

    def _step(self, point: DesignPoint, module: list[str], look: Callable[[], None] = lambda: None) -> int:
        """Start a run's processes and wait for them, passing on SLURM's signals; return their exit code.

        ``module`` is the Python module that they run, with its arguments; ``look`` is called now and then.
        """
        process = subprocess.Popen(self._command(point.ranks, module), env={**os.environ, SUPERVISED: "1"})
        sent = looked = -_AGAIN
        while (code := process.poll()) is None:
            if signals.request() and time.monotonic() - sent >= _AGAIN:
                sent = time.monotonic()
                process.send_signal(signal.SIGUSR1)
            if time.monotonic() - looked >= _AGAIN:
                looked = time.monotonic()
                look()
            time.sleep(_POLL)
        return code

    def _command(self, ranks: int, module: list[str]) -> list[str]:
        launcher = self.launcher
        step = ["srun", "--nodes=1", f"--ntasks={ranks}", f"--ntasks-per-node={ranks}"]
        step += [f"--cpus-per-task={launcher.cpus_per_task}", "--kill-on-bad-exit=1", "--unbuffered"]
        inside = [*shlex.split(launcher.container or ""), launcher.python or sys.executable, "-P", "-m", *module]
        # Ignored until Python has handlers of its own, which a signal that comes earlier would not find.
        return [*step, "sh", "-c", "trap '' USR1 TERM; exec \"$@\"", "sh", *inside]

    def _failed(self, claim: Claim, folder: RunFolder) -> None:
        self.failed += 1
        text = folder.error_path.read_text(encoding="utf-8", errors="replace")
        reason = (text.strip().splitlines() or ["its process gave no reason"])[-1]
        self._say(f"run {claim.run_id}: {reason}")
        self._fail(claim, reason)
        atomic_write(self.study / "errors" / f"{claim.run_id}.txt", text)

    def _stopped(self) -> int:
        """Handle runs that were stopped with their state saved: requeue this task to resume them."""
        cancels = cancelled(self.study)
        for claim in self._held.values():
            self.queue.note_stop(claim)
            how = "stopped, as the study was cancelled" if cancels else "stopped at a signal, to be gone on with"
            self._say(f"run {claim.run_id}: {how}")
        if cancels:
            return 0
        refused = self._come_back()
        if refused:
            for claim in self._held.values():
                self.queue.release(claim, refused)
            return 1
        return exits.STOPPED

    def _come_back(self) -> str:
        """Have SLURM requeue this task alone; return why that was refused, empty if it was not."""
        own = self._own()
        if own is None or own.state != "RUNNING":
            # Preempted, SLURM requeues it by itself; cancelled, asking for it would bring it back to life.
            self._say(f"SLURM is ending this task already ({'unknown' if own is None else own.state})")
            return ""
        # From here on one more is the end that was asked for.
        signals.clear()
        try:
            commands.requeue(self.task)
        except commands.SlurmError as error:
            self._say(str(error))
            return str(error)
        # A job that ends by itself while it is preempted is not requeued, so wait to be ended.
        end = time.monotonic() + _END
        while not signals.request() and time.monotonic() < end:
            time.sleep(_POLL)
        return ""

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self.task}: {text}", flush=True)


def _alone(point: DesignPoint, study: Path, group: str) -> list[str]:
    """Module and arguments of the processes of one run."""
    module = ["jepa_scale.runs.distributed.process", str(point.folder(study).path), "--epochs"]
    return [*module, "--group", point.group(group), *(f"--tag={tag}" for tag in point.tags)]


def _cohort(points: Sequence[DesignPoint], study: Path, group: str, ends: Path) -> list[str]:
    """Module and arguments of the process of a cohort."""
    members = [Member(str(point.folder(study).path), point.group(group), point.tags) for point in points]
    return ["jepa_scale.runs.distributed.together", str(ends), *(member.argument for member in members)]


def _signalled(numbers: tuple[int, ...]) -> set[int]:
    """Exit codes of a process that was ended by one of these signals, as Python and as a shell report them."""
    return {-number for number in numbers} | {128 + number for number in numbers}


def _newest_checkpoint(folder: RunFolder) -> float:
    return max((file.stat().st_mtime for file in folder.checkpoint_path.parent.glob("*.ckpt")), default=0.0)

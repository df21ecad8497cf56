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
from pathlib import Path

from jepa_scale import signals
from jepa_scale.integrations.slurm import commands
from jepa_scale.integrations.slurm.launcher import SlurmLauncher
from jepa_scale.runs.distributed import exits
from jepa_scale.runs.distributed.process import SUPERVISED
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder, atomic_write
from jepa_scale.studies.design import DesignPoint, design_sampler
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


class Supervisor:
    """The worker that runs as one task of a job array."""

    def __init__(self, study: Path, resources: str, task: str) -> None:
        self.study, self.resources, self.task, self.owner = study, resources, task, owner_of(SlurmLauncher.scheme, task)
        submission = read_submission(study)
        if submission is None or not isinstance(submission.launcher, SlurmLauncher):
            raise UserError(f"{study} has no launch.json: submit it with `jepa-scale sweep SWEEP launcher=slurm`")
        self.launcher, spec = submission.launcher, read_spec(study / "study.yaml")
        self.points = {point.run_id: point for point in read_plan(study)}
        self.queue = Queue(study, spec.name, design_sampler(spec), self.launcher.storage, dials=spec.others)
        self.tried = self.failed = 0
        self._took: list[float] | None = None
        """Seconds of finished runs of this class: those known at first, and this worker's own."""
        self._reaped = -_REAP

    def work(self) -> int:
        """Do runs until none is left, time is up or SLURM ends the job; return the exit code."""
        claim = self.queue.resumed(self.owner)
        while True:
            if claim is None:
                claim = self._next()
            if claim is None:
                return 1 if self.failed else 0
            code = self._do(claim)
            if code is not None:
                return code
            claim = None

    def _next(self) -> Claim | None:
        """Claim the next run; None when there is nothing more for this worker."""
        idle = time.monotonic()
        while not cancelled(self.study):
            waiting = self.queue.seem_waiting(self.resources)
            if signals.request() or (waiting and not self._fits()):
                if waiting:
                    self._come_back()
                return None
            claim = self.queue.claim(self.owner, self.points.values(), self.resources)
            if claim is not None:
                return claim
            if time.monotonic() - self._reaped >= _REAP:
                self._reaped = time.monotonic()
                self._reap()
                continue
            busy = any(trial.user_attrs.get("resources") == self.resources for trial in self.queue.running())
            if not busy or time.monotonic() - idle > self.launcher.linger:
                return None
            time.sleep(1)
        self._say("the study was cancelled")
        return None

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
            self._took = [trial.user_attrs.get(SECONDS) or 0.0 for trial in known]
        needed = 1.2 * max(self._took, default=60 * (self.launcher.minutes or 0)) + self.launcher.signal_seconds
        if own.left < needed:
            self._say(f"{own.left:.0f} s are left, another run needs about {needed:.0f} s")
        return own.left >= needed

    def _own(self) -> Task | None:
        """This worker's task in SLURM; None if SLURM does not answer or does not list it."""
        try:
            return commands.tasks([job_of(self.task)]).get(self.task)
        except commands.SlurmError as error:
            self._say(str(error))
            return None

    def _do(self, claim: Claim) -> int | None:
        """Do one run; return the exit code if the worker must end, else None."""
        self.tried += 1
        if claim.run_id not in self.points:
            # The study has grown since.
            self.points = {point.run_id: point for point in read_plan(self.study)}
        point = self.points.get(claim.run_id)
        if point is None:
            self.queue.fail(claim.trial_id, "the study no longer holds this run")
            return None
        folder = point.folder(self.study)
        if self._hopeless(claim, folder):
            return None
        self._say(f"run {claim.run_id}: {point}{f', attempt {claim.attempt}' if claim.attempt > 1 else ''}")
        folder.error_path.unlink(missing_ok=True)
        code = self._step(point)
        try:
            record = folder.read_record()
        except UserError as error:
            self.failed += 1
            self._say(f"run {claim.run_id}: {error}")
            self.queue.fail(claim.trial_id, str(error))
            return None
        if record is not None:
            (self.study / "errors" / f"{claim.run_id}.txt").unlink(missing_ok=True)
            self.queue.finish(claim.trial_id, record)
            if self._took is not None:
                self._took.append(float(record.times.get("wall_seconds", 0.0)))
            self._say(f"run {claim.run_id}: {record.status}{': ' * bool(record.reason)}{record.reason}")
            return None
        if code == exits.STOPPED or signals.request() or code in _signalled(signals.SIGNALS):
            return self._stopped(claim)
        if folder.error_path.exists():
            self._failed(claim, folder)
            return None
        # Killed, as for want of memory, or never started: not the run's own doing.
        self._say(f"run {claim.run_id}: its process ended with status {code} and gave no reason")
        self.queue.died(claim, f"its process ended with status {code} and gave no reason", self.launcher.attempts)
        return None

    def _hopeless(self, claim: Claim, folder: RunFolder) -> bool:
        """Give up a run that is started again and again without making progress; return whether it was."""
        stalls = self.queue.note_start(claim, _newest_checkpoint(folder))
        if stalls < _STALLS:
            return False
        self.failed += 1
        reason = f"begun {stalls + 1} times without having come further: its jobs are too short for it, or break"
        self._say(f"run {claim.run_id}: {reason}")
        self.queue.fail(claim.trial_id, reason)
        return True

    def _step(self, point: DesignPoint) -> int:
        """Start a run's processes and wait for them, passing on SLURM's signals; return their exit code."""
        process = subprocess.Popen(self._command(point), env={**os.environ, SUPERVISED: "1"})
        sent = -_AGAIN
        while (code := process.poll()) is None:
            if signals.request() and time.monotonic() - sent >= _AGAIN:
                sent = time.monotonic()
                process.send_signal(signal.SIGUSR1)
            time.sleep(_POLL)
        return code

    def _command(self, point: DesignPoint) -> list[str]:
        ranks, launcher = point.ranks, self.launcher
        step = ["srun", "--nodes=1", f"--ntasks={ranks}", f"--ntasks-per-node={ranks}"]
        step += [f"--cpus-per-task={launcher.cpus_per_task}", "--kill-on-bad-exit=1", "--unbuffered"]
        python = launcher.python or sys.executable
        run = [
            python,
            "-P",
            "-m",
            "jepa_scale.runs.distributed.process",
            str(point.folder(self.study).path),
            "--epochs",
        ]
        run += ["--group", point.group(self.queue.name), *(f"--tag={tag}" for tag in point.tags)]
        inside = [*shlex.split(launcher.container or ""), *run]
        # Ignored until Python has handlers of its own, which a signal that comes earlier would not find.
        return [*step, "sh", "-c", "trap '' USR1 TERM; exec \"$@\"", "sh", *inside]

    def _failed(self, claim: Claim, folder: RunFolder) -> None:
        self.failed += 1
        text = folder.error_path.read_text(encoding="utf-8", errors="replace")
        reason = (text.strip().splitlines() or ["its process gave no reason"])[-1]
        self._say(f"run {claim.run_id}: {reason}")
        self.queue.fail(claim.trial_id, reason)
        atomic_write(self.study / "errors" / f"{claim.run_id}.txt", text)

    def _stopped(self, claim: Claim) -> int:
        """Handle a run that was stopped with its state saved: requeue this task to resume it."""
        self.queue.note_stop(claim)
        if cancelled(self.study):
            self._say(f"run {claim.run_id}: stopped, as the study was cancelled")
            return 0
        self._say(f"run {claim.run_id}: stopped at a signal, to be gone on with")
        refused = self._come_back()
        if refused:
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


def _signalled(numbers: tuple[int, ...]) -> set[int]:
    """Exit codes of a process that was ended by one of these signals, as Python and as a shell report them."""
    return {-number for number in numbers} | {128 + number for number in numbers}


def _newest_checkpoint(folder: RunFolder) -> float:
    return max((file.stat().st_mtime for file in folder.checkpoint_path.parent.glob("*.ckpt")), default=0.0)

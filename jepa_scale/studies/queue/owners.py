"""Which worker owns which run; a cluster reports which workers are alive, more reliably than a heartbeat would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from jepa_scale.runs.errors import UserError
from jepa_scale.studies.launching.jobs import JobsUnknown, jobs_of, task_of
from jepa_scale.studies.launching.submission import read_submission, tasks_of
from jepa_scale.studies.queue.storage import Queue


def owners(queue: Queue) -> list[str]:
    """Names of the owners of all running trials."""
    return [str(trial.user_attrs["worker"]) for trial in queue.running() if "worker" in trial.user_attrs]


@dataclass(frozen=True)
class Living:
    """The tasks of a cluster among the owners of runs that have not ended."""

    tasks: frozenset[str]

    def alive(self, owner: str) -> bool:
        """Whether an owner is a task that has not ended; false for processes outside a cluster."""
        return task_of(owner) in self.tasks

    def lost(self, owner: str) -> bool:
        """Whether an owner is a task that has ended; false for processes outside a cluster, which may be alive."""
        return task_of(owner) not in (None, *self.tasks)


def living(queue: Queue) -> Living:
    """Ask the cluster, with one call, which owners of running trials are alive.

    Raises
    ------
    UserError
        If the owners include tasks of a cluster that does not answer; no owner is then considered dead.
    """
    jobs = jobs_of(owners(queue))
    try:
        return Living(frozenset(tasks_of(read_submission(queue.folder), jobs)))
    except JobsUnknown as error:
        named = ", ".join(sorted(set[str]().union(*jobs.values())))
        raise UserError(
            f"jobs {named} are at runs of this study, and whether they live is not known: {error}"
        ) from None


def held(study: Path) -> bool:
    """Whether a process that is visible from this machine holds a study's lock; true if that cannot be determined.

    The check takes the lock for a moment, for which other processes wait.
    """
    if not (study / "lock").exists():
        return False
    lock = FileLock(study / "lock")
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError, NotImplementedError):
        return True
    lock.release()
    return False

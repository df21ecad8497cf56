"""Which worker owns which run; SLURM reports which workers are alive, more reliably than a heartbeat would."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from jepa_scale import cluster
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.queue.storage import Queue

_SLURM = "slurm:"


def owner_of(task: str) -> str:
    """Name in the queue of the worker that runs as a SLURM task."""
    return _SLURM + task


def task_of(owner: str) -> str | None:
    """The SLURM task that a worker runs as; None for a process outside SLURM."""
    return owner.removeprefix(_SLURM) if owner.startswith(_SLURM) else None


def jobs_of(owners: Iterable[str]) -> set[str]:
    """Numbers of the SLURM jobs that owners belong to."""
    return {task.partition("_")[0] for task in map(task_of, owners) if task is not None}


def owners(queue: Queue) -> list[str]:
    """Names of the owners of all running trials."""
    return [str(trial.user_attrs["worker"]) for trial in queue.running() if "worker" in trial.user_attrs]


@dataclass(frozen=True)
class Living:
    """The SLURM tasks among the owners of runs that have not ended."""

    tasks: frozenset[str]

    def alive(self, owner: str) -> bool:
        """Whether an owner is a SLURM task that has not ended; false for processes outside SLURM."""
        return task_of(owner) in self.tasks

    def lost(self, owner: str) -> bool:
        """Whether an owner is a SLURM task that has ended; false for processes outside SLURM, which may be alive."""
        return task_of(owner) not in (None, *self.tasks)


def living(queue: Queue) -> Living:
    """Ask SLURM, with one squeue call, which owners of running trials are alive.

    Raises
    ------
    UserError
        If the owners include SLURM tasks and squeue does not answer; no owner is then considered dead.
    """
    jobs = jobs_of(owners(queue))
    try:
        return Living(frozenset(cluster.tasks(jobs)))
    except cluster.SlurmError as error:
        raise UserError(
            f"jobs {', '.join(sorted(jobs))} are at runs of this study, and whether they live is not known: {error}"
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

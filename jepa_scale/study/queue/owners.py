"""Which worker owns which run: SLURM says which of its jobs live, more surely than a heartbeat could."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from jepa_scale import cluster
from jepa_scale.runs.errors import UserError
from jepa_scale.study.queue.storage import Queue

_SLURM = "slurm:"


def owner_of(task: str) -> str:
    """Name, in the queue, of the worker that is a task of SLURM's."""
    return _SLURM + task


def task_of(owner: str) -> str | None:
    """The task of SLURM's that a worker is; None for a process of one machine."""
    return owner.removeprefix(_SLURM) if owner.startswith(_SLURM) else None


def jobs_of(owners: Iterable[str]) -> set[str]:
    """Numbers of the jobs that owners are tasks of."""
    return {task.partition("_")[0] for task in map(task_of, owners) if task is not None}


def owners(queue: Queue) -> list[str]:
    """Owners of all running trials."""
    return [str(trial.user_attrs["worker"]) for trial in queue.running() if "worker" in trial.user_attrs]


@dataclass(frozen=True)
class Living:
    """Which of SLURM's tasks that own runs have not ended."""

    tasks: frozenset[str]

    def alive(self, owner: str) -> bool:
        """Whether an owner is a task that lives; a process of one machine is none."""
        return task_of(owner) in self.tasks

    def lost(self, owner: str) -> bool:
        """Whether an owner is a task that has ended; of a process of one machine nothing is known."""
        return task_of(owner) not in (None, *self.tasks)


def living(queue: Queue) -> Living:
    """Ask about the owners of all running trials, by one squeue.

    Raises
    ------
    UserError
        If there are tasks of SLURM's among them and squeue does not answer: then nobody is taken for dead.
    """
    jobs = jobs_of(owners(queue))
    try:
        return Living(frozenset(cluster.tasks(jobs)))
    except cluster.SlurmError as error:
        raise UserError(
            f"jobs {', '.join(sorted(jobs))} are at runs of this study, and whether they live is not known: {error}"
        ) from None


def held(study: Path) -> bool:
    """Whether a process of a machine that can be seen from here holds a study's folder; so too if that cannot be told.

    Whoever wants to hold it waits for the moment that this takes.
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

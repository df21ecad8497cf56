"""Tasks of a cluster's jobs, as its launcher reports them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class JobsUnknown(Exception):
    """The cluster did not answer: it is not known which jobs live, which is not to say that none does."""


@dataclass(frozen=True)
class Task:
    """A job, or one element of a job array, that a cluster lists as pending, running or completing."""

    name: str
    """``JOB_ELEMENT`` or ``JOB``"""
    state: str
    """PENDING, RUNNING, COMPLETING, …"""
    left: float | None
    """Seconds left of its time limit; None if it has none."""
    node: str
    """Node that it runs on, or the reason why it waits."""
    comment: str = ""
    """Comment that the job was submitted with; studies write their folder into it."""


def owner_of(scheme: str, task: str) -> str:
    """Name in the queue of the worker that runs as a task; ``scheme`` is the leaf of its launcher."""
    return f"{scheme}:{task}"


def task_of(owner: str) -> str | None:
    """The task that a worker runs as; None for a process outside a cluster."""
    _, colon, task = owner.partition(":")
    return task if colon else None


def jobs_of(owners: Iterable[str]) -> dict[str, set[str]]:
    """Numbers of the jobs that owners belong to, by the leaf of their launcher."""
    jobs: dict[str, set[str]] = {}
    for owner in owners:
        scheme, colon, task = owner.partition(":")
        if colon:
            jobs.setdefault(scheme, set()).add(job_of(task))
    return jobs


def job_of(task: str) -> str:
    """Return the job of a task's name, ``JOB_ELEMENT`` or ``JOB``."""
    return task.partition("_")[0]

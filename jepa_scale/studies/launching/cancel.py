"""Cancelling a study's jobs, so that none of them starts again."""

from __future__ import annotations

import time
from pathlib import Path

from jepa_scale.runs.errors import UserError
from jepa_scale.studies.launching.jobs import JobsUnknown, job_of, task_of
from jepa_scale.studies.launching.submission import (
    cancelled,
    cluster_of,
    jobs_named,
    mark_cancelled,
    own_jobs,
    read_submission,
    tasks_of,
    unmark_cancelled,
)
from jepa_scale.studies.queue.owners import owners
from jepa_scale.studies.view.status import open_study

_PATIENCE = 120.0


def cancel_study(study: Path) -> tuple[int, int]:
    """Cancel a study's jobs; return the numbers of tasks that were ended and of runs that are queued again.

    If no job belongs to the study, its mark as cancelled stays as it was.

    Raises
    ------
    UserError
        If the folder holds no planned study, the cluster does not answer, or jobs do not end.
    """
    _, _, queue = open_study(study)
    submission = read_submission(study)
    jobs = jobs_named(submission, owners(queue))
    before = cancelled(study)
    # First: a worker that is signalled must not have itself started again.
    mark_cancelled(study)
    try:
        tasks = tasks_of(submission, jobs)
        own = own_jobs(study, tasks)
        others = {job_of(name) for name in tasks} - own
        if (others or not own) and not before:
            unmark_cancelled(study)
        _refuse_others(study, others)
        for scheme, numbers in jobs.items():
            cluster_of(submission, scheme).cancel(numbers & own)
        end, left = time.monotonic() + _PATIENCE, tasks
        while left and time.monotonic() < end:
            time.sleep(0.5)
            left = tasks_of(submission, jobs)
    except JobsUnknown as error:
        named = ", ".join(sorted(set[str]().union(*jobs.values())))
        raise UserError(f"{error}. Jobs of {study}: {named}") from None
    if left:
        raise UserError(
            f"{', '.join(sorted(left))} have not ended after {_PATIENCE:g} s: look at the queue, and cancel again"
        )
    # At the attempt that they are at: to be cancelled is no death.
    runs = queue.reap(lambda owner: task_of(owner) is not None, attempts=None)
    return len(tasks), len(runs)


def _refuse_others(study: Path, jobs: set[str]) -> None:
    if jobs:
        numbers = " ".join(sorted(jobs))
        raise UserError(
            f"the files of {study} name jobs {numbers}, which the cluster does not know as submitted for this folder "
            "(it may be a copy): nothing was cancelled; if they are yours, cancel them by these numbers"
        )

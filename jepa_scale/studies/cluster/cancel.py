"""Cancelling a study's SLURM jobs, so that none of them starts again."""

from __future__ import annotations

import time
from pathlib import Path

from jepa_scale import cluster
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.cluster.submission import cancelled, mark_cancelled, own_jobs, unmark_cancelled
from jepa_scale.studies.queue.owners import jobs_of, owners, task_of
from jepa_scale.studies.view.status import open_study

_PATIENCE = 120.0


def cancel_study(study: Path) -> tuple[int, int]:
    """Cancel a study's jobs; return the numbers of tasks that were ended and of runs that are queued again.

    If no job belongs to the study, its mark as cancelled stays as it was.

    Raises
    ------
    UserError
        If the folder holds no planned study, SLURM does not answer, or jobs do not end.
    """
    _, _, submission, queue = open_study(study)
    jobs = {*jobs_of(owners(queue)), *(submission.jobs if submission is not None else ())}
    before = cancelled(study)
    # First: a worker that is signalled must not have itself started again.
    mark_cancelled(study)
    try:
        tasks = cluster.tasks(jobs)
        own = own_jobs(study, tasks)
        others = {name.partition("_")[0] for name in tasks} - own
        if (others or not own) and not before:
            unmark_cancelled(study)
        _refuse_others(study, others)
        cluster.cancel(own)
        end, left = time.monotonic() + _PATIENCE, tasks
        while left and time.monotonic() < end:
            time.sleep(0.5)
            left = cluster.tasks(jobs)
    except cluster.SlurmError as error:
        raise UserError(f"{error}. Jobs of {study}: {', '.join(sorted(jobs))}") from None
    if left:
        raise UserError(
            f"{', '.join(sorted(left))} have not ended after {_PATIENCE:g} s: look with squeue, and cancel again"
        )
    # At the attempt that they are at: to be cancelled is no death.
    runs = queue.reap(lambda owner: task_of(owner) is not None, attempts=None)
    return len(tasks), len(runs)


def _refuse_others(study: Path, jobs: set[str]) -> None:
    if jobs:
        numbers = " ".join(sorted(jobs))
        raise UserError(
            f"the files of {study} name jobs {numbers}, which SLURM does not know as submitted for this folder (it may "
            f"be a copy): nothing was cancelled; if they are yours: scancel {numbers}"
        )

"""A worker process: takes runs from a study's queue, one after another, until none is left."""

from __future__ import annotations

import gc
import os
import sys
import threading
import traceback
from pathlib import Path

from jepa_scale.files import NotWritten
from jepa_scale.records import RunRecord
from jepa_scale.runs.distributed.exits import FINISHED, UNWRITTEN
from jepa_scale.runs.errors import CohortEnded, Interrupted
from jepa_scale.runs.folder import RunFolder, atomic_write
from jepa_scale.studies.cohorts import Cohorts, CohortSize, cohort_size
from jepa_scale.studies.design import DesignPoint, design_sampler
from jepa_scale.studies.launching.submission import storage_of
from jepa_scale.studies.manifest import read_plan
from jepa_scale.studies.queue.places import Claim
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.specification.spec import read_spec
from jepa_scale.texts import cleaned

_NO_FAULT = (NotWritten, Interrupted)
"""What ends the worker, and not the run alone."""


def work(
    study: Path,
    queue: Queue,
    points: dict[str, DesignPoint],
    name: str,
    cohort: CohortSize = "off",
    workers: int = 1,
    neighbours: int | None = None,
) -> None:
    """Do runs until the queue is empty; a run that raises is stored as failed, and the next one is taken.

    Runs of a ``cohort`` are taken and trained together; ``workers`` share what waits, and ``neighbours`` of them, by
    default all, the memory of one machine or GPU.
    """
    cohorts = Cohorts(cohort, workers, points, neighbours)
    kind = None if cohort == "off" else cohorts.kind
    if kind is not None:
        for reason in cohorts.reasons():
            print(f"cohort: runs go alone: {reason}", file=sys.stderr, flush=True)
    while claims := queue.claim_several(name, points.values(), kind=kind, most=cohorts.most):
        known = []
        for claim in claims:
            if claim.run_id in points:
                known.append(claim)
            else:
                queue.fail(claim.trial_id, "the study no longer holds this run")
        if len(known) > 1:
            known = _do_together(study, queue, known, cohorts)
        for claim in known:
            _do(study, queue, claim, points[claim.run_id])
            # Trainer, model and data refer to one another; until Python looks for such circles by itself, several
            # runs' data sets lie in memory side by side.
            gc.collect()


def _do_together(study: Path, queue: Queue, claims: list[Claim], cohorts: Cohorts) -> list[Claim]:
    """Do runs as a cohort, and return those that are to be done alone after all."""
    from jepa_scale.runs.cohort import Job, Outcome, run_cohort

    points = [cohorts.points[claim.run_id] for claim in claims]
    jobs = [Job(one.config, one.folder(study).path, one.group(queue.name), one.tags) for one in points]
    alone: list[Claim] = []

    def end(number: int, outcome: Outcome) -> None:
        claim, error = claims[number], outcome.error
        if (fitting := outcome.fitting(len(claims))) is not None:
            cohorts.fewer(claim.run_id, fitting)
            queue.release(claim, "memory did not suffice for its cohort")
        elif isinstance(error, CohortEnded):
            cohorts.refuse([claim.run_id], str(error))
            alone.append(claim)
        elif isinstance(error, Exception) and not isinstance(error, _NO_FAULT):
            _failed(study, queue, claim, error)
        elif outcome.record is not None:
            _finished(study, queue, claim, outcome.record)

    outcomes = run_cohort(jobs, end)
    gc.collect()
    for outcome in outcomes:
        if isinstance(outcome.error, _NO_FAULT) or not isinstance(outcome.error, Exception | None):
            raise outcome.error
    return alone


def _do(study: Path, queue: Queue, claim: Claim, point: DesignPoint) -> None:
    # Imported here: a study that has nothing to run must not wait for torch.
    from jepa_scale.runs.run import run

    folder = point.folder(study)
    try:
        if point.ranks > 1:
            record = _by_ranks(point, folder, point.group(queue.name))
        else:
            record = run(point.config, folder.path, group=point.group(queue.name), tags=point.tags)
    except NotWritten:
        # No fault of this run's, and what is told of it could not be written either.
        raise
    except Exception as error:
        _failed(study, queue, claim, error)
        return
    _finished(study, queue, claim, record)


def _failed(study: Path, queue: Queue, claim: Claim, error: Exception) -> None:
    atomic_write(study / "errors" / f"{claim.run_id}.txt", "".join(traceback.format_exception(error)))
    queue.fail(claim.trial_id, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def _finished(study: Path, queue: Queue, claim: Claim, record: RunRecord) -> None:
    (study / "errors" / f"{claim.run_id}.txt").unlink(missing_ok=True)
    queue.finish(claim.trial_id, record)


def _by_ranks(point: DesignPoint, folder: RunFolder, group: str) -> RunRecord:
    from jepa_scale.runs.distributed.launch import run_ranks

    code = run_ranks(point.config, folder.path, group, epochs=False, tags=point.tags)
    record = folder.read_record()
    if record is None:
        left = folder.error_path.read_text(encoding="utf-8").strip() if folder.error_path.exists() else ""
        raise RuntimeError(left.splitlines()[-1] if left else f"its ranks ended with code {code}")
    return record


def _die_with_parent() -> None:
    """Exit when the parent process is gone: its end of our standard input closes, however it dies."""

    def watch() -> None:
        # The descriptor itself: a reader blocked inside sys.stdin would be waited for at interpreter exit.
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Entry point of a worker process: work on a study's folder under a worker's name; return the exit code."""
    _die_with_parent()
    try:
        _main(arguments)
    except NotWritten as error:
        print(f"jepa-scale: error: {error}", file=sys.stderr)
        return UNWRITTEN
    return FINISHED


def _main(arguments: list[str]) -> None:
    work_on(Path(arguments[0]), arguments[1], cohort_size(arguments[2]), int(arguments[3]), int(arguments[4]))


def work_on(
    study: Path, name: str, cohort: CohortSize = "off", workers: int = 1, neighbours: int | None = None
) -> None:
    """Do runs of a planned study until none waits, as what a job of a batch system runs.

    Parameters
    ----------
    name
        Name in the queue, such as ``owner_of("slurm", "1234_5")`` for a task of a cluster.
    cohort
        Most runs that are trained together.
    workers
        Number of workers that share what waits.
    neighbours
        Number of those that share the memory of this one's machine or GPU; None: all.
    """
    spec = read_spec(study / "study.yaml")
    points = {point.run_id: point for point in read_plan(study)}
    # Of the runs that decide a tuned budget nothing is chosen.
    chooses = any(point.purpose == "cell" for point in points.values())
    sampler = design_sampler(spec) if chooses else None
    queue = Queue(study, spec.name, sampler, storage_of(study), dials=spec.others, target=spec.target)
    work(study, queue, points, name, cohort, workers, neighbours)


if __name__ == "__main__":
    with cleaned():
        sys.exit(main(sys.argv[1:]))

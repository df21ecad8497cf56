"""Record of how a study's workers were last started: the launcher's settings, and the jobs submitted to a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write
from jepa_scale.studies.launching.jobs import JobsUnknown, Task, job_of, jobs_of
from jepa_scale.studies.launching.launcher import ClusterLauncher, Launcher, build_launcher, leaf_of, target_name

_EARLIER = "slurm"
"""Launcher of submissions that were written before they named it."""


@dataclass(frozen=True)
class Array:
    """A job array of workers that was submitted."""

    job: str
    resources: str
    tasks: int
    submitted: str
    """Time of submission, ISO 8601 in UTC."""


@dataclass(frozen=True)
class Submission:
    """Content of a study's ``launch.json``: the launcher's settings and the jobs submitted."""

    launcher: Launcher
    arrays: tuple[Array, ...] = ()
    collect: tuple[str, ...] = ()
    """Numbers of the jobs that collect the study once its workers have ended."""

    def write(self, study: Path) -> None:
        """Write ``launch.json`` atomically."""
        content = asdict(self)
        content["launcher"] = {"_target_": target_name(self.launcher), **content["launcher"]}
        atomic_write(study / "launch.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @property
    def jobs(self) -> tuple[str, ...]:
        """Numbers of all submitted jobs."""
        return (*(array.job for array in self.arrays), *self.collect)

    @property
    def cluster(self) -> ClusterLauncher | None:
        """The launcher, if its workers are a cluster's jobs."""
        return self.launcher if isinstance(self.launcher, ClusterLauncher) else None


def read_submission(study: Path) -> Submission | None:
    """Read the submission of a study; None if its workers were started on one machine, with a journal file.

    Raises
    ------
    UserError
        If the file is damaged, or its launcher is not trusted.
    """
    path = study / "launch.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        arrays = tuple(Array(**array) for array in content["arrays"])
        settings: dict[str, Any] = dict(content["launcher"])
        settings.setdefault("_target_", leaf_of(_EARLIER)["_target_"])
        return Submission(build_launcher(settings), arrays, tuple(content["collect"]))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}): run the sweep command again, which writes it") from None


def storage_of(study: Path) -> str | None:
    """URL of a study's queue; None: the journal file in its folder.

    Raises
    ------
    UserError
        As ``read_submission``.
    """
    submission = read_submission(study)
    return None if submission is None else submission.launcher.storage


def jobs_named(submission: Submission | None, owners: Iterable[str]) -> dict[str, set[str]]:
    """Jobs that may work on a study, by launcher: those of the owners of its runs, and those submitted."""
    jobs = jobs_of(owners)
    if submission is not None and submission.cluster is not None:
        jobs.setdefault(submission.cluster.scheme, set()).update(submission.jobs)
    return jobs


def comment_of(study: Path) -> str:
    """Comment of a study's jobs, which tells them apart from unrelated jobs with the same numbers."""
    return f"jepa-scale {study.resolve()}"


def own_jobs(study: Path, tasks: Mapping[str, Task]) -> set[str]:
    """Numbers of the jobs among ``tasks`` that were submitted for this folder, whose files may be copied ones."""
    return {job_of(name) for name, task in tasks.items() if task.comment == comment_of(study)}


def tasks_of(submission: Submission | None, jobs: Mapping[str, Iterable[str]]) -> dict[str, Task]:
    """Ask each launcher, by the name of its leaf, for the tasks of its jobs that have not ended.

    Raises
    ------
    JobsUnknown
        If one does not answer, or there is none of this name.
    """
    alive: dict[str, Task] = {}
    for scheme, numbers in jobs.items():
        alive |= cluster_of(submission, scheme).tasks(numbers)
    return alive


def cluster_of(submission: Submission | None, scheme: str) -> ClusterLauncher:
    """Return the launcher of a study's jobs by the name of its leaf: as it was submitted, or with its defaults.

    Raises
    ------
    JobsUnknown
        If there is none.
    """
    if submission is not None and submission.cluster is not None and submission.cluster.scheme == scheme:
        return submission.cluster
    try:
        launcher = build_launcher(leaf_of(scheme))
    except UserError as error:
        raise JobsUnknown(str(error)) from None
    if not isinstance(launcher, ClusterLauncher):
        raise JobsUnknown(f"launcher {scheme!r} starts workers on one machine")
    return launcher


def mark_cancelled(study: Path) -> None:
    """Mark the study as cancelled, so that workers end and do not requeue themselves."""
    atomic_write(study / "cancelled", "Remove this file, or run the sweep command again, to go on.\n")


def unmark_cancelled(study: Path) -> None:
    """Remove the mark of a cancelled study, so that workers may run."""
    (study / "cancelled").unlink(missing_ok=True)


def cancelled(study: Path) -> bool:
    """Whether the study was cancelled since workers were last submitted."""
    return (study / "cancelled").exists()

"""Record of what was submitted to a cluster for a study: the launcher's settings and the jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jepa_scale.cluster import Task
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write
from jepa_scale.studies.cluster.launchers import SlurmLauncher


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

    launcher: SlurmLauncher
    arrays: tuple[Array, ...] = ()
    collect: tuple[str, ...] = ()
    """Numbers of the jobs that collect the study once its workers have ended."""

    def write(self, study: Path) -> None:
        """Write ``launch.json`` atomically."""
        atomic_write(study / "launch.json", json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @property
    def jobs(self) -> tuple[str, ...]:
        """Numbers of all submitted jobs."""
        return (*(array.job for array in self.arrays), *self.collect)


def read_submission(study: Path) -> Submission | None:
    """Read the submission of a study; None if nothing was submitted to a cluster.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = study / "launch.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        arrays: Sequence[Array] = [Array(**array) for array in content["arrays"]]
        return Submission(SlurmLauncher(**content["launcher"]), tuple(arrays), tuple(content["collect"]))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}): run the sweep command again, which writes it") from None


def comment_of(study: Path) -> str:
    """SLURM comment of a study's jobs, which tells them apart from unrelated jobs with the same numbers."""
    return f"jepa-scale {study.resolve()}"


def own_jobs(study: Path, tasks: Mapping[str, Task]) -> set[str]:
    """Numbers of the jobs among ``tasks`` that were submitted for this folder, whose files may be copied ones."""
    return {name.partition("_")[0] for name, task in tasks.items() if task.comment == comment_of(study)}


def mark_cancelled(study: Path) -> None:
    """Mark the study as cancelled, so that workers end and do not requeue themselves."""
    atomic_write(study / "cancelled", "Remove this file, or run the sweep command again, to go on.\n")


def unmark_cancelled(study: Path) -> None:
    """Remove the mark of a cancelled study, so that workers may run."""
    (study / "cancelled").unlink(missing_ok=True)


def cancelled(study: Path) -> bool:
    """Whether the study was cancelled since workers were last submitted."""
    return (study / "cancelled").exists()

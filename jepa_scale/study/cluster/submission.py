"""What was ordered of a cluster for a study: the launcher's settings and the jobs that were submitted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jepa_scale.cluster import Task
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write
from jepa_scale.study.cluster.launchers import SlurmLauncher


@dataclass(frozen=True)
class Array:
    """A job array of workers that was submitted."""

    job: str
    resources: str
    tasks: int
    submitted: str
    """ISO 8601, UTC."""


@dataclass(frozen=True)
class Submission:
    """``launch.json`` of a study."""

    launcher: SlurmLauncher
    arrays: tuple[Array, ...] = ()
    collect: tuple[str, ...] = ()
    """Jobs that collect the study when its workers have ended."""

    def write(self, study: Path) -> None:
        """Write the file, whole or not at all."""
        atomic_write(study / "launch.json", json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @property
    def jobs(self) -> tuple[str, ...]:
        """Numbers of all jobs."""
        return (*(array.job for array in self.arrays), *self.collect)


def read_submission(study: Path) -> Submission | None:
    """Submission of a study; None where nothing was ordered of a cluster.

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
    """Comment of a study's jobs, by which they are known from others of the same numbers."""
    return f"jepa-scale {study.resolve()}"


def own_jobs(study: Path, tasks: Mapping[str, Task]) -> set[str]:
    """Numbers of the jobs among these tasks that were submitted for this folder: files in it may come from anywhere."""
    return {name.partition("_")[0] for name, task in tasks.items() if task.comment == comment_of(study)}


def mark_cancelled(study: Path) -> None:
    """Tell workers to come to an end, and not to have themselves started again."""
    atomic_write(study / "cancelled", "Remove this file, or run the sweep command again, to go on.\n")


def unmark_cancelled(study: Path) -> None:
    """Let workers work."""
    (study / "cancelled").unlink(missing_ok=True)


def cancelled(study: Path) -> bool:
    """Whether the study was cancelled since workers were last submitted."""
    return (study / "cancelled").exists()

"""The launcher of job arrays on a SLURM cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jepa_scale.integrations.slurm import commands
from jepa_scale.records import StudyResult
from jepa_scale.studies.cohorts import CohortSize, cohort_size
from jepa_scale.studies.launching.jobs import Task
from jepa_scale.studies.launching.launcher import ClusterLauncher, at_least
from jepa_scale.studies.queue.journal import wrong_url
from jepa_scale.terminal import Step, untold

if TYPE_CHECKING:
    from rich.console import Console

    from jepa_scale.studies.specification.spec import StudySpec


@dataclass(frozen=True)
class SlurmLauncher(ClusterLauncher):
    """Job arrays of workers on a SLURM cluster, one for each class of resources that runs need.

    Raises
    ------
    ValueError
        If a setting is impossible.
    """

    scheme: ClassVar[str] = "slurm"
    workers: int = 8
    """Workers for each class of resources; fewer if fewer runs wait. Each takes runs until none is left."""
    cohort: CohortSize = "off"
    """Most runs that a worker trains together; ``auto``: as many as gain by it, ``off``: every run alone."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str = "01:00:00"
    """Time limit of a job, in sbatch's format; a run that needs longer is requeued and resumes."""
    signal_seconds: int = 120
    """Seconds before the time limit at which SLURM signals the job, so that its run saves and stops."""
    cpus_per_task: int = 1
    """CPUs for each process of a run."""
    memory_per_cpu: str | None = None
    gpu_type: str | None = None
    """GPU type in ``--gres=gpu:TYPE:N``, for runs that train on GPUs."""
    options: tuple[str, ...] = ()
    """Further options of sbatch, such as ``--exclude=node7``."""
    setup: tuple[str, ...] = ()
    """Shell lines to run before a worker starts, such as ``module load cuda``."""
    container: str | None = None
    """Command that a run is started through, such as ``apptainer exec --nv image.sif``."""
    python: str | None = None
    """Python interpreter on the compute nodes; None: the current one."""
    minutes: float | None = None
    """Expected minutes of a run, used until one has finished: a worker with less time left takes no new run."""
    attempts: int = 3
    """Attempts at a run whose worker or process dies; a requeue does not count as one."""
    linger: int = 60
    """Seconds that an idle worker waits for a run to be queued again."""
    storage: str | None = None
    """URL of the queue, ``postgresql://…`` or ``grpc://host:port``; None: a journal file in the study's folder."""
    collect: bool = True
    """Whether to submit a job that collects the study once the workers have ended."""

    def __post_init__(self) -> None:
        for name in ("options", "setup"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "cohort", cohort_size(self.cohort))
        for name in ("workers", "cpus_per_task", "attempts"):
            at_least(name, getattr(self, name), 1)
        for name in ("signal_seconds", "linger"):
            at_least(name, getattr(self, name), 0)
        if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", str(self.time)):
            raise ValueError(
                f"time: expected minutes, hours:minutes:seconds or days-hours:minutes:seconds, got {self.time!r}"
            )
        object.__setattr__(self, "time", str(self.time))
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes: expected a number above 0, or null, got {self.minutes!r}")
        for name in ("partition", "account", "qos", "constraint", "memory_per_cpu", "gpu_type", "container", "python"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or "\n" in value):
                raise ValueError(f"{name}: expected a text, or null, got {value!r}")
        for name in ("options", "setup"):
            wrong = [line for line in getattr(self, name) if not isinstance(line, str) or "\n" in line]
            if wrong:
                raise ValueError(f"{name}: expected a list of lines, got {wrong[0]!r}")
        if not isinstance(self.collect, bool):
            raise ValueError(f"collect: expected true or false, got {self.collect!r}")
        strange = [option for option in self.options if not option.startswith("-")]
        if strange:
            raise ValueError(f"options: expected options of sbatch, such as --exclude=node7, got {strange[0]!r}")
        wrong_storage = "" if self.storage is None else wrong_url(self.storage, self.workers)
        if wrong_storage:
            raise ValueError(wrong_storage)

    def start(
        self, spec: StudySpec, folder: Path, console: Console, accept_mixed: bool = False, step: Step = untold
    ) -> StudyResult | None:
        """Submit the workers that are missing, and return at once."""
        from jepa_scale.integrations.slurm.submitting import submit_study

        def say(text: str) -> None:
            console.print(text, highlight=False, markup=False, soft_wrap=True)

        submit_study(spec, folder, self, say, accept_mixed)
        return None

    def scripts(self, spec: StudySpec, folder: Path) -> str:
        """Return the batch scripts that would be submitted; does not call SLURM."""
        from jepa_scale.integrations.slurm.submitting import dry_run

        return dry_run(spec, folder, self)

    def tasks(self, jobs: Iterable[str]) -> dict[str, Task]:
        """Ask squeue for the tasks of these jobs that have not ended."""
        return commands.tasks(jobs)

    def cancel(self, jobs: Iterable[str]) -> None:
        """Cancel jobs by scancel."""
        commands.cancel(jobs)

"""The launcher of worker processes on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jepa_scale.records import StudyResult
from jepa_scale.studies.cohorts import CohortSize, cohort_size
from jepa_scale.studies.launching.launcher import Launcher, at_least
from jepa_scale.studies.queue.journal import wrong_url
from jepa_scale.terminal import Step, untold

if TYPE_CHECKING:
    from rich.console import Console

    from jepa_scale.studies.specification.spec import StudySpec


@dataclass(frozen=True)
class LocalLauncher(Launcher):
    """Worker processes on this machine.

    Raises
    ------
    ValueError
        If the number of workers is below 1, ``cohort`` is no size of one, or the storage cannot be used.
    """

    waits = True
    workers: int | None = None
    """Number of worker processes; None: one per core, or for cohorts on GPUs one per GPU."""
    cohort: CohortSize = "off"
    """Most runs that a worker trains together; ``auto``: as many as gain by it, ``off``: every run alone."""
    storage: str | None = None
    """URL of the queue, ``postgresql://…`` or ``grpc://host:port``; None: a journal file in the study's folder."""

    def __post_init__(self) -> None:
        at_least("workers", self.workers, 1)
        object.__setattr__(self, "cohort", cohort_size(self.cohort))
        wrong_storage = "" if self.storage is None else wrong_url(self.storage, self.processes)
        if wrong_storage:
            raise ValueError(wrong_storage)

    @property
    def processes(self) -> int:
        """Number of worker processes, with the default resolved."""
        if self.workers is not None:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def on_devices(self, devices: int) -> LocalLauncher:
        """Return the launcher for runs on so many GPUs: in cohorts, one worker for each unless the number is given."""
        alone = self.workers is not None or self.cohort == "off" or not devices
        return self if alone else replace(self, workers=devices)

    def start(
        self, spec: StudySpec, folder: Path, console: Console, accept_mixed: bool = False, step: Step = untold
    ) -> StudyResult | None:
        """Do the missing runs in worker processes, and collect the study."""
        from jepa_scale.studies.sweep import run_study

        return run_study(spec, folder, self, console, accept_mixed, step)

"""The first half of what a cluster's launcher does: plan a study into its folder, so that workers find their runs."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jepa_scale.records import RunRecord
from jepa_scale.studies.continuity import check_code
from jepa_scale.studies.design import DesignPoint, design, design_sampler, pilots
from jepa_scale.studies.holdings import read_records
from jepa_scale.studies.launching.launcher import Launcher
from jepa_scale.studies.launching.submission import Submission, read_submission
from jepa_scale.studies.manifest import write_plan
from jepa_scale.studies.queue.owners import living
from jepa_scale.studies.queue.storage import NO_TIME, Queue
from jepa_scale.studies.specification.spec import StudySpec
from jepa_scale.studies.sweep import study_folder


@dataclass(frozen=True)
class PlannedStudy:
    """A study whose folder holds all that workers need; its lock is held."""

    study: Path
    """Its folder, resolved."""
    points: tuple[DesignPoint, ...]
    records: Mapping[str, RunRecord]
    """Records of the runs that are done, by id."""
    queue: Queue
    decides_budget: bool
    """Whether the runs are only those that decide the budget of the others, which are planned later."""
    earlier: Submission | None
    """How workers were last submitted."""

    alive: Callable[[str], bool]
    """Whether the owner of a run is a task of a cluster that has not ended."""

    def fill(self, young: datetime.timedelta = NO_TIME) -> int:
        """Queue the runs that are missing, and those of workers that have ended; return how many wait.

        ``young`` spares runs without an owner up to that age, which a live worker may be claiming.
        """
        return self.queue.plan(self.points, self.records, self.alive, young)


@contextlib.contextmanager
def planned_study(
    spec: StudySpec, folder: Path, launcher: Launcher, accept_mixed: bool = False
) -> Iterator[PlannedStudy]:
    """Plan a study's runs into its folder and hold its lock; runs that other code has computed are refused.

    Raises
    ------
    UserError
        If the folder is another study's or in use, a configuration is wrong, or it is not known which workers live.
    """
    # First, so that a mistake leaves nothing behind and is not hidden by the folder's own.
    points, pilot = stage(spec, folder)
    with study_folder(spec, folder):
        study = folder.resolve()
        records = read_records(points, study)
        check_code(points, records, study, accept_mixed)
        sampler = None if pilot else design_sampler(spec)
        queue = Queue(study, spec.name, sampler, launcher.storage, rebuild=True, dials=spec.others, target=spec.target)
        earlier, alive = read_submission(study), living(queue).alive
        for point in points:
            if point.run_id not in records:
                point.folder(study).claim(point.config, accept_mixed)
        write_plan(study, points)
        yield PlannedStudy(study, tuple(points), records, queue, pilot, earlier, alive)


def stage(spec: StudySpec, study: Path) -> tuple[list[DesignPoint], bool]:
    """Return the runs that can be planned now, and whether they are only those that decide the budget of the others."""
    first = pilots(spec)
    if first and any(point.folder(study).read_record() is None for point in first):
        return first, True
    return [*first, *design(spec, study)], False

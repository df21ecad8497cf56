"""Running a study: plan, work in as many processes as there are cores, collect."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from jepa_scale.files import written
from jepa_scale.records import StudyResult
from jepa_scale.records.dials import Dial, Value
from jepa_scale.runs.distributed.exits import UNWRITTEN
from jepa_scale.runs.distributed.python import python_module
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write, refuse_links
from jepa_scale.runs.limits import check_here
from jepa_scale.studies.collect import collect
from jepa_scale.studies.continuity import check_code
from jepa_scale.studies.design import DesignPoint, base_config, design, design_sampler, pilots, resolved_steps
from jepa_scale.studies.holdings import read_records
from jepa_scale.studies.launching.devices import device_of, devices_for
from jepa_scale.studies.launching.local import LocalLauncher
from jepa_scale.studies.launching.submission import Submission, read_submission, unmark_cancelled
from jepa_scale.studies.manifest import write_plan
from jepa_scale.studies.queue.owners import living
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.sampler import ScalingDesignSampler
from jepa_scale.studies.specification.budget import describe
from jepa_scale.studies.specification.spec import StudySpec, read_spec
from jepa_scale.studies.view.live import shown
from jepa_scale.studies.worker import work
from jepa_scale.terminal import Step, untold

_POLL_SECONDS, _PATIENCE = 0.5, 0.2


def run_study(
    spec: StudySpec,
    study: Path,
    launcher: LocalLauncher,
    console: Console,
    accept_mixed: bool = False,
    step: Step = untold,
) -> StudyResult:
    """Do the missing runs of a study in this launcher's workers, then collect it.

    Runs that other code has computed are refused, unless ``accept_mixed``. The steps after the runs are told to
    ``step``.

    Raises
    ------
    UserError
        If the folder is another study's or in use, a configuration is wrong, or a record is corrupted.
    KeyboardInterrupt
        If the user interrupts; the runs done so far are kept.
    """
    first = pilots(spec)
    points = design(spec) if not first else []
    with study_folder(spec, study):
        launcher = _with_queue(study, launcher)
        unmark_cancelled(study)
        if first:
            console.print(f"budget: {len(first)} runs decide how long the others train", highlight=False)
            _do_missing(spec, first, study, launcher, console, accept_mixed=accept_mixed)
            points = design(spec, study)
        budget = describe(spec.budget, resolved_steps(spec, base_config(spec), study), spec.dials)
        console.print(f"budget: {budget.sentence}", highlight=False)
        _do_missing(spec, points, study, launcher, console, design_sampler(spec), accept_mixed)
        return collect(spec, points, study, study, step)


def _with_queue(study: Path, launcher: LocalLauncher) -> LocalLauncher:
    """Return the launcher with the queue that the study has, and note one that it is given on a server.

    Raises
    ------
    UserError
        If the study's queue is on another server, or cannot serve as many workers.
    """
    earlier = read_submission(study)
    url = None if earlier is None else earlier.launcher.storage
    if launcher.storage is not None and earlier is not None and url != launcher.storage:
        raise UserError(f"launcher.storage: the queue of {study} is {url or 'its journal'}, got {launcher.storage}")
    if launcher.storage is not None and earlier is None:
        Submission(launcher).write(study)
    try:
        return replace(launcher, storage=launcher.storage or url)
    except ValueError as error:
        raise UserError(f"launcher.{error}") from None


def _do_missing(
    spec: StudySpec,
    points: Sequence[DesignPoint],
    study: Path,
    launcher: LocalLauncher,
    console: Console,
    sampler: ScalingDesignSampler | None = None,
    accept_mixed: bool = False,
) -> None:
    records = read_records(points, study)
    check_code(points, records, study, accept_mixed)
    chosen = sampler is not None
    queue = Queue(study, spec.name, sampler, launcher.storage, rebuild=True, dials=spec.others, target=spec.target)
    write_plan(study, points)
    waiting = queue.plan(points, records, living(queue).alive)
    if not waiting:
        return
    from jepa_scale.runs.run import preflight

    # Now that runs are to be done here: on the device that they ask for.
    for point in points:
        check_here(point.config)
    preflight(points[0].config)
    devices = devices_for(point.config for point in points)
    launcher = launcher.on_devices(len(devices))
    total, done, busy = len(points), len(points) - waiting, min(launcher.processes, waiting)
    if chosen:
        # Its runs are not known yet: as many as the study file allows.
        total = min(total, (spec.design or {}).get("runs", total))
        done, busy = min(len(records), total), min(launcher.processes, total)
        console.print(f"a design chooses up to {total} of {len(points)} runs; {done} are done already")
    elif done:
        console.print(f"{done} of {total} runs are done already, {waiting} to do")
    with shown(study, queue, console, done, total, busy):
        if busy == 1:
            work(study, queue, {point.run_id: point for point in points}, "in-process", launcher.cohort)
        else:
            threads = int(points[0].config["trainer"]["threads"])
            _in_workers(study, queue, replace(launcher, workers=busy), threads, devices)


@contextlib.contextmanager
def study_folder(spec: StudySpec, study: Path) -> Iterator[None]:
    """Hold the lock of a study's folder, after creating it or checking that it belongs to this study.

    Raises
    ------
    UserError
        If the folder belongs to another study or to none, is in use, or holds a link that leads out of it.
    """
    import yaml
    from filelock import FileLock, Timeout

    _check_folder(spec, study)
    refuse_links(study)
    lock = FileLock(study / "lock")
    try:
        with written(study / "lock"):
            study.mkdir(parents=True, exist_ok=True)
            # Who only looks whether it is held, holds it for a moment.
            lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise UserError(f"{study} is being run by another process: wait for it, or stop it") from None
    try:
        # Again, now that nobody else can change it.
        _check_folder(spec, study)
        atomic_write(study / "study.yaml", yaml.safe_dump(spec.to_dict(), sort_keys=False, allow_unicode=True))
        yield
    finally:
        lock.release()


def _check_folder(spec: StudySpec, study: Path) -> None:
    written = study / "study.yaml"
    if written.exists():
        if not _same_runs(read_spec(written), spec):
            raise UserError(
                f"{study} holds a study with other dials, seeds or overrides, or another budget: choose another folder "
                "with --folder, or delete that one"
            )
        return
    present = {item.name for item in study.iterdir()} if study.exists() else set()
    # A kill in the middle of the first write leaves the lock and a temporary file behind.
    if any(name != "lock" and not name.startswith(".study.yaml.") for name in present):
        raise UserError(f"{study} is not a study folder (no study.yaml): choose another with --folder")


def _same_runs(stored: StudySpec, requested: StudySpec) -> bool:
    """Whether two specifications share their runs: laws, level and tuning check may differ, and the study may grow."""
    grows = stored.dials.keys() == requested.dials.keys() and all(
        _grows(dial, requested.dials[key]) for key, dial in stored.dials.items()
    )
    return (
        stored.name == requested.name
        and stored.sampler == requested.sampler
        and stored.overrides == requested.overrides
        and stored.arms == requested.arms
        and stored.budget == requested.budget
        and grows
        and set(stored.seeds) <= set(requested.seeds)
        and all(_holds(requested, run) for run in stored.extra)
    )


def _grows(stored: Dial, requested: Dial) -> bool:
    """Whether a dial is the same or only gains numbers; Optuna cannot extend a set of categories."""
    alike = (stored.name, stored.scale) == (requested.name, requested.scale)
    if not stored.numeric or not requested.numeric:
        return alike and stored.values == requested.values
    whole = [all(isinstance(value, int) for value in dial.values) for dial in (stored, requested)]
    return alike and whole[0] == whole[1] and set(stored.values) <= set(requested.values)


def _holds(spec: StudySpec, run: Mapping[str, Value]) -> bool:
    inside = all(run[key] in dial.values for key, dial in spec.dials.items()) and run["seed"] in spec.seeds
    return inside or dict(run) in [dict(extra) for extra in spec.extra]


class _Worker:
    """A worker process, which ends when its parent ends because it reads a pipe from it."""

    def __init__(
        self, study: Path, index: int, name: str, threads: int, launcher: LocalLauncher, devices: Sequence[str]
    ) -> None:
        self.index, self.name = index, name
        with written(study / "workers"):
            (study / "workers").mkdir(exist_ok=True)
            self.log = (study / "workers" / f"{name}.log").open("a", encoding="utf-8")
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        neighbours = -(-launcher.processes // max(len(devices), 1))
        self.process = subprocess.Popen(
            python_module(
                "jepa_scale.studies.worker",
                *(str(study), name, str(launcher.cohort), str(launcher.processes), str(neighbours)),
            ),
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=environment | device_of(index, devices),
            # Ctrl-C reaches this process alone, which then ends the workers in an orderly way.
            start_new_session=True,
        )

    def stop(self) -> None:
        """End the process and wait for it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.log.close()


def _unwritten(study: Path) -> str:
    free = shutil.disk_usage(study).free
    return (
        f"a worker could not write into {study}, on whose disk {free:,} bytes are free: free some, or use --folder on "
        "another disk, and give the same command again"
    )


def _in_workers(study: Path, queue: Queue, launcher: LocalLauncher, threads: int, devices: Sequence[str]) -> None:
    workers = launcher.processes
    crew = [_Worker(study, index, f"worker-{index}", threads, launcher, devices) for index in range(workers)]
    crashes = 0
    try:
        while crew:
            time.sleep(_POLL_SECONDS)
            for worker in [worker for worker in crew if worker.process.poll() is not None]:
                crew.remove(worker)
                worker.stop()
                if worker.process.returncode == 0:
                    continue
                if worker.process.returncode == UNWRITTEN:
                    raise UserError(_unwritten(study))
                crashes += 1
                queue.reap(functools.partial(operator.eq, worker.name))
                if queue.waiting() and crashes <= 2 * workers:
                    name = f"{worker.name.split('.')[0]}.{crashes}"
                    crew.append(_Worker(study, worker.index, name, threads, launcher, devices))
                elif queue.waiting() and not crew:
                    raise UserError(f"workers keep dying: see {study / 'workers'}/*.log")
    finally:
        for worker in crew:
            worker.stop()

"""Submitting a study to SLURM: one job array of workers for each class of resources; the command does not wait."""

from __future__ import annotations

import datetime
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jepa_scale import trust
from jepa_scale.integrations.slurm import commands
from jepa_scale.integrations.slurm.launcher import SlurmLauncher
from jepa_scale.runs.config import data_dir
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.design import DesignPoint, devices_of
from jepa_scale.studies.holdings import read_records
from jepa_scale.studies.launching.jobs import job_of
from jepa_scale.studies.launching.planned import planned_study, stage
from jepa_scale.studies.launching.submission import (
    Array,
    Submission,
    comment_of,
    own_jobs,
    unmark_cancelled,
)
from jepa_scale.studies.queue.storage import NO_TIME, YOUNG, Queue
from jepa_scale.studies.specification.spec import StudySpec


@dataclass(frozen=True)
class WorkerGroup:
    """Workers of one class of resources that are to be submitted."""

    resources: str
    tasks: int
    waiting: int
    """Number of runs that wait for these workers."""


def submit_study(
    spec: StudySpec, study: Path, launcher: SlurmLauncher, say: Callable[[str], None], accept_mixed: bool = False
) -> Submission:
    """Plan a study's runs into their folders, submit the workers that are missing, and return at once.

    Runs that other code has computed are refused, unless ``accept_mixed``.

    Raises
    ------
    UserError
        If the folder is another study's or in use, a configuration is wrong, or SLURM refuses.
    """
    with planned_study(spec, study, launcher, accept_mixed) as plan:
        study, queue = plan.study, plan.queue
        submission = Submission(launcher)
        if plan.earlier is not None and isinstance(plan.earlier.launcher, SlurmLauncher):
            submission = replace(plan.earlier, launcher=launcher)
        workers = _workers(submission)
        # Where no worker lives nobody can be taking a run just now.
        plan.fill(YOUNG if workers else NO_TIME)
        deciding = ", which decide the budget of the others" * plan.decides_budget
        say(f"{len(plan.records)} of {len(plan.points)} runs are done{deciding}")
        submission.write(study)
        unmark_cancelled(study)
        batches = missing(queue, plan.points, launcher, workers)
        if not batches:
            busy = sum(workers.values())
            say(f"nothing to submit: {busy} workers live" if busy else "nothing to submit: no run waits")
            return submission
        return _submit(study, spec, launcher, submission, batches, say)


def _workers(submission: Submission) -> Counter[str]:
    """Number of workers of each class that have not ended, according to SLURM."""
    try:
        tasks = commands.tasks(array.job for array in submission.arrays)
    except commands.SlurmError as error:
        raise UserError(f"which workers of this study live is not known: {error}") from None
    classes = {array.job: array.resources for array in submission.arrays}
    return Counter(classes[job_of(name)] for name in tasks)


def missing(
    queue: Queue, points: Sequence[DesignPoint], launcher: SlurmLauncher, workers: Mapping[str, int]
) -> list[WorkerGroup]:
    """Workers of each class that still have to be submitted."""
    batches = []
    for resources in sorted({point.resources for point in points}):
        waiting = queue.waiting(resources)
        # A design chooses its runs as they go.
        target = launcher.workers if queue.undecided(points) else min(launcher.workers, waiting)
        tasks = target - workers.get(resources, 0)
        if tasks > 0:
            batches.append(WorkerGroup(resources, tasks, waiting))
    return batches


def _submit(
    study: Path,
    spec: StudySpec,
    launcher: SlurmLauncher,
    submission: Submission,
    batches: Sequence[WorkerGroup],
    say: Callable[[str], None],
) -> Submission:
    (study / "workers").mkdir(exist_ok=True)
    submitted = []
    for batch in batches:
        for tasks in chunks(batch.tasks, _most()):
            script = worker_script(study, spec.name, launcher, batch.resources, tasks)
            (study / "workers" / f"{batch.resources}.sbatch").write_text(script, encoding="utf-8")
            job = _sbatch(script, study)
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            submission = replace(submission, arrays=(*submission.arrays, Array(job, batch.resources, tasks, now)))
            # After each: what SLURM holds must be known, whatever happens next.
            submission.write(study)
            submitted.append(job)
            say(
                f"job {job}: {_count(tasks, 'worker')} ({batch.resources}) for {_count(batch.waiting, 'run')} that wait"
            )
    if launcher.collect:
        submission = _follow(study, collect_script(study, spec.name, launcher), submission, submitted, say)
    return submission


def _follow(
    study: Path, script: str, submission: Submission, submitted: list[str], say: Callable[[str], None]
) -> Submission:
    """Submit the job that collects the study after all live workers; it replaces a pending one of an earlier call."""
    try:
        living = commands.tasks(submission.jobs)
        own = own_jobs(study, living)
        commands.cancel(job for job in submission.collect if job in own and living[job].state == "PENDING")
    except commands.SlurmError as error:
        raise UserError(f"{error}. The workers are submitted; the table: jepa-scale collect {study}") from None
    before = {job_of(name) for name in living} - set(submission.collect)
    after = ":".join(sorted(before | set(submitted), key=int))
    job = _sbatch(script, study, f"--dependency=afterany:{after}")
    submission = replace(submission, collect=(job,))
    submission.write(study)
    say(f"job {job}: collects the study when they have ended")
    return submission


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _most() -> int:
    """Largest number of tasks in one job array."""
    try:
        return commands.max_array_size()
    except commands.SlurmError:
        # SLURM's own default.
        return 1001


def chunks(tasks: int, most: int) -> list[int]:
    """Split a number of tasks into job arrays of at most ``most`` tasks; return their sizes."""
    whole, rest = divmod(tasks, most)
    return [most] * whole + [rest] * bool(rest)


def _sbatch(script: str, study: Path, *options: str) -> str:
    try:
        return commands.submit(script, *options)
    except commands.SlurmError as error:
        raise UserError(
            f"{error}. The runs are planned in {study} and wait; run the same command again with settings of the "
            "launcher that SLURM accepts (launcher.partition=…, launcher.account=…, launcher.time=…)"
        ) from None


def worker_script(study: Path, name: str, launcher: SlurmLauncher, resources: str, tasks: int) -> str:
    """Batch script of a job array of workers."""
    kind, devices = devices_of(resources)
    options = [f"--array=0-{tasks - 1}", f"--ntasks-per-node={devices}", f"--cpus-per-task={launcher.cpus_per_task}"]
    if kind == "gpu":
        options.append(f"--gres=gpu:{launcher.gpu_type + ':' if launcher.gpu_type else ''}{devices}")
    if launcher.memory_per_cpu:
        options.append(f"--mem-per-cpu={launcher.memory_per_cpu}")
    options += [f"--signal=B:USR1@{launcher.signal_seconds}", f"--output={_literal(study)}/workers/%A_%a.log"]
    options.append(f"--comment={comment_of(study)}")
    command = [
        launcher.python or sys.executable,
        "-P",
        "-m",
        "jepa_scale.integrations.slurm.supervise",
        str(study),
        resources,
    ]
    return _script("worker", name, launcher, options, command)


def collect_script(study: Path, name: str, launcher: SlurmLauncher) -> str:
    """Batch script of the job that collects a study."""
    options = ["--ntasks=1", f"--output={_literal(study)}/workers/collect-%j.log", f"--comment={comment_of(study)}"]
    command = [launcher.python or sys.executable, "-P", "-m", "jepa_scale", "collect", str(study)]
    return _script("collect", name, launcher, options, command)


def _script(template: str, name: str, launcher: SlurmLauncher, options: Sequence[str], command: Sequence[str]) -> str:
    names = ("partition", "account", "qos", "constraint", "time")
    chosen = [f"--{key}={getattr(launcher, key)}" for key in names if getattr(launcher, key) is not None]
    parts = {
        "name": f"jepa-{name}",
        "options": "\n".join(f"#SBATCH {quoted(option)}" for option in [*options, *chosen, *launcher.options]),
        "setup": "\n".join([*_exported(), *launcher.setup]),
        "command": shlex.join(command),
    }
    text = (data_dir("slurm", "worker.sbatch") / f"{template}.sbatch").read_text(encoding="utf-8")
    for key, value in parts.items():
        text = text.replace(f"{{{{ {key} }}}}", value)
    return text


def _literal(folder: Path) -> str:
    """Escape a folder for sbatch's file name patterns, in which % begins a replacement."""
    return str(folder).replace("%", "%%")


def _exported() -> list[str]:
    """Shell lines that export what a run needs of the environment: a site may start jobs without it."""
    modules = os.environ.get(trust.ALLOW, "")
    return [f"export {trust.ALLOW}={shlex.quote(modules)}"] if modules else []


def quoted(option: str) -> str:
    """Quote an option of sbatch for a script, where an unquoted value ends at a space.

    Raises
    ------
    UserError
        If the option holds a control character, which could begin another line.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in option):
        raise UserError(f"expected an option of sbatch without control characters, got {option!r}: rename the folder")
    name, equals, value = option.partition("=")
    if not re.search(r"[^\w@%+=:,./-]", value):
        return option
    escaped = re.sub(r'(["\\])', r"\\\1", value)
    return f'{name}{equals}"{escaped}"'


def dry_run(spec: StudySpec, study: Path, launcher: SlurmLauncher) -> str:
    """The scripts that ``submit_study`` would submit; writes nothing and does not call SLURM.

    Raises
    ------
    UserError
        If a configuration is wrong.
    """
    points, _ = stage(spec, study)
    records = read_records(points, study) if study.exists() else {}
    left = Counter(point.resources for point in points if point.run_id not in records)
    scripts = []
    for resources, waiting in sorted(left.items()):
        scripts.append(worker_script(study.resolve(), spec.name, launcher, resources, min(launcher.workers, waiting)))
    if launcher.collect and scripts:
        scripts.append(collect_script(study.resolve(), spec.name, launcher))
    return "\n".join(scripts)

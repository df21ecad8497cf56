"""SLURM's own commands, as far as a study needs them. The standard library only: a worker must start at once."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from jepa_scale.studies.launching.jobs import JobsUnknown, Task

_SECONDS = 60
"""Timeout in seconds for SLURM commands."""


class SlurmError(JobsUnknown):
    """A SLURM command failed; the message is the command's own."""


def own_name(environment: Mapping[str, str] = os.environ) -> str | None:
    """Name of the task that this process belongs to; None outside SLURM."""
    array, element = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else environment.get("SLURM_JOB_ID")


def tasks(jobs: Iterable[str]) -> dict[str, Task]:
    """Return the tasks of these jobs that have not ended, by name.

    One call, in SLURM's text format: that of ``--json`` differs between versions and lists the jobs of all users.

    Raises
    ------
    SlurmError
        If squeue does not answer: it is not known then which jobs live, which is not to say that none does.
    """
    wanted = sorted(set(jobs))
    if not wanted:
        return {}
    try:
        # Without the submitter's SQUEUE_FORMAT and the like.
        shown = _call(["squeue", "--array", "--noheader", f"--jobs={','.join(wanted)}", "--format=%i|%T|%L|%R|%k"])
    except SlurmError as error:
        # The answer for jobs that all ended long ago.
        if "Invalid job id" in str(error):
            return {}
        raise
    alive = {}
    for line in shown.splitlines():
        name, state, left, rest = line.strip().split("|", 3)
        node, _, comment = rest.rpartition("|")
        if name.partition("_")[0] in wanted:
            alive[name] = Task(name, state, seconds_of(left), node, comment)
    return alive


def seconds_of(text: str) -> float | None:
    """Return the seconds of SLURM's ``[days-][[hours:]minutes:]seconds``; None for other words, such as UNLIMITED."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def submit(script: str, *options: str) -> str:
    """Submit a batch script and return the number of its job.

    Raises
    ------
    SlurmError
        If sbatch refuses it.
    """
    answer = _call(["sbatch", "--parsable", *options], script).strip()
    # Of a cluster in a federation: number;cluster.
    job = answer.split(";")[0]
    if not job.isdecimal():
        raise SlurmError(f"sbatch answered {answer!r} where the number of a job was expected")
    return job


def max_array_size() -> int:
    """Return SLURM's ``MaxArraySize``: one more than the largest index of a job array.

    Raises
    ------
    SlurmError
        If scontrol does not say.
    """
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _call(["scontrol", "show", "config"]), re.MULTILINE)
    if match is None:
        raise SlurmError("scontrol show config names no MaxArraySize")
    return int(match.group(1))


def requeue(name: str) -> None:
    """Ask SLURM to end a task and start it again.

    A task that was cancelled would come back to life, so this asks for running ones only.

    Raises
    ------
    SlurmError
        If SLURM refuses, as for jobs that were submitted without ``--requeue``.
    """
    _call(["scontrol", "requeue", name])


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs.

    Raises
    ------
    SlurmError
        If scancel fails.
    """
    wanted = sorted(set(jobs))
    if wanted:
        _call(["scancel", "--quiet", *wanted])


def _call(command: Sequence[str], entered: str | None = None) -> str:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SBATCH_", "SQUEUE_", "SCANCEL_")) or entered is not None
    }
    try:
        done = subprocess.run(
            command, input=entered, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise SlurmError(f"no {command[0]} here: run this where SLURM's commands are, such as a login node") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} did not answer within {_SECONDS} s: the controller is down or busy") from None
    if done.returncode:
        message = " ".join((done.stderr or done.stdout).split())
        raise SlurmError(f"{command[0]} failed with status {done.returncode}: {message or 'it gave no reason'}")
    return done.stdout

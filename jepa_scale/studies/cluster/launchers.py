"""Launchers: where and how a study's workers are started."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from jepa_scale.runs.config import conf_dir
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.schema import unknown_key
from jepa_scale.studies.cohorts import CohortSize, cohort_size
from jepa_scale.studies.queue.journal import wrong_url


@dataclass(frozen=True)
class LocalLauncher:
    """Worker processes on this machine.

    Raises
    ------
    ValueError
        If the number of workers is below 1, or ``cohort`` is no size of one.
    """

    workers: int | None = None
    """Number of worker processes; None: one per core."""
    cohort: CohortSize = "off"
    """Most runs that a worker trains together; ``auto``: as many as gain by it, ``off``: every run alone."""

    def __post_init__(self) -> None:
        _at_least("workers", self.workers, 1)
        object.__setattr__(self, "cohort", cohort_size(self.cohort))

    @property
    def processes(self) -> int:
        """Number of worker processes, with the default resolved."""
        if self.workers is not None:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class SlurmLauncher:
    """Job arrays of workers on a SLURM cluster, one for each class of resources that runs need.

    Raises
    ------
    ValueError
        If a setting is impossible.
    """

    workers: int = 8
    """Workers for each class of resources; fewer if fewer runs wait. Each takes runs until none is left."""
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
        for name in ("workers", "cpus_per_task", "attempts"):
            _at_least(name, getattr(self, name), 1)
        for name in ("signal_seconds", "linger"):
            _at_least(name, getattr(self, name), 0)
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


_MOST = 100_000
"""Upper limit of the number of workers and of every other count in a launcher."""


def _at_least(name: str, value: Any, least: int) -> None:
    if value is not None and (type(value) is not int or not least <= value <= _MOST):
        raise ValueError(f"{name}: expected a whole number from {least} to {_MOST}, got {value!r}")


Launcher = LocalLauncher | SlurmLauncher


def take_launcher(written: str | Mapping[str, Any], overrides: Sequence[str]) -> tuple[Launcher, list[str]]:
    """Split overrides into the launcher (``launcher=…``, ``launcher.key=…``, ``workers=N``) and the remaining ones.

    ``written`` is the launcher in the study's file: a name, or a mapping of settings that includes the name. Settings
    that are not given are those of ``conf/launcher``.

    Raises
    ------
    UserError
        If there is no such launcher or setting, or a value is impossible.
    """
    settings = {"name": written} if isinstance(written, str) else dict(written)
    others = []
    for text in overrides:
        key, _, _ = text.partition("=")
        if key == "launcher":
            # Settings in the file are those of its own launcher.
            name = text.partition("=")[2]
            settings = settings if settings.get("name") == name else {"name": name}
    for text in overrides:
        key, _, _ = text.partition("=")
        if key == "workers" or key.startswith("launcher."):
            settings[key.removeprefix("launcher.")] = _value(text)
        elif key != "launcher":
            others.append(text)
    kind, leaf = _leaf(str(settings.pop("name", "local")))
    known = [field.name for field in fields(kind)]
    unknown = [unknown_key(f"launcher.{key}", known) for key in settings if key not in known]
    if unknown:
        raise UserError("; ".join(unknown))
    try:
        return kind(**leaf | settings), others
    except (ValueError, TypeError) as error:
        raise UserError(f"launcher.{error}") from None


def _leaf(name: str) -> tuple[type[Launcher], dict[str, Any]]:
    import yaml

    path = conf_dir() / "launcher" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(leaf.stem for leaf in path.parent.glob("*.yaml")))
        raise UserError(f"launcher: expected one of {known}, got {name!r}")
    leaf = yaml.safe_load(path.read_text(encoding="utf-8"))
    module, _, kind = leaf.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), kind), leaf


def _value(text: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text).value()
    except HydraException as error:
        raise UserError(f"cannot read {text!r}: expected key=value ({str(error).splitlines()[0]})") from None

"""Protocol of launchers, and finding one by its leaf in ``conf/launcher``."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jepa_scale.records import StudyResult
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.leaves import options
from jepa_scale.runs.schema import unknown_key
from jepa_scale.runs.targets import target_of
from jepa_scale.studies.launching.jobs import Task

if TYPE_CHECKING:
    from rich.console import Console

    from jepa_scale.studies.specification.spec import StudySpec

_MOST = 100_000
"""Upper limit of the number of workers and of every other count in a launcher."""


class Launcher(ABC):
    """Where and how a study's workers are started: a frozen dataclass of settings, which a leaf of a group names.

    A setting that is impossible raises ValueError, with a message that begins with its name.
    """

    waits: ClassVar[bool]
    """Whether ``start`` returns when the runs are done; else it returns once their workers are submitted."""
    storage: str | None
    """URL of the queue; None: a journal file in the study's folder."""

    @abstractmethod
    def start(self, spec: StudySpec, folder: Path, console: Console, accept_mixed: bool = False) -> StudyResult | None:
        """Do the runs of a study that are missing, or submit workers for them and return None.

        Raises
        ------
        UserError
            If the folder is another study's or in use, a configuration is wrong, or the workers are refused.
        """

    def scripts(self, spec: StudySpec, folder: Path) -> str:
        """Return what ``start`` would submit; writes nothing.

        Raises
        ------
        UserError
            If a configuration is wrong, or nothing is ever submitted.
        """
        raise UserError("--dry-run prints the batch scripts of a cluster; workers on this machine have none")


class ClusterLauncher(Launcher):
    """A launcher whose workers are jobs of a cluster's queue.

    A worker gives its name in the queue as ``owner_of(launcher.scheme, TASK)``, so that others can ask whether it
    lives, and takes its settings from ``read_submission(FOLDER)``.
    """

    waits = False
    scheme: ClassVar[str]
    """Name of the leaf, which the names of its workers in the queue begin with."""
    attempts: int
    """Attempts at a run whose worker dies."""

    @abstractmethod
    def tasks(self, jobs: Iterable[str]) -> dict[str, Task]:
        """Return the tasks of these jobs that have not ended, by name.

        Raises
        ------
        JobsUnknown
            If the cluster does not answer.
        """

    @abstractmethod
    def cancel(self, jobs: Iterable[str]) -> None:
        """Cancel jobs.

        Raises
        ------
        JobsUnknown
            If the cluster refuses, or does not answer.
        """


def at_least(name: str, value: Any, least: int) -> None:
    """Refuse a setting that is given and no whole number from ``least`` on.

    Raises
    ------
    ValueError
        If it is none.
    """
    if value is not None and (type(value) is not int or not least <= value <= _MOST):
        raise ValueError(f"{name}: expected a whole number from {least} to {_MOST}, got {value!r}")


def take_launcher(written: str | Mapping[str, Any], overrides: Sequence[str]) -> tuple[Launcher, list[str]]:
    """Split overrides into the launcher (``launcher=…``, ``launcher.key=…``, ``workers=N``) and the remaining ones.

    ``written`` is the launcher in the study's file: a name, or a mapping of settings that includes the name. Settings
    that are not given are those of its leaf in ``conf/launcher``.

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
    leaf = leaf_of(str(settings.pop("name", "local")))
    return build_launcher(leaf | settings), others


def leaf_of(name: str) -> dict[str, Any]:
    """Return the content of a leaf of ``conf/launcher``.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    import yaml

    known = options("launcher")
    if name not in known:
        raise UserError(f"launcher: expected one of {', '.join(known)}, got {name!r}")
    return dict(yaml.safe_load(known[name].read_text(encoding="utf-8")))


def build_launcher(leaf: Mapping[str, Any]) -> Launcher:
    """Build a launcher from ``_target_`` and settings.

    Raises
    ------
    UserError
        If the target is not trusted or is no launcher, or a setting is unknown or impossible.
    """
    settings = dict(leaf)
    kind = target_of(settings.pop("_target_", None), "launcher")
    if not (isinstance(kind, type) and issubclass(kind, Launcher) and dataclasses.is_dataclass(kind)):
        raise UserError(f"launcher._target_: expected a dataclass that derives from Launcher, got {kind!r}")
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [unknown_key(f"launcher.{key}", known) for key in settings if key not in known]
    if unknown:
        raise UserError("; ".join(unknown))
    try:
        return kind(**settings)
    except (ValueError, TypeError) as error:
        raise UserError(f"launcher.{error}") from None


def target_name(launcher: Launcher) -> str:
    """Return the ``_target_`` of a launcher's class."""
    return f"{type(launcher).__module__}.{type(launcher).__qualname__}"


def _value(text: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text).value()
    except HydraException as error:
        raise UserError(f"cannot read {text!r}: expected key=value ({str(error).splitlines()[0]})") from None

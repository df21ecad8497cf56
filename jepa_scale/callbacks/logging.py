"""Where estimates go: the run folder's own file first, and to loggers that may fail."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import lightning as L
from lightning.pytorch.loggers.logger import Logger

from jepa_scale.files import written
from jepa_scale.records import Estimate, RunRecord
from jepa_scale.training.world_model import WorldModel

Outcome = Literal["finished", "failed", "stopped"]
"""How a process leaves a run; of a stopped one, more is to come."""


@dataclass(frozen=True)
class LoggedRun:
    """What a logger is told of the run that it logs."""

    folder: Path
    run_id: str
    group: str | None = None
    """The study, if any."""
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


class EstimateLogger(Logger):
    """A logger that takes estimates as they are, with all that is known of them."""

    def write(self, estimates: Sequence[Estimate]) -> None:
        """Log estimates of one epoch."""
        raise NotImplementedError(f"{type(self).__name__} must say where estimates go")

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the rows of ``metrics.jsonl`` of a run that goes on; nothing by default."""

    def record(self, record: RunRecord) -> None:
        """Take the record of a run at its end; nothing by default."""

    def finish(self, outcome: Outcome = "finished") -> None:
        """Close; nothing by default."""


class LoggerSettings(Protocol):
    """What a leaf of ``conf/logger`` names: settings that are checked before a run, and opened at its start."""

    def open(self, run: LoggedRun) -> EstimateLogger | None:
        """Return the logger of a run; None if nothing is to be logged."""


def publish(trainer: L.Trainer, estimates: Sequence[Estimate]) -> None:
    """Hand estimates to every logger of the trainer, counted on from the run's earlier stages.

    Of several ranks the first alone has loggers.
    """
    model = trainer.lightning_module
    if isinstance(model, WorldModel) and model.epochs_before:
        before = model.epochs_before, model.steps_before
        estimates = [replace(row, epoch=row.epoch + before[0], step=row.step + before[1]) for row in estimates]
    for logger in trainer.loggers:
        if isinstance(logger, EstimateLogger):
            logger.write(estimates)
        else:
            numbers = {name: value for name, value in scalars(estimates).items() if not isinstance(value, str)}
            logger.log_metrics(numbers, estimates[0].step if estimates else 0)


def scalars(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Flatten scalar estimates: under their names, with standard error, size and flag beside; lists are left out.

    Of an exact value neither error nor size is said, and where none was identified only why.
    """
    flat: dict[str, Any] = {}
    for one in estimates:
        if isinstance(one.value, tuple):
            continue
        if one.value is not None and math.isfinite(one.value):
            flat[one.name] = one.value
        if one.n is not None:
            error = one.standard_error
            if isinstance(error, int | float) and math.isfinite(error):
                flat[f"{one.name}/standard_error"] = error
            flat[f"{one.name}/n"] = one.n
        if one.flag:
            flat[f"{one.name}/flag"] = one.flag
    return flat


class MetricsFile(EstimateLogger):
    """``metrics.jsonl``: one line per callback and epoch, append-only.

    A run that was killed between a line and its checkpoint writes that epoch's lines again, with the same numbers;
    readers keep the last. A new file begins with ``header``, which says whose it is.
    """

    def __init__(self, path: Path, header: str = "") -> None:
        super().__init__()
        self.path = path
        self.latest: dict[str, Estimate] = {}
        """The last estimate of each name, for whoever watches."""
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            # A killed writer may have left half a line, onto which the next one would be glued.
            with written(path), path.open("a", encoding="utf-8") as file:
                file.write("\n")
        if header and not (path.exists() and path.stat().st_size):
            with written(path):
                path.write_text(header, encoding="utf-8")

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def version(self) -> str:
        """There is one file per run folder."""
        return "0"

    @property
    def experiment(self) -> Path:
        """The file."""
        return self.path

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run folder holds the configuration already."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Nothing: estimates arrive by ``write``, with their uncertainty."""

    def write(self, estimates: Sequence[Estimate]) -> None:
        """Append one line."""
        self.latest.update({estimate.name: estimate for estimate in estimates})
        if estimates:
            line = json.dumps([_json_ready(vars(estimate)) for estimate in estimates], ensure_ascii=False)
            with written(self.path, len(line)), self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _json_ready(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN: a number that is not one is missing."""

    def clean(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return value

    return {name: clean(value) for name, value in fields.items()}

"""Logging of estimates: to the run folder's own file, and to loggers that may fail."""

from __future__ import annotations

import json
import math
import warnings
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
"""How a process ends its work on a run; a stopped run is to be resumed."""


@dataclass(frozen=True)
class LoggedRun:
    """Description of a run for its loggers."""

    folder: Path
    run_id: str
    group: str | None = None
    """Name of the study, if any."""
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    together: bool = False
    """Whether this process logs other runs at the same time, as those of a cohort."""


class EstimateLogger(Logger):
    """A logger that takes whole estimates, with their uncertainty."""

    def write(self, estimates: Sequence[Estimate]) -> None:
        """Log estimates from one epoch."""
        raise NotImplementedError(f"{type(self).__name__} must say where estimates go")

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Receive the ``metrics.jsonl`` rows of a run that is resumed; does nothing by default."""

    def record(self, record: RunRecord) -> None:
        """Receive the record of a run at its end; does nothing by default."""

    def finish(self, outcome: Outcome = "finished") -> None:
        """Close the logger; does nothing by default."""


class LoggerSettings(Protocol):
    """Settings of a logger, the target of a leaf of ``conf/logger``: checked before a run, opened at its start."""

    def open(self, run: LoggedRun) -> EstimateLogger | None:
        """Open the logger of a run; None if nothing is to be logged."""


def publish(trainer: L.Trainer, estimates: Sequence[Estimate]) -> None:
    """Pass estimates to every logger of the trainer, with epochs and steps continued from earlier stages.

    With several ranks only the first has loggers.
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
    """Flatten scalar estimates into values by name, with their standard errors, sizes and flags; leave out lists.

    Exact values have neither error nor size; for a value that was not identified there is only the flag.
    """
    flat: dict[str, Any] = {}
    for estimate in estimates:
        if isinstance(estimate.value, tuple):
            continue
        if estimate.value is not None and math.isfinite(estimate.value):
            flat[estimate.name] = estimate.value
        if estimate.n is not None:
            error = estimate.standard_error
            if isinstance(error, int | float) and math.isfinite(error):
                flat[f"{estimate.name}/standard_error"] = error
            flat[f"{estimate.name}/n"] = estimate.n
        if estimate.flag:
            flat[f"{estimate.name}/flag"] = estimate.flag
    return flat


def log_values(module: L.LightningModule, estimates: Iterable[Estimate], errors: bool = True) -> None:
    """Log scalar estimates by ``module.log_dict``: they are in ``trainer.callback_metrics`` then; missing ones are NaN.

    With ``errors``, standard errors and sizes too, and to the trainer's loggers; without, only for callbacks.
    """
    rows = [row for row in estimates if not isinstance(row.value, tuple)]
    found: dict[str, Any] = {row.name: math.nan if row.value is None else float(row.value) for row in rows}  # type: ignore[arg-type]
    if errors:
        found |= {name: float(value) for name, value in scalars(rows).items() if not isinstance(value, str)}
    with warnings.catch_warnings():
        # The values are of all ranks already, and a trainer may have no logger.
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*|.*have no logger configured.*")
        module.log_dict(found, logger=errors)


class MetricsFile(EstimateLogger):
    """``metrics.jsonl``: one line per callback and epoch, append-only.

    A run that was killed between a line and its checkpoint writes that epoch's lines again, with the same numbers;
    readers keep the last. A new file begins with ``header``, which names the run.
    """

    def __init__(self, path: Path, header: str = "") -> None:
        super().__init__()
        self.path = path
        self.latest: dict[str, Estimate] = {}
        """Latest estimate by name, for callbacks that show progress."""
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
        """Version of the logger, empty: there is one file per run folder."""
        return "0"

    @property
    def experiment(self) -> Path:
        """Path of the file."""
        return self.path

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder already holds the configuration."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Do nothing: estimates arrive by ``write``, with their uncertainty."""

    def write(self, estimates: Sequence[Estimate]) -> None:
        """Append estimates as one line."""
        self.latest.update({estimate.name: estimate for estimate in estimates})
        if estimates:
            line = _line(estimates)
            with written(self.path, len(line)), self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _line(estimates: Sequence[Estimate]) -> str:
    rows = [vars(estimate) for estimate in estimates]
    try:
        return json.dumps(rows, ensure_ascii=False, allow_nan=False)
    except ValueError:
        # To look at every number first takes three times as long as to write them.
        return json.dumps([_json_ready(row) for row in rows], ensure_ascii=False)


def _json_ready(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Replace NaN, which JSON cannot represent, by None."""

    def clean(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return value

    return {name: clean(value) for name, value in fields.items()}

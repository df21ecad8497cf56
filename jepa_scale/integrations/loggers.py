"""Leaves of ``conf/logger`` over Lightning's own loggers: CSV, TensorBoard, MLflow, and none."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger

from jepa_scale.callbacks.logging import EstimateLogger, LoggedRun, Outcome, scalars
from jepa_scale.integrations.wandb.names import first_line
from jepa_scale.records import Estimate
from jepa_scale.runs.folder import atomic_write

_STATUS = {"finished": "success", "failed": "failed", "stopped": "aborted"}
"""Status that Lightning's loggers expect for each outcome of a run."""


class Forwarding(EstimateLogger):
    """Forwards estimates to a Lightning logger: scalars with standard errors and sizes, a row for each epoch.

    If the logger raises, a warning is shown and the logger is switched off; the run continues. ``rewrites``: the logger
    starts its log again when a run is resumed, so that the earlier rows must be logged again.
    """

    def __init__(self, logger: Logger, config: Mapping[str, Any], rewrites: bool = False) -> None:
        super().__init__()
        self._logger: Logger | None = logger
        self._rewrites = rewrites
        self._row: dict[str, float] = {}
        self._step = 0
        self._guarded(lambda used: used.log_hyperparams(dict(config)))

    @property
    def name(self) -> str | None:
        """Name of the logger."""
        return None if self._logger is None else self._logger.name

    @property
    def version(self) -> int | str | None:
        """Version of the logger."""
        return None if self._logger is None else self._logger.version

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration was logged at the start."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log metrics that Lightning itself logs."""
        self._guarded(lambda used: used.log_metrics(dict(metrics), step))

    def write(self, estimates: Sequence[Estimate]) -> None:
        """Add estimates to the row of their epoch; a new epoch logs the previous row."""
        if not estimates:
            return
        numbers = {name: value for name, value in scalars(estimates).items() if not isinstance(value, str)}
        epoch = float(estimates[0].epoch)
        if self._row.get("epoch", epoch) != epoch:
            self._flush()
        self._row |= {"epoch": epoch, **numbers}
        self._step = max(estimate.step for estimate in estimates)

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Log the ``metrics.jsonl`` rows of a resumed run, if the logger starts its log again."""
        if self._rewrites:
            ordered = sorted(rows, key=itemgetter("epoch"))
            for _, epoch in groupby(ordered, key=itemgetter("epoch")):
                self.write([estimate_of(row) for row in epoch])

    def record(self, record: Any) -> None:
        """Log the last epoch's row."""
        self._flush()

    def finish(self, outcome: Outcome = "finished") -> None:
        """Log the last epoch's row and close the logger."""
        self._flush()
        self._guarded(lambda used: used.finalize(_STATUS[outcome]))

    def _flush(self) -> None:
        if self._row:
            row, self._row = self._row, {}
            self._guarded(lambda used: used.log_metrics(row, self._step))
            self._guarded(lambda used: used.save())

    def _guarded(self, act: Callable[[Logger], Any]) -> None:
        used = self._logger
        if used is None:
            return
        try:
            act(used)
        except Exception as error:
            self._logger = None
            warnings.warn(
                f"{type(used).__name__} is off for the rest of this run: {first_line(error)}",
                stacklevel=3,
            )


def estimate_of(row: Mapping[str, Any]) -> Estimate:
    """Return the estimate that a row of ``metrics.jsonl`` holds."""
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Estimate(**fields)


@dataclass(frozen=True)
class NoLogger:
    """Leaf ``logger=none``: no logger besides the run folder's own files."""

    def open(self, run: LoggedRun) -> None:
        """Return None: there is nothing to open."""


@dataclass(frozen=True)
class CSV:
    """CSV file ``RUN/csv/metrics.csv``: a row for each epoch, a column for each number."""

    def open(self, run: LoggedRun) -> EstimateLogger:
        """Open the file."""
        logger = CSVLogger(run.folder, name="csv", version="", flush_logs_every_n_steps=1)
        with warnings.catch_warnings():
            # It says that it deletes its file of an earlier life of the run, whose rows it gets again.
            warnings.simplefilter("ignore")
            return Forwarding(logger, run.config, rewrites=True)


@dataclass(frozen=True)
class TensorBoard:
    """TensorBoard event files, below one folder of all runs or in the run's own.

    Raises
    ------
    ValueError
        If TensorBoard is not installed.
    """

    folder: str | None = None
    """Common folder of all runs, as ``FOLDER/STUDY/RUN``; None: ``RUN/tensorboard``."""

    def __post_init__(self) -> None:
        _need("tensorboard", "tensorboard")

    def open(self, run: LoggedRun) -> EstimateLogger:
        """Open the event file."""
        if self.folder is None:
            logger = TensorBoardLogger(run.folder, name="tensorboard", version="")
        else:
            logger = TensorBoardLogger(self.folder, name=run.group or "runs", version=run.run_id)
        return Forwarding(logger, run.config)


@dataclass(frozen=True)
class MLflow:
    """An MLflow run for each run; the experiment is the study.

    Raises
    ------
    ValueError
        If MLflow is not installed.
    """

    uri: str | None = None
    """Tracking server; None: MLFLOW_TRACKING_URI, else ``mlflow.db`` in the current folder, for a single process."""
    experiment: str | None = None
    """Name of the MLflow experiment; None: the study's name."""

    def __post_init__(self) -> None:
        _need("mlflow", "mlflow")

    def open(self, run: LoggedRun) -> EstimateLogger:
        """Open the MLflow run; a resumed run continues its earlier MLflow run."""
        known = run.folder / "mlflow.txt"
        logger = MLFlowLogger(
            experiment_name=self.experiment or run.group or "jepa-scale",
            run_name=run.run_id,
            tags={tag.partition("=")[0]: tag.partition("=")[2] for tag in run.tags},
            run_id=known.read_text(encoding="utf-8").strip() if known.exists() else None,
            tracking_uri=self.uri or os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"),
        )
        forwarding = Forwarding(logger, run.config)
        if not known.exists() and forwarding.version:
            atomic_write(known, f"{forwarding.version}\n")
        return forwarding


def _need(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"logger={extra} needs {module}, which is not installed: pip install 'jepa-scale[{extra}]'")

"""Leaves of ``conf/logger`` over Lightning's own loggers: CSV, TensorBoard, MLflow, and none."""

from __future__ import annotations

import importlib.util
import os
import warnings
from dataclasses import dataclass

from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger

from jepa_scale.callbacks.forwarding import Forwarding
from jepa_scale.callbacks.logging import EstimateLogger, LoggedRun
from jepa_scale.runs.folder import atomic_write


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

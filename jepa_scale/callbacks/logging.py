"""Where estimates go: the run folder's own file first, W&B as a mirror that may fail."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger

from jepa_scale.records import Estimate
from jepa_scale.training.world_model import WorldModel

_BINS = 16
"""Of a histogram in W&B: its default of 64 for as many values shows no more, and takes most of the time of logging."""


def publish(trainer: L.Trainer, estimates: Sequence[Estimate]) -> None:
    """Hand estimates to every logger of the trainer, counted on from the run's earlier stages.

    Of several ranks the first alone has loggers.
    """
    model = trainer.lightning_module
    if isinstance(model, WorldModel) and model.epochs_before:
        before = model.epochs_before, model.steps_before
        estimates = [replace(row, epoch=row.epoch + before[0], step=row.step + before[1]) for row in estimates]
    for logger in trainer.loggers:
        if isinstance(logger, MetricsFile):
            logger.write(estimates)
        elif isinstance(logger, WandbMirror):
            logger.log_estimates(estimates)
        else:
            logger.log_metrics(scalars(estimates), estimates[0].step if estimates else 0)


def scalars(estimates: Sequence[Estimate]) -> dict[str, float]:
    """Flatten scalar estimates and their standard errors."""
    flat: dict[str, float] = {}
    for estimate in estimates:
        if isinstance(estimate.value, float):
            flat[estimate.name] = estimate.value
            if isinstance(estimate.standard_error, float) and estimate.n is not None:
                flat[f"{estimate.name}/standard_error"] = estimate.standard_error
    return flat


class MetricsFile(Logger):
    """``metrics.jsonl``: one line per callback and epoch, append-only.

    A run that was killed between a line and its checkpoint writes that epoch's lines again, with the same numbers;
    readers keep the last.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.latest: dict[str, Estimate] = {}
        """The last estimate of each name, for whoever watches."""
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            # A killed writer may have left half a line, onto which the next one would be glued.
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

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
            with self.path.open("a", encoding="utf-8") as file:
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


class WandbMirror(Logger):
    """Estimates in W&B; a W&B that fails costs a warning, never the run."""

    def __init__(self, project: str, folder: Path, run_id: str, group: str | None, config: dict[str, Any], mode: str):
        super().__init__()
        # The environment's word is the user's own, and offline is the only mode that needs nothing of it.
        import wandb

        self._wandb: Any = wandb
        self._run: Any = None
        try:
            self._run = wandb.init(
                project=project,
                dir=folder,
                id=run_id,
                name=run_id,
                group=group,
                config=config,
                mode=resolve_mode(mode),
                resume="allow",
                reinit="finish_previous",
                settings=wandb.Settings(
                    x_disable_stats=True, x_disable_meta=True, x_save_requirements=False, console="off", silent=True
                ),
            )
            self._run.define_metric("epoch")
            self._run.define_metric("*", step_metric="epoch")
        except Exception as error:
            warnings.warn(f"W&B is off for this run: {error}", stacklevel=2)

    @property
    def name(self) -> str:
        """Name of the mirror."""
        return "wandb"

    @property
    def version(self) -> str:
        """The run's id."""
        return "" if self._run is None else str(self._run.id)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration went in with ``init``."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log scalars that Lightning itself produces."""
        self._log(dict(metrics))

    def log_estimates(self, estimates: Sequence[Estimate]) -> None:
        """Log scalars with their standard errors, and lists as histograms."""
        if not estimates or self._run is None:
            return
        row: dict[str, Any] = {"epoch": estimates[0].epoch, **scalars(estimates)}
        for estimate in estimates:
            if isinstance(estimate.value, tuple):
                finite = [value for value in estimate.value if math.isfinite(value)]
                row[estimate.name] = self._wandb.Histogram(finite, num_bins=_BINS)
        self._log(row)

    def _log(self, row: dict[str, Any]) -> None:
        if self._run is None:
            return
        try:
            self._run.log(row)
        except Exception as error:
            warnings.warn(f"W&B is off for the rest of this run: {error}", stacklevel=2)
            self._run = None

    def finish(self) -> None:
        """Close the W&B run; without it the next run of this process would be logged into this one."""
        if self._run is not None:
            try:
                self._run.finish()
            except Exception as error:
                warnings.warn(f"W&B did not close cleanly: {error}", stacklevel=2)
            self._run = None


def resolve_mode(mode: str) -> Any:
    """Return W&B's mode: ``auto`` is the environment's WANDB_MODE, else online if a key is at hand, else offline.

    Raises
    ------
    ValueError
        If the mode is unknown.
    """
    if mode not in ("auto", "online", "offline", "disabled"):
        raise ValueError(f"expected logger.mode auto, online, offline or disabled; got {mode!r}")
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    return "online" if os.environ.get("WANDB_API_KEY") or _has_netrc_key() else "offline"


def _has_netrc_key() -> bool:
    import netrc

    import wandb

    try:
        host = wandb.Settings().base_url.split("//")[-1]
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def wandb_logger(
    project: str, mode: str, *, folder: Path, run_id: str, group: str | None, config: dict[str, Any]
) -> WandbMirror | None:
    """Leaf ``logger=wandb``."""
    return None if resolve_mode(mode) == "disabled" else WandbMirror(project, folder, run_id, group, config, mode)


def no_logger(*, folder: Path, run_id: str, group: str | None, config: dict[str, Any]) -> None:
    """Leaf ``logger=none``: the run folder's own files only."""
    del folder, run_id, group, config  # nothing is logged anywhere else

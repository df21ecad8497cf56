"""Forwarding of estimates to any logger of Lightning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from jepa_scale.callbacks.logging import EstimateLogger, LoggedRun, Outcome, scalars
from jepa_scale.records import Estimate
from jepa_scale.texts import first_line

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
class Lightnings:
    """A logger of Lightning that a configuration names itself, ``logger._target_=lightning.pytorch.loggers.…``."""

    make: Callable[[], Logger]

    def open(self, run: LoggedRun) -> EstimateLogger:
        """Build the logger and forward to it."""
        return Forwarding(self.make(), run.config)

"""Mirroring a run to W&B, as a W&B run named after its hash; a failure of W&B never fails the run."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.callbacks.forwarding import estimate_of
from jepa_scale.callbacks.logging import EstimateLogger, Outcome, scalars
from jepa_scale.integrations.wandb.names import AXES, PARTS, SPECTRUM_TABLE, THROUGHPUT
from jepa_scale.integrations.wandb.opening import FINISH_SECONDS, opened, resolve_mode
from jepa_scale.records import Estimate, RunRecord
from jepa_scale.records.estimates import summaries_of
from jepa_scale.texts import first_line

_BINS = 16
"""Bins of a histogram: W&B's default of 64 shows no more for so few values, and takes most of the logging time."""
_STOP_SECONDS = 5.0
"""Seconds to wait for the server when a run is stopped, which must be fast for a scheduler."""
_unreachable: list[Exception] = []
"""Why this process now logs offline: its next runs would wait as long for the same failure."""


class WandbMirror(EstimateLogger):
    """Estimates in W&B, with their standard errors and sizes beside them.

    Errors of W&B become warnings. A server that does not answer costs ``INIT_SECONDS`` at the start of a run, or
    ``FINISH_SECONDS`` at its end, once in a process: the run is then logged again offline, as all later ones are, and
    `jepa-scale sync` uploads them. ``together``: other runs of this process are logged at the same time.
    """

    def __init__(
        self,
        project: str,
        folder: Path,
        run_id: str,
        group: str | None,
        config: Mapping[str, Any],
        mode: str,
        entity: str | None = None,
        tags: Sequence[str] = (),
        together: bool = False,
    ) -> None:
        super().__init__()
        self._together = together
        self._batch_size = int(config.get("data", {}).get("batch_size", 1))
        self._last: tuple[float, float] | None = None  # time and samples at the last epoch's first row
        self._epoch = -1
        self._held: list[Sequence[Estimate]] = []
        self._ended: RunRecord | None = None
        self._defined: set[str] = set()
        self._run: Any = None
        self._folder = folder
        self._settings = {
            "project": project,
            "entity": entity,
            "id": run_id,
            "name": _name(config) or run_id,
            "group": group,
            "job_type": "+".join(config.get("stages", ())) or None,
            "tags": _tags(config, tags),
            "config": dict(config),
            "resume": "allow",
            # A run left open must not take the rows of the next one; those of a cohort are all open at once.
            "reinit": "create_new" if together else "finish_previous",
        }
        self._open("offline" if _unreachable else resolve_mode(mode))

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "wandb"

    @property
    def version(self) -> str:
        """The run's id."""
        return "" if self._run is None else str(self._run.id)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration was logged with ``init``."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log scalars that Lightning itself produces."""
        self._guarded(lambda: self._run.log(dict(metrics)))

    def write(self, estimates: Sequence[Estimate]) -> None:
        """Log one row: scalars with standard errors, sizes and flags, and lists as histograms."""
        if estimates:
            self._held.append(estimates)
            self._guarded(lambda: self._run.log(self._timed(self._row(estimates))))

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Log again the rows of ``metrics.jsonl`` that a run had logged before it was stopped.

        W&B opens another file for each life of a run, and what it held in memory dies with a process: with this every
        file holds the whole series, whichever of them arrives, and the summary's best values are those of all epochs.
        """

        def again() -> None:
            ordered = sorted(rows, key=itemgetter("epoch"))
            self._held += [
                [estimate_of(row) for row in epoch_rows] for _, epoch_rows in groupby(ordered, key=itemgetter("epoch"))
            ]
            self._again()

        self._guarded(again)

    def record(self, record: RunRecord) -> None:
        """Log the record and spectrum of a finished run; its summary suffices to rebuild a table of runs."""
        self._ended = record
        self._guarded(self._end)

    def finish(self, outcome: Outcome = "finished") -> None:
        """Close the W&B run as ``finished``, ``failed`` or ``stopped`` (to be resumed).

        Otherwise the next run of this process would be logged into this one.
        """

        def close() -> None:
            if outcome == "stopped":
                self._run.mark_preempting()
            self._run.finish(exit_code=0 if outcome == "finished" else 1)

        limit = _STOP_SECONDS if outcome == "stopped" else FINISH_SECONDS
        first = self._run
        self._guarded(lambda: _within(limit, close))
        if self._run is not first:
            self._guarded(lambda: _within(limit, close))
        self._run = None

    def _open(self, mode: Any) -> None:
        """Open the W&B run, offline if its server does not answer, and log the estimates held so far."""
        try:
            self._run = opened(mode, self._folder, **self._settings)
        except Exception as error:
            self._lost(error, mode == "online", "is off for this run")
            return
        self._defined = set()
        for axis in AXES:
            self._define(axis)
        self._define("*", "epoch")
        self._define("train/*", "samples")
        self._guarded(self._again)

    def _again(self) -> None:
        """Log all estimates held so far."""
        for estimates in list(self._held):
            self._run.log(self._row(estimates))
        self._end()

    def _end(self) -> None:
        if self._ended is not None:
            self._run.summary.update(summary_of(self._ended))
            if self._ended.spectrum:
                self._run.log({SPECTRUM_TABLE: _spectrum(self._ended)})

    def _row(self, estimates: Sequence[Estimate]) -> dict[str, Any]:
        """Row of one epoch's estimates, with the step axes."""
        import wandb

        steps = max(estimate.step for estimate in estimates)
        row = {"epoch": estimates[0].epoch, "steps": steps, "samples": steps * self._batch_size, **scalars(estimates)}
        for estimate in estimates:
            if isinstance(estimate.value, tuple):
                finite = [value for value in estimate.value if value is not None and math.isfinite(value)]
                if finite:
                    row[estimate.name] = wandb.Histogram(np_histogram=_histogram(finite))
            else:
                self._best(estimate.name)
        return row

    def _timed(self, row: dict[str, Any]) -> dict[str, Any]:
        """Add the throughput since the last epoch to a row that is the first of its epoch."""
        if row["epoch"] != self._epoch:
            now, samples = time.monotonic(), row["samples"]
            if self._last is not None and now > self._last[0]:
                row[THROUGHPUT] = (samples - self._last[1]) / (now - self._last[0])
            self._epoch, self._last = row["epoch"], (now, samples)
        return row

    def _best(self, name: str) -> None:
        if name in self._defined:
            return
        self._defined.add(name)
        if summaries := summaries_of(name):
            self._define(name, "samples" if name.startswith("train/") else "epoch", ",".join(summaries))

    def _define(self, name: str, axis: str | None = None, summary: str | None = None) -> None:
        self._guarded(lambda: self._run.define_metric(name, step_metric=axis, summary=summary))

    def _guarded(self, act: Callable[[], Any]) -> None:
        run = self._run
        if run is None:
            return
        try:
            act()
        except Exception as error:
            if self._run is run:
                self._run = None
                self._lost(error, not run.offline, "is off for the rest of this run")

    def _lost(self, error: Exception, online: bool, otherwise: str) -> None:
        warnings.warn(f"W&B {'logs offline from here on' if online else otherwise}: {first_line(error)}", stacklevel=4)
        # In a cohort the service is the other members' too: ended once, where its server does not answer any of them.
        if not self._together or (online and not _unreachable):
            _forget()
        if online:
            _unreachable.append(error)
            self._open("offline")


def _histogram(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Counts and edges of a histogram; one bin if the values differ only by rounding."""
    try:
        return np.histogram(values, bins=_BINS)
    except ValueError:
        ends = np.nextafter(min(values), -np.inf), np.nextafter(max(values), np.inf)
        return np.array([len(values)]), np.array(ends)


def summary_of(record: RunRecord) -> dict[str, Any]:
    """Values that are known only at the end of a run, for W&B's summary."""

    return {
        "run/status": record.status,
        "run/reason": record.reason,
        "run/wall_seconds": record.times.get("wall_seconds"),
        **{
            f"{part}/{name}": value
            for part in PARTS
            for name, value in getattr(record, part).items()
            if isinstance(value, int | float)
        },
    }


def _spectrum(record: RunRecord) -> Any:
    """Table of singular values by index, as means over actions: of the world, of the learned features, as estimated."""
    import wandb

    columns: dict[str, Sequence[float]] = dict(record.spectrum)
    exact = record.truth.get("singular_values")
    if isinstance(exact, Sequence):
        columns["exact"] = list(exact)
    longest = max(len(values) for values in columns.values())
    rows = [
        [index + 1, *(values[index] if index < len(values) else None for values in columns.values())]
        for index in range(longest)
    ]
    return wandb.Table(columns=["i", *columns], data=rows)


def _within(seconds: float, act: Callable[[], Any]) -> None:
    """Run a function that may hang in spite of its own time limits, as when a file system hangs.

    Raises
    ------
    TimeoutError
        If it has not ended by then; it keeps running in the background.
    Exception
        Whatever it raises.
    """
    raised: list[Exception] = []

    def acting() -> None:
        try:
            act()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=acting, name="W&B", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")


def _forget() -> None:
    """End W&B's service of this process, which would keep retrying, refuse the same run a second time, and break the
    next runs too."""
    import wandb

    with contextlib.suppress(Exception):
        _within(_STOP_SECONDS, lambda: wandb.teardown(exit_code=1))


def _name(config: Mapping[str, Any]) -> str:
    return " ".join(_dials(config))


def _dials(config: Mapping[str, Any]) -> list[str]:
    dials = {
        "n": config.get("data", {}).get("n"),
        "k": config.get("model", {}).get("k"),
        "seed": config.get("seed"),
    }
    return [f"{name}={value}" for name, value in dials.items() if value is not None]


def _tags(config: Mapping[str, Any], more: Sequence[str]) -> list[str]:
    """Tags of a run: its dials, world and objective, cut to the length limit of tags."""
    # Of a class, its module is what its option is named after.
    parts = {kind: str(config.get(kind, {}).get("_target_", "")).split(".")[-2:][0] for kind in ("world", "objective")}
    return [
        tag
        for tag in (*_dials(config), *more, *(f"{kind}={name}" for kind, name in parts.items() if name))
        if len(tag) <= 64
    ]

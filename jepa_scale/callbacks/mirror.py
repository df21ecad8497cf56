"""W&B as a mirror of a run: one W&B run each, named after the run's hash; it may fail, the run may not."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from jepa_scale.callbacks.logging import EstimateLogger, Outcome, resolve_mode, scalars
from jepa_scale.records import Estimate, RunRecord
from jepa_scale.records.mirrored import AXES, PARTS, SPECTRUM_TABLE, THROUGHPUT, kept

_OFF = "off for the rest of this run"
_BINS = 16
"""Of a histogram: W&B's default of 64 for as many values shows no more, and takes most of the time of logging."""
_INIT_SECONDS, _FINISH_SECONDS = 30.0, 60.0
"""A server that has not answered by then is done without."""


class WandbMirror(EstimateLogger):
    """Estimates in W&B, with their standard errors and sizes beside them.

    Whatever W&B raises costs one warning; a server that does not answer costs ``_INIT_SECONDS`` and leaves an offline
    run, which `jepa-scale sync` brings up later.
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
    ) -> None:
        super().__init__()
        self._batch_size = int(config.get("data", {}).get("batch_size", 1))
        self._last: tuple[float, float] | None = None  # time and samples at the last epoch's first row
        self._epoch = -1
        self._defined: set[str] = set()
        self._run: Any = None
        wanted = resolve_mode(mode)
        settings = {
            "project": project,
            "entity": entity,
            "dir": folder,
            "id": run_id,
            "name": _name(config) or run_id,
            "group": group,
            "job_type": "+".join(config.get("stages", ())) or None,
            "tags": _tags(config),
            "config": dict(config),
            "resume": "allow",
            "reinit": "finish_previous",
        }
        # A server that cannot be reached must not take the numbers with it.
        for chosen in dict.fromkeys((wanted, "offline") if wanted == "online" else (wanted,)):
            try:
                self._run = opened(mode=chosen, **settings)
                break
            except Exception as error:
                after = "logged offline instead" if chosen == "online" else "off for this run"
                warnings.warn(f"W&B is {after}: {_first_line(error)}", stacklevel=2)
                _forget()
        for axis in AXES:
            self._define(axis)
        self._define("*", "epoch")
        self._define("train/*", "samples")

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
        self._guarded(_OFF, lambda: self._run.log(dict(metrics)))

    def write(self, estimates: Sequence[Estimate]) -> None:
        """Log one row: scalars with what is known of them, and lists as histograms."""
        if estimates:
            self._guarded(_OFF, lambda: self._run.log(self._timed(self._row(estimates))))

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Log again what a run had logged before it was stopped: the rows of its ``metrics.jsonl``.

        W&B opens another file for each life of a run, and what it held in memory dies with a process: with this every
        file holds the whole series, whichever of them arrives, and the summary's best values are those of all epochs.
        """

        def again() -> None:
            for _, held in groupby(sorted(rows, key=itemgetter("epoch")), key=itemgetter("epoch")):
                self._run.log(self._row([_estimate(row) for row in held]))

        self._guarded(_OFF, again)

    def record(self, record: RunRecord) -> None:
        """Put the run's end into the summary, from which a table of runs can be made again, and its spectrum."""

        def update() -> None:
            self._run.summary.update(summary_of(record))
            if record.spectrum:
                self._run.log({SPECTRUM_TABLE: _spectrum(record)})

        self._guarded(_OFF, update)

    def finish(self, outcome: Outcome = "finished") -> None:
        """Close the W&B run as ``finished``, ``failed`` or ``stopped`` (to be gone on with).

        Without it the next run of this process would be logged into this one.
        """

        def close() -> None:
            if outcome == "stopped":
                self._run.mark_preempting()
            self._run.finish(exit_code=0 if outcome == "finished" else 1)

        self._guarded("not closed cleanly", close)
        self._run = None

    def _row(self, estimates: Sequence[Estimate]) -> dict[str, Any]:
        """One epoch's estimates on the axes."""
        import wandb

        steps = max(one.step for one in estimates)
        row = {"epoch": estimates[0].epoch, "steps": steps, "samples": steps * self._batch_size, **scalars(estimates)}
        for one in estimates:
            if isinstance(one.value, tuple):
                finite = [value for value in one.value if value is not None and math.isfinite(value)]
                if finite:
                    row[one.name] = wandb.Histogram(finite, num_bins=_BINS)
            else:
                self._best(one.name)
        return row

    def _timed(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row, with the throughput since the last epoch if it is the first of its epoch."""
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
        if kept(name):
            self._define(name, "samples" if name.startswith("train/") else "epoch", ",".join(kept(name)))

    def _define(self, name: str, axis: str | None = None, summary: str | None = None) -> None:
        self._guarded(_OFF, lambda: self._run.define_metric(name, step_metric=axis, summary=summary))

    def _guarded(self, otherwise: str, act: Callable[[], Any]) -> None:
        if self._run is None:
            return
        try:
            act()
        except Exception as error:
            warnings.warn(f"W&B is {otherwise}: {_first_line(error)}", stacklevel=3)
            self._run = None
            _forget()


def summary_of(record: RunRecord) -> dict[str, Any]:
    """What is known of a run at its end alone, as W&B's summary holds it."""

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
    """Singular values by index, mean over actions: of the world, of the learned features, as estimated."""
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


def opened(mode: Any, **settings: Any) -> Any:
    """A W&B run that says nothing on the screen and watches no machine; ``settings`` are those of ``wandb.init``.

    Raises
    ------
    Exception
        Whatever W&B raises.
    """
    import wandb

    return wandb.init(
        mode=mode,
        settings=wandb.Settings(
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
            console="off",
            silent=True,
            init_timeout=_INIT_SECONDS,
            finish_timeout=_FINISH_SECONDS,
        ),
        **settings,
    )


def _forget() -> None:
    """End W&B's service of this process: it goes on trying, refuses the same run a second time, and what broke one run
    breaks the next."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown(exit_code=1)


def _name(config: Mapping[str, Any]) -> str:
    return " ".join(_dials(config))


def _dials(config: Mapping[str, Any]) -> list[str]:
    held = {
        "n": config.get("data", {}).get("n"),
        "k": config.get("model", {}).get("k"),
        "seed": config.get("seed"),
    }
    return [f"{name}={value}" for name, value in held.items() if value is not None]


def _tags(config: Mapping[str, Any]) -> list[str]:
    """The dials, the world and the objective, as far as a tag may be long."""
    # Of a class, its module is what its option is named after.
    parts = {kind: str(config.get(kind, {}).get("_target_", "")).split(".")[-2:][0] for kind in ("world", "objective")}
    return [
        tag for tag in (*_dials(config), *(f"{kind}={name}" for kind, name in parts.items() if name)) if len(tag) <= 64
    ]


def _estimate(row: Mapping[str, Any]) -> Estimate:
    """An estimate as ``metrics.jsonl`` holds it."""
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Estimate(**fields)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

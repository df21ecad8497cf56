"""Doing a run: training by a resolved configuration, up to the run record."""

from __future__ import annotations

import contextlib
import datetime
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from lightning.pytorch.loggers.logger import Logger

from jepa_scale import processes
from jepa_scale.callbacks.base import EpochCallback
from jepa_scale.callbacks.checkpoint import RunCheckpoint
from jepa_scale.callbacks.divergence import DivergenceGuard
from jepa_scale.callbacks.forwarding import Lightnings
from jepa_scale.callbacks.logging import EstimateLogger, LoggedRun, LoggerSettings, MetricsFile, Outcome
from jepa_scale.callbacks.requeue import SafeStop, StopAsked
from jepa_scale.callbacks.spectrum import split_estimates
from jepa_scale.data.recorded import Recorded
from jepa_scale.records import RunRecord
from jepa_scale.runs.build import (
    Checked,
    Parts,
    build,
    build_callbacks,
    build_context,
    build_data,
    build_optimizer,
    check_model,
)
from jepa_scale.runs.checkpoint import steps_in
from jepa_scale.runs.code import check_code
from jepa_scale.runs.distributed.group import joined, trainer_of
from jepa_scale.runs.distributed.ranks import Place
from jepa_scale.runs.dry import WINDOWS, dry_pass, sample_batch
from jepa_scale.runs.errors import CohortEnded, Interrupted, UserError
from jepa_scale.runs.folder import RunFolder, header
from jepa_scale.runs.identity import run_id
from jepa_scale.runs.instantiate import instantiate
from jepa_scale.runs.limits import check_here
from jepa_scale.runs.loop import Alone
from jepa_scale.runs.record import record_of
from jepa_scale.runs.schema import by_name
from jepa_scale.runs.stages import FINETUNE, build_task, finetuning, second
from jepa_scale.runs.targets import target_of
from jepa_scale.training.finetune import FineTune
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.base import SampledWorld


class Companion(Protocol):
    """Takes the training steps of a run in place of its own loop, together with those of other runs."""

    @property
    def size(self) -> int:
        """Number of runs whose steps are taken together."""

    def attach(self, trainer: L.Trainer, module: WorldModel) -> None:
        """Take the place of a trainer's loop over batches."""

    def seconds(self) -> float:
        """Seconds that the run itself has taken, without those in which it waits for the others."""


def run(
    config: Mapping[str, Any],
    path: Path,
    group: str | None = None,
    extra: Sequence[L.Callback] = (),
    patience: float = 0.2,
    accept_mixed: bool = False,
    tags: Sequence[str] = (),
    companion: Companion | None = None,
) -> RunRecord:
    """Do the run of a configuration and return its record; a finished run is not trained again.

    An unfinished run resumes from its last checkpoint. ``group`` names the study in W&B, ``tags`` are further tags of
    the run there; ``extra`` callbacks only observe the run. If the folder is in use, wait for ``patience`` seconds.
    Results that other code has computed are refused, unless ``accept_mixed``. A ``companion`` takes the training steps.

    With ``trainer.devices`` above 1, that many processes, the ranks (``runs.ranks``), must call this. The first
    writes everything and decides for all; they return the same record and raise the same errors.

    Raises
    ------
    UserError
        If the folder is another run's, is in use, a part refuses its settings, there are more or fewer processes than
        devices, or the code is not that of the configuration.
    Interrupted
        If a signal asked to stop (``signals.install``); everything is saved.
    KeyboardInterrupt
        If the user interrupts; rerun the same command to resume.
    CohortEnded
        If the companion cannot take its steps.
    """
    folder = RunFolder(path)
    with joined(config["trainer"]) as here, contextlib.ExitStack() as stack:
        built: list[Checked] = []

        def begin() -> RunRecord | None:
            check_code(config)
            folder.check(config, accept_mixed)
            built.append(preflight(config))
            stack.enter_context(folder.locked(patience))
            folder.claim(config, accept_mixed)
            return folder.read_record()

        record = processes.agreed(begin)
        if record is None:
            # The other ranks build their own.
            checked = built[0] if built else None
            record = _train(config, folder, here, checked, extra, group, tags, companion)
        if here.leads:
            folder.error_path.unlink(missing_ok=True)
        return record


def preflight(config: Mapping[str, Any], elsewhere: bool = False) -> Checked:
    """Build the cheap parts of a run, so that settings they refuse are found before anything is written.

    A run to be done ``elsewhere`` needs no device on this machine. What was built is returned for the run.

    Raises
    ------
    UserError
        If the world, planner, model, objective, optimizer, logger or trainer refuses its settings, or a recording is
        too small.
    """
    if not elsewhere:
        check_here(config)
    context = build_context(config)
    world = context.world
    needed = [config]
    if FINETUNE in config["stages"]:
        needed.append(second(config, build_task(config, context)))
    data = None
    if isinstance(world, Recorded):
        data, *_ = [build_data(settings, world) for settings in needed]
    check_model(config, world)
    if data is not None:
        dry_pass(config, world, data.windows.take(torch.arange(WINDOWS)))
    elif isinstance(world, SampledWorld):
        dry_pass(config, world, sample_batch(world, config["data"]["horizon"]))
    build_optimizer(config["optimizer"])
    checked = Checked(context, data, build_callbacks(config, context), loggers_of(config))
    device = {"accelerator": "cpu"} if elsewhere else {}
    trainer_of({**config["trainer"], **device}, Place(0, 0, config["trainer"]["devices"]), logger=False)
    return checked


def loggers_of(config: Mapping[str, Any]) -> list[LoggerSettings]:
    """Return the settings of a run's loggers.

    Raises
    ------
    UserError
        If a logger refuses its settings.
    """
    return [_logger(f"logger.{name}" if name else "logger", leaf) for name, leaf in by_name(config["logger"]).items()]


def _logger(path: str, leaf: Mapping[str, Any]) -> LoggerSettings:
    target = target_of(leaf["_target_"], path)
    if isinstance(target, type) and issubclass(target, Logger):
        # Built when the run starts: some open their files at once.
        return Lightnings(instantiate(path, {**leaf, "_partial_": True}))
    built = instantiate(path, leaf)
    if not callable(getattr(built, "open", None)):
        raise UserError(f"{path}: expected a logger of Lightning or one with open(run), got {type(built).__name__}")
    return built


def _train(
    config: Mapping[str, Any],
    folder: RunFolder,
    here: Place,
    checked: Checked | None,
    extra: Sequence[L.Callback],
    group: str | None,
    tags: Sequence[str],
    companion: Companion | None,
) -> RunRecord:
    clock = time.perf_counter if companion is None else companion.seconds
    started = clock()
    torch.set_num_threads(config["trainer"]["threads"])
    # Every rank builds its own; what one of them is refused, or cannot read, is told to all.
    built: list[Parts] = []
    processes.every(lambda: built.append(build(config, checked)))
    (parts,) = built
    loggers: list[EstimateLogger] = []
    outcome: Outcome = "failed"
    fit_seconds = 0.0
    try:
        chosen = [] if checked is None else checked.loggers
        together = companion is not None and companion.size > 1
        processes.every(
            lambda: loggers.extend(_loggers(config, chosen, folder, group, tags, together) if here.leads else ())
        )
        for stage in config["stages"]:
            if stage == FINETUNE:
                parts = finetuning(config, parts)
            fit_seconds += _fit(config, folder, here, parts, loggers, extra, companion)
            if parts.module.diverged:
                break
            _test(folder, parts, loggers)

        def end() -> RunRecord:
            times: dict[str, float | str] = {
                "wall_seconds": clock() - started,
                "fit_seconds": fit_seconds,
                "callback_seconds": sum(getattr(callback, "seconds", 0.0) for callback in parts.callbacks),
                "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            }
            if companion is not None:
                times["cohort"] = companion.size
            record = record_of(config, folder, parts, times)
            # Before it is written: whoever finds it written does not come here again.
            for logger in loggers:
                logger.record(record)
            folder.write_record(record)
            return record

        record = processes.agreed(end)
        outcome = "finished" if record.status == "finished" else "failed"
        return record
    except (Interrupted, CohortEnded, KeyboardInterrupt):
        outcome = "stopped"
        raise
    finally:
        for logger in loggers:
            logger.finish(outcome)


def _loggers(
    config: Mapping[str, Any],
    chosen: Sequence[LoggerSettings],
    folder: RunFolder,
    group: str | None,
    tags: Sequence[str],
    together: bool,
) -> list[EstimateLogger]:
    """Open the run's loggers: its ``metrics.jsonl`` and the chosen ones, which replay what it already holds."""
    earlier = folder.read_metrics()
    run = LoggedRun(folder.path, run_id(config), group, tuple(tags), dict(config), together)
    others = [opened for settings in chosen if (opened := settings.open(run)) is not None]
    for logger in others:
        logger.replay(earlier)
    return [MetricsFile(folder.metrics_path, header(run_id(config))), *others]


def _test(folder: RunFolder, parts: Parts, loggers: Sequence[EstimateLogger]) -> None:
    """Compute estimates from the test data at the end of a stage, unless that was done already."""
    epochs, steps = parts.module.trained

    def done() -> bool:
        return any(row["epoch"] == epochs - 1 and row["name"] == "test/loss" for row in folder.read_metrics())

    if processes.agreed(done):
        return
    parts.module.eval()
    rows = split_estimates("test", parts.module, parts.data.test, parts.context, epochs - 1, steps)
    parts.module.train()
    for logger in loggers:
        logger.write(rows)


def _ours(callback: L.Callback) -> bool:
    """Whether a callback is of this package, of which none looks at ``trainer.callback_metrics``."""
    return type(callback).__module__.startswith("jepa_scale.")


def _fit(
    config: Mapping[str, Any],
    folder: RunFolder,
    here: Place,
    parts: Parts,
    loggers: Sequence[EstimateLogger],
    extra: Sequence[L.Callback],
    companion: Companion | None,
) -> float:
    """Train one stage, or the rest of it; return the seconds that it took."""
    clock = time.perf_counter if companion is None else companion.seconds
    settings, path = dict(config["trainer"]), folder.checkpoint_path
    if isinstance(parts.module, FineTune):
        settings["epochs"] = parts.module.task.schedule.epochs
    elif FINETUNE in config["stages"]:
        path = folder.pretrained_path
    if settings.get("compile"):
        parts.module.compile_parts()
    if here.leads:
        path.parent.mkdir(exist_ok=True)
    checkpoint = RunCheckpoint(path, settings.get("checkpoint_every"))
    watching = [DivergenceGuard(settings["divergence"]), *parts.callbacks, *extra]
    for callback in parts.callbacks:
        if isinstance(callback, EpochCallback):
            callback.heard = any(not _ours(one) for one in watching)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer = trainer_of(
            settings,
            here,
            # Its own: inside a job Lightning loads whatever hpc_ckpt_* it finds there.
            default_root_dir=folder.path,
            logger=list(loggers) or False,
            callbacks=[*watching, checkpoint, SafeStop(checkpoint)],
        )
        steps = processes.agreed(lambda: steps_in(path, config))
        if steps is not None and here.leads:
            print(f"goes on from step {steps} of {settings['epochs'] * settings['steps_per_epoch']}", flush=True)
        if companion is None:
            Alone(trainer, parts.module).attach()
        else:
            companion.attach(trainer, parts.module)
        started = clock()
        try:
            resumed = None if steps is None else path
            trainer.fit(parts.module, datamodule=parts.data, ckpt_path=resumed, weights_only=True)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit, which a worker could not tell from any other.
            raise KeyboardInterrupt from None
        except StopAsked as stop:
            raise Interrupted(path, stop.request) from None
    parts.module.trained = (
        # As many as there were: a callback may have stopped it.
        parts.module.epochs_before + trainer.current_epoch,
        parts.module.steps_before + trainer.global_step,
    )
    return clock() - started

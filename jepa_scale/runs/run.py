"""One resolved configuration in, one run record out."""

from __future__ import annotations

import datetime
import logging
import platform
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import jepa_scale
from jepa_scale.callbacks.base import Exact, tabulate
from jepa_scale.callbacks.bounds import bounds_of
from jepa_scale.callbacks.checkpoint import EpochCheckpoint
from jepa_scale.callbacks.divergence import DivergenceGuard
from jepa_scale.callbacks.logging import MetricsFile, resolve_mode
from jepa_scale.callbacks.planning import floors_of
from jepa_scale.callbacks.spectrum import split_estimates
from jepa_scale.callbacks.tasks import protocol_of
from jepa_scale.data.recorded import Recorded
from jepa_scale.models.size import flops_per_step, parameters
from jepa_scale.records import BoundValue, RunRecord
from jepa_scale.runs.build import Parts, build, build_context, build_data, check_model, instantiate
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.identity import run_id
from jepa_scale.runs.stages import FINETUNE, build_task, finetuning, second
from jepa_scale.theory.spectrum import spectral_gap, spectral_tail
from jepa_scale.training.finetune import FineTune


def run(config: Mapping[str, Any], path: Path, group: str | None = None, extra: Sequence[L.Callback] = ()) -> RunRecord:
    """Train what the configuration says and return its record; a finished run is not trained again.

    An unfinished run goes on from its last whole epoch. ``group`` names the study in W&B; ``extra``
    callbacks watch, they are not part of the run.

    Raises
    ------
    UserError
        If the folder is another run's, is in use, or a part refuses its settings.
    KeyboardInterrupt
        If the user interrupts; the run resumes when asked for again.
    """
    folder = RunFolder(path)
    folder.check(config)
    preflight(config)
    with folder.locked():
        folder.claim(config)
        record = folder.read_record()
        if record is None:
            record = _train(config, folder, group, extra)
            folder.write_record(record)
        return record


def preflight(config: Mapping[str, Any]) -> None:
    """Build what is cheap to build, so that a setting that a part refuses is found before anything is written.

    Raises
    ------
    UserError
        If the world, planner, model, objective, optimizer, logger or trainer refuses its settings, or a recording is
        too small.
    """
    context = build_context(config)
    world = context.world
    needed = [config]
    if FINETUNE in config["stages"]:
        needed.append(second(config, build_task(config, context)))
    if isinstance(world, Recorded):
        for settings in needed:
            build_data(settings, world)
    check_model(config, world)
    instantiate("optimizer", config["optimizer"])
    try:
        resolve_mode(config["logger"].get("mode", "auto"))
    except ValueError as error:
        raise UserError(str(error)) from None
    _trainer(config["trainer"], logger=False)


def _trainer(settings: Mapping[str, Any], **more: Any) -> L.Trainer:
    # Lightning speaks of devices and of adverts once per run, which is a hundred times per study.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    try:
        return L.Trainer(
            max_epochs=settings["epochs"],
            gradient_clip_val=settings["gradient_clip"],
            accelerator=settings["accelerator"],
            devices=settings["devices"],
            precision=settings["precision"],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            # Not whatever launcher the surroundings suggest: a study's worker runs one process per run.
            plugins=[LightningEnvironment()],
            **more,
        )
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from None


def _train(config: Mapping[str, Any], folder: RunFolder, group: str | None, extra: Sequence[L.Callback]) -> RunRecord:
    started = time.perf_counter()
    torch.set_num_threads(config["trainer"]["threads"])
    parts = build(config)
    identity = run_id(config)
    metrics = MetricsFile(folder.metrics_path)
    mirror = instantiate(
        "logger", config["logger"], folder=folder.path, run_id=identity, group=group, config=dict(config)
    )
    loggers = [metrics] + ([mirror] if mirror is not None else [])
    fit_seconds = 0.0
    try:
        for stage in config["stages"]:
            if stage == FINETUNE:
                parts = finetuning(config, parts)
            fit_seconds += _fit(config, folder, parts, loggers, extra)
            if parts.module.diverged:
                break
            parts.module.eval()
            epochs, steps = parts.module.trained
            if not any(row["epoch"] == epochs - 1 and row["name"] == "test/loss" for row in folder.read_metrics()):
                metrics.write(split_estimates("test", parts.module, parts.data.test, parts.context, epochs - 1, steps))
            parts.module.train()
    finally:
        if mirror is not None:
            mirror.finish()
    times: dict[str, float | str] = {
        "wall_seconds": time.perf_counter() - started,
        "fit_seconds": fit_seconds,
        "callback_seconds": sum(callback.seconds for callback in parts.callbacks),
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return _record(config, folder, parts, times)


def _fit(
    config: Mapping[str, Any], folder: RunFolder, parts: Parts, loggers: list[Any], extra: Sequence[L.Callback]
) -> float:
    """Train one stage, or what is left of it, and return the seconds that it took."""
    settings, path = dict(config["trainer"]), folder.checkpoint_path
    if isinstance(parts.module, FineTune):
        settings["epochs"] = parts.module.task.schedule.epochs
    elif FINETUNE in config["stages"]:
        path = folder.pretrained_path
    path.parent.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer = _trainer(
            settings,
            default_root_dir=folder.path,
            logger=loggers,
            callbacks=[DivergenceGuard(settings["divergence"]), *parts.callbacks, *extra, EpochCheckpoint(path)],
        )
        resume = path if _can_resume(path) else None
        started = time.perf_counter()
        try:
            trainer.fit(parts.module, datamodule=parts.data, ckpt_path=resume)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit, which a worker could not tell from any other.
            raise KeyboardInterrupt from None
    parts.module.trained = (
        parts.module.epochs_before + settings["epochs"],
        parts.module.steps_before + trainer.global_step,
    )
    return time.perf_counter() - started


def _can_resume(checkpoint: Path) -> bool:
    """Whether there is a readable checkpoint; a damaged one is put out of the way and the run starts over."""
    if not checkpoint.exists():
        return False
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=False)
    except Exception as error:
        warnings.warn(f"{checkpoint} cannot be read ({type(error).__name__}): the run starts over", stacklevel=2)
        checkpoint.unlink()
        return False
    return True


def _record(config: Mapping[str, Any], folder: RunFolder, parts: Parts, times: Mapping[str, float | str]) -> RunRecord:
    module, context = parts.module, parts.context
    rows = [row for row in folder.read_metrics() if isinstance(row["value"], float | int)]
    last = max((row["epoch"] for row in rows), default=-1)
    final = {row["name"]: row for row in rows if row["epoch"] == last} if not module.diverged else {}
    earlier = module.epochs_before - 1
    before = {row["name"]: row for row in rows if row["epoch"] == earlier}
    known = context.exact
    bounds = () if module.diverged or known is None else bounds_of(known, tabulate(module, known.world))
    return RunRecord(
        run_id=run_id(config),
        config=dict(config),
        status="diverged" if module.diverged else "finished",
        reason=module.diverged,
        dials={
            "n": config["data"]["n"],
            "episodes": parts.data.episodes,
            "k": config["model"]["k"],
            "seed": config["seed"],
            "parameters": parameters(module.encoder, module.predictor),
            "flops_per_step": _flops(config, parts),
        },
        final={name: row["value"] for name, row in final.items()},
        final_standard_errors={name: row["standard_error"] for name, row in final.items()},
        final_n={name: row["n"] for name, row in final.items()},
        pretrained={name: row["value"] for name, row in before.items()},
        pretrained_standard_errors={name: row["standard_error"] for name, row in before.items()},
        bounds=[_bound(bound) for bound in bounds],
        truth={} if known is None else _truth(known, context.k),
        spectrum={} if module.diverged else _spectrum(folder, last),
        versions=versions(),
        data_checksum=parts.data.checksum,
        times=dict(times),
        protocol=protocol_of(context),
    )


def _flops(config: Mapping[str, Any], parts: Parts) -> int:
    batch, module = parts.data.windows.take(torch.zeros(1, dtype=torch.int64)), parts.module
    sizes = config["data"]["batch_size"], config["data"]["horizon"]
    row = batch.observations[:, 0].to(module.device), batch.actions[:, 0].to(module.device)
    return flops_per_step(module.encoder, module.predictor, *sizes, *row)


def _bound(bound: BoundValue) -> dict[str, Any]:
    return {
        "name": bound.name,
        "label": bound.label,
        "value": bound.value,
        "vacuous": bound.vacuous,
        "applies": bound.applies,
        "hypotheses": [
            {"statement": item.statement, "holds": item.holds, "detail": item.detail} for item in bound.hypotheses
        ],
    }


def _truth(exact: Exact, k: int) -> dict[str, Any]:
    truth, values = exact.truth, exact.truth.singular_values
    known = {
        "tail": float(spectral_tail(values, k).mean()),
        "tail_max": float(spectral_tail(values, k).max()),
        "shared_tail": float(spectral_tail(truth.stacked, k)),
        "squared_norm": float((values**2).sum(-1).mean()),
        "singular_values": values.mean(0).tolist(),
    }
    if k <= values.shape[-1]:
        known["gap"] = float(spectral_gap(values, k).mean())
    return known | {f"regret_{name}": value for name, value in floors_of(exact).items()}


def _spectrum(folder: RunFolder, last: int) -> dict[str, list[float]]:
    """Mean over actions of the last epoch's singular values: exact and estimated, of the learned features."""
    found: dict[str, list[Any]] = {"learned": [], "estimated": [], "estimated_standard_error": []}
    for row in folder.read_metrics():
        if row["epoch"] != last or not row["name"].endswith("/singular_values") or row["value"] is None:
            continue
        if row["name"].startswith("exact/action_"):
            found["learned"].append(row["value"])
        elif row["name"].startswith("spectrum/"):
            found["estimated"].append(row["value"])
            found["estimated_standard_error"].append(row["standard_error"])
    return {name: np.mean(np.array(values, dtype=float), axis=0).tolist() for name, values in found.items() if values}


def versions() -> dict[str, str]:
    """Versions that a record's numbers may depend on."""
    return {
        "jepa_scale": jepa_scale.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": L.__version__,
        "numpy": np.__version__,
    }

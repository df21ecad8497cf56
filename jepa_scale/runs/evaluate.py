"""Evaluation of checkpoints under a protocol that the user chooses."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.planning import exact_estimates
from jepa_scale.callbacks.prediction import without_environment
from jepa_scale.callbacks.success import estimates_of, tried
from jepa_scale.callbacks.tasks import protocol_of
from jepa_scale.data.module import draw
from jepa_scale.data.normalise import unfitted
from jepa_scale.data.recorded import Recorded
from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.estimators.proportion import mcnemar
from jepa_scale.models.foreign.read import weights_of
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import Estimate, EvaluationRecord, PairedDifference, TaskOutcomes, Trajectories
from jepa_scale.records.evaluation import Success
from jepa_scale.runs.build import build_context, build_data, build_module
from jepa_scale.runs.checkpoint import Checkpoint, read_checkpoint, restore
from jepa_scale.runs.code import changed
from jepa_scale.runs.config import keys_of, with_overrides
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write, missing_for_nan, refuse_links
from jepa_scale.runs.foreign import evaluate_foreign
from jepa_scale.runs.identity import run_id
from jepa_scale.runs.record import versions
from jepa_scale.runs.stages import FINETUNE, build_task
from jepa_scale.streams import stream_seed
from jepa_scale.training.finetune import FineTune
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.base import SampledWorld


@dataclass(frozen=True)
class Evaluated:
    """Evaluation of one checkpoint, and the file that holds it."""

    path: Path
    record: EvaluationRecord


def evaluate(paths: Sequence[Path], overrides: Sequence[str] = (), out: Path | None = None) -> list[Evaluated]:
    """Evaluate checkpoints, all of them in the same world and on the same tasks, and write each into its run's folder.

    If given, the folder ``out`` is used instead. A warning reports code that differs from a model's training code.

    Raises
    ------
    UserError
        If a checkpoint cannot be read, an override may not change, a part refuses its settings, a folder cannot be
        written, or the checkpoints would not be tried alike: different worlds, planners or tasks.
    """
    if any(weights_of(path) is not None for path in paths):
        return [_written(evaluate_foreign(path, overrides), _foreign_folder(path, out)) for path in paths]
    _check_overrides(overrides)
    checkpoints = [read_checkpoint(path) for path in paths]
    folders = [_writable(checkpoint.path, out) for checkpoint in checkpoints]
    configs = [with_overrides(checkpoint.config, overrides) for checkpoint in checkpoints]
    _check_alike(paths, configs)
    loaded = [_load(checkpoint, config) for checkpoint, config in zip(checkpoints, configs, strict=True)]
    done = []
    for checkpoint, config in zip(checkpoints, configs, strict=True):
        for differs in changed(checkpoint.config, config):
            warnings.warn(f"{checkpoint.path} was trained by other code: {differs}", stacklevel=2)
    for checkpoint, config, (context, module, heldout), folder in zip(
        checkpoints, configs, loaded, folders, strict=True
    ):
        done.append(_written(_evaluated(checkpoint, config, context, module, heldout), folder))
    return done


def _written(record: EvaluationRecord, folder: Path) -> Evaluated:
    text = json.dumps(missing_for_nan(record.to_dict()), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path = folder / f"{_identity(record)}.json"
    atomic_write(path, text)
    return Evaluated(path, record)


def _foreign_folder(path: Path, out: Path | None) -> Path:
    """Folder to write the evaluation of a model of another program into: nothing is put beside its files unasked."""
    file = weights_of(path)
    if file is None:
        raise UserError(
            f"{path}: expected models of another program, as the others are, got none: evaluate it by itself"
        )
    return Path("evaluations") / file.parent.name if out is None else out


def _writable(checkpoint: Path, out: Path | None) -> Path:
    """Folder to write an evaluation into: ``out``, or ``evaluations/`` in the run's folder, which must be writable."""
    place = checkpoint.resolve().parent
    owner = place.parent if place.name == "checkpoints" else place
    if out is not None:
        return out
    if not os.access(owner, os.W_OK):
        raise UserError(f"{owner} cannot be written: add --out FOLDER to write into another one")
    if place.name == "checkpoints":
        refuse_links(owner)
    return owner / "evaluations"


def _identity(record: EvaluationRecord) -> str:
    text = json.dumps([record.checkpoint, record.settings], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _check_overrides(overrides: Sequence[str]) -> None:
    for key in keys_of(overrides):
        if key == "world" or key.endswith("_target_"):
            raise UserError(
                f"{key}: expected settings of the world that the checkpoint was trained in (world.KEY=value), got "
                "another world: evaluate a checkpoint from that world"
            )
        group = key.split(".")[0]
        if group not in ("evaluation", "planner", "world") and key not in ("data.heldout", "data.test"):
            raise UserError(
                f"{key}: expected evaluation.*, planner, planner.*, world.*, data.heldout or data.test: the rest "
                "belongs to the model, which is trained already"
            )


def _check_alike(paths: Sequence[Path], configs: Sequence[Mapping[str, Any]]) -> None:
    for path, config in zip(paths[1:], configs[1:], strict=True):
        for part in ("world", "planner", "evaluation"):
            ours, theirs = _flat(config[part], part), _flat(configs[0][part], part)
            for key in sorted(ours | theirs):
                if ours.get(key) != theirs.get(key):
                    what = "worlds" if part == "world" else f"settings of {part}"
                    both = "" if key.endswith("_target_") else f", or give {key}=VALUE for both"
                    raise UserError(
                        f"{paths[0]} and {path} have different {what}: {key} is {theirs.get(key)!r} and "
                        f"{ours.get(key)!r}; evaluate them one by one{both}"
                    )


def _flat(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {path: value}
    return {name: item for key, part in value.items() for name, item in _flat(part, f"{path}.{key}").items()}


def load_model(checkpoint: Checkpoint) -> tuple[Context, WorldModel]:
    """Build a checkpoint's world, planner and model, with its weights, in evaluation mode.

    Raises
    ------
    UserError
        If a part cannot be built, or the weights are of another model.
    """
    context, model, _ = _load(checkpoint, checkpoint.config)
    return context, model


def _load(checkpoint: Checkpoint, config: Mapping[str, Any]) -> tuple[Context, WorldModel, Trajectories]:
    """Load world, planner, model with weights, and held-out data; training data are not drawn."""
    # As in training: a sum over several threads is not the same to the last bit.
    torch.set_num_threads(config["trainer"]["threads"])
    context = build_context(config)
    world, sizes = context.world, config["data"]
    if isinstance(world, Recorded):
        trained = checkpoint.config["data"]
        if sizes["test"] != trained["test"] or sizes["heldout"] > trained["heldout"]:
            raise UserError(
                f"expected data.heldout ≤ {trained['heldout']} and data.test={trained['test']}, as other episodes were "
                f"trained on, got {sizes['heldout']} and {sizes['test']}"
            )
        data = build_data(config, world)
        module, heldout = build_module(config, world, data.action_counts, data.normaliser), data.heldout
    else:
        assert isinstance(world, SampledWorld)
        # How often each action was taken enters the loss only; scales are restored with the weights.
        scales = unfitted(world.observation_shape, world.action_space) if world.normalise else None
        module = build_module(config, world, torch.ones(world.action_space.count or 1), scales)
        try:
            heldout = draw(world, sizes["heldout"], sizes["length"], stream_seed(config["seed"], "data/heldout"))
        except ValueError as error:
            raise UserError(f"data.heldout: {error}") from None
    model: WorldModel = module
    if checkpoint.stage == FINETUNE:
        # As it was trained: a network that plans has the horizon of the planner of its run.
        task = build_task(config, build_context({**config, "planner": checkpoint.config["planner"]}))
        model = FineTune(module, task, config["seed"])
    restore(checkpoint, model)
    return context, model.to(_device(config)).eval(), heldout


def _device(config: Mapping[str, Any]) -> str:
    accelerated = config["trainer"]["accelerator"] in ("auto", "gpu", "cuda")
    return "cuda" if accelerated and torch.cuda.is_available() else "cpu"


def _evaluated(
    checkpoint: Checkpoint, config: Mapping[str, Any], context: Context, module: WorldModel, heldout: Trajectories
) -> EvaluationRecord:
    moment = checkpoint.epoch, checkpoint.step
    outcomes: dict[str, TaskOutcomes] = {}
    required: list[int] = []
    estimates: list[Estimate] = []
    try:
        if context.exact is not None:
            estimates = exact_estimates(context.exact, module, context.evaluation, *moment)
        elif not isinstance(context.planner, NoPlanner):
            results = tried(context, module)
            estimates = estimates_of(results, context.evaluation, *moment)
            outcomes, required = results.as_records(), results.trial.drawn.required_steps.tolist()
        estimates += without_environment(context, module, heldout, *moment)
    except NotFiniteError as error:
        raise UserError(f"{checkpoint.path}: {error}: this model has diverged") from None
    settings = {name: config[name] for name in ("world", "planner", "evaluation", "seed")}
    settings |= {"data": {name: config["data"][name] for name in ("heldout", "test", "length", "horizon")}}
    settings |= {"threads": config["trainer"]["threads"], "device": _device(config)}
    return EvaluationRecord(
        checkpoint.digest,
        run_id(checkpoint.config),
        _trained(checkpoint),
        settings,
        protocol_of(context),
        tuple(estimates),
        required,
        outcomes,
        versions(),
    )


def _trained(checkpoint: Checkpoint) -> str:
    if checkpoint.stage != FINETUNE:
        return "pretrained"
    return f"fine-tuned, {checkpoint.config['finetune']['_target_'].rpartition('.')[2]}"


def difference(model: EvaluationRecord, reference: EvaluationRecord, kind: Success) -> PairedDifference | None:
    """Difference in success of two models on the tasks of both; None if success of either is unknown.

    Raises
    ------
    ValueError
        If the models were not tried on the same tasks.
    """
    if model.protocol != reference.protocol or model.settings["world"] != reference.settings["world"]:
        raise ValueError("expected two evaluations by the same protocol in the same world, got different ones")
    ours, theirs = (record.outcomes.get("model") for record in (model, reference))
    if ours is None or theirs is None:
        return None
    solved = [outcomes.ever if kind == "any_time" else outcomes.final for outcomes in (ours, theirs)]
    if solved[0] is None or solved[1] is None:
        return None
    first, second = (np.asarray(values, dtype=float) for values in solved)
    gaps = first - second
    error = float(gaps.std(ddof=1) / len(gaps) ** 0.5) if len(gaps) > 1 else None
    only = int((gaps > 0).sum()), int((gaps < 0).sum())
    return PairedDifference(kind, float(gaps.mean()), error, len(gaps), *only, mcnemar(*only))

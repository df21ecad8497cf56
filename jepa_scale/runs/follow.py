"""Fine-tuning of a run that is already there, as the second stage of the same run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jepa_scale.runs.checkpoint import Checkpoint
from jepa_scale.runs.config import compose, with_values
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder

_OURS = ("finetune", "logger")


def following(checkpoint: Checkpoint, overrides: Sequence[str]) -> dict[str, Any]:
    """Configuration of the run that pretrains as the checkpoint was pretrained, and fine-tunes.

    The same as of a run with ``stages=[pretrain, finetune]`` from the start, and so the same run.

    Raises
    ------
    UserError
        If an override concerns anything but fine-tuning, the checkpoint is not the end of a pretraining, or a setting
        is refused.
    """
    others = [text for text in overrides if text.partition("=")[0].split(".")[0] not in _OURS]
    if others:
        raise UserError(
            f"{others[0]}: expected finetune=WAY or finetune.KEY=VALUE only, as pretraining is done; to evaluate with "
            "other settings use `jepa-scale evaluate`"
        )
    if "finetune=none" in overrides:
        raise UserError("finetune=none: expected a way of fine-tuning, for example finetune=rollout, got none")
    if checkpoint.stage != "pretrain":
        raise UserError(f"{checkpoint.path}: expected a pretrained checkpoint, got one that is fine-tuned already")
    settings = checkpoint.config["trainer"]
    epochs, steps = settings["epochs"], settings["epochs"] * settings["steps_per_epoch"]
    if checkpoint.step != steps:
        raise UserError(
            f"{checkpoint.path}: expected the end of a pretraining, got step {checkpoint.step} of {steps}, in "
            f"epoch {checkpoint.epoch + 1} of {epochs}: finish that run first"
        )
    if not any(text.startswith("finetune=") for text in overrides):
        overrides = ["finetune=rollout", *overrides]
    composed = compose([*overrides, "stages=[pretrain, finetune]"])
    named = {text.partition("=")[0].split(".")[0] for text in overrides}
    taken = {name: composed[name] for name in named}
    return with_values({**checkpoint.config, **taken, "stages": composed["stages"]}, {})


def adopt(checkpoint: Checkpoint, config: Mapping[str, Any], path: Path) -> None:
    """Give the run folder of ``config`` the pretrained checkpoint, and the estimates that were logged on the way.

    Raises
    ------
    UserError
        If the folder is another run's or in use.
    """
    folder = RunFolder(path)
    with folder.locked():
        folder.claim(config)
        _copy(checkpoint.path, folder.pretrained_path)
        metrics = checkpoint.path.parent.parent / "metrics.jsonl"
        if metrics.is_file():
            _copy(metrics, folder.metrics_path)


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all; what is already there stays."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)

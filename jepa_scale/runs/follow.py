"""Fine-tuning of an existing pretrained run, as the second stage of one run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jepa_scale.files import written
from jepa_scale.runs.checkpoint import Checkpoint
from jepa_scale.runs.code import MIXED, changed
from jepa_scale.runs.config import compose, with_values
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder, atomic_write, header, parsed_line
from jepa_scale.runs.identity import run_id

_OURS = ("finetune", "logger")


def following(checkpoint: Checkpoint, overrides: Sequence[str]) -> dict[str, Any]:
    """Configuration of the run that repeats the checkpoint's pretraining and then fine-tunes.

    It equals that of a run with ``stages=[pretrain, finetune]`` from the start, and so is the same run.

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
    chosen = {name: composed[name] for name in named}
    return with_values({**checkpoint.config, **chosen, "stages": composed["stages"]}, {})


def adopt(checkpoint: Checkpoint, config: Mapping[str, Any], path: Path, accept_mixed: bool = False) -> None:
    """Copy the pretrained checkpoint and the estimates logged in pretraining into the run folder of ``config``.

    Raises
    ------
    UserError
        If the folder is another run's or in use, or, unless ``accept_mixed``, other code did the pretraining.
    """
    folder = RunFolder(path)
    differs = changed(checkpoint.config, config)
    if differs and not accept_mixed:
        raise UserError(f"{checkpoint.path} was trained by other code: {'; '.join(differs)}; {MIXED}")
    with folder.locked():
        folder.claim(config, accept_mixed)
        _copy(checkpoint.path, folder.pretrained_path)
        earlier = RunFolder(checkpoint.path.parent.parent)
        if earlier.metrics_path.is_file() and not folder.metrics_path.exists():
            estimates = [line for line in _lines(earlier) if isinstance(parsed_line(line), list)]
            atomic_write(folder.metrics_path, "".join([header(run_id(config)), *estimates]))


def _lines(folder: RunFolder) -> list[str]:
    return folder.metrics_path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file atomically, unless the target exists."""
    if target.exists():
        return
    temporary = target.with_suffix(".tmp")
    with written(target, source.stat().st_size):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, temporary)
            os.replace(temporary, target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

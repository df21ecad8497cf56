"""Reading checkpoints, and restoring their weights into a model of the same configuration."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import time
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jepa_scale.runs import schema
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.identity import run_id

KEY = "jepa_scale"
"""Entry of a checkpoint for the configuration of its run."""
STAGE = "jepa_scale_stage"
"""Entry of a checkpoint for the stage of the run that it was saved in."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a model and the configuration that they belong to."""

    path: Path
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    """Weights by name, including the statistics of normalisation."""
    digest: str
    """SHA-256 digest of the file."""
    epoch: int
    step: int
    """Optimiser steps taken."""
    stage: str
    """Stage of the run: ``pretrain`` or ``finetune``."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file, or the last one of a run folder.

    Raises
    ------
    UserError
        If there is no checkpoint, it cannot be read, it holds more than tensors and plain values, or it was not written
        by a run of this project and version.
    """
    file = RunFolder(path).checkpoint_path if path.is_dir() else path
    if not file.is_file() and (path / "config.yaml").is_file():
        raise UserError(f"{path} has no checkpoint yet: let its run finish an epoch")
    if not file.is_file():
        raise UserError(f"{file}: expected a checkpoint, or the folder of a run that has one, found none")
    written = file.read_bytes()
    try:
        content = _content(written)
    except _Foreign as error:
        raise UserError(
            f"{file} cannot be read as a checkpoint of tensors and plain values ({error}): it is damaged, or none"
        ) from None
    if not isinstance(content, Mapping) or not {KEY, "state_dict", "epoch", "global_step"} <= set(content):
        raise UserError(f"{file}: expected a checkpoint that `jepa-scale train` or `study` wrote, got another file")
    config = content[KEY]
    if not isinstance(config, Mapping) or not isinstance(content["state_dict"], Mapping):
        raise UserError(f"{file}: expected a checkpoint that `jepa-scale train` or `study` wrote, got another file")
    wrong = schema.problems(config)
    if wrong:
        raise UserError(f"{file}: {schema.why_unusable(config, wrong[0])}")
    stage = content.get(STAGE, "pretrain")
    digest = hashlib.sha256(written).hexdigest()
    return Checkpoint(file, config, content["state_dict"], digest, content["epoch"], content["global_step"], stage)


class _Foreign(ValueError):
    """An intact file that is not a checkpoint of tensors and plain values."""


class _Damaged(_Foreign):
    """A damaged file: truncated, or with other bytes than were written."""


def _content(written: bytes) -> Any:
    """Unpack a checkpoint; nothing in it is executed.

    Raises
    ------
    _Damaged
        If its bytes are not those that were written.
    _Foreign
        If it holds more than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(written)) as archive:
            spoilt = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, NotImplementedError) as error:
        raise _Damaged(type(error).__name__) from None
    if spoilt is not None:
        raise _Damaged("its checksums do not match")
    try:
        return torch.load(io.BytesIO(written), map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        EOFError,
    ) as error:
        # What torch says of it advises to run the code of a file that nobody knows.
        raise _Foreign(type(error).__name__) from None


def steps_in(file: Path, config: Mapping[str, Any]) -> int | None:
    """Number of steps that a stage has taken, from its checkpoint; None without a checkpoint.

    A file that is proven damaged, cut off or with other bytes than were written, is renamed, so that the stage starts
    over. Any other trouble leaves it as it is.

    Raises
    ------
    UserError
        If the file belongs to another run, or holds more than tensors and plain values.
    OSError, MemoryError
        If the file could not be read this time.
    """
    if not file.exists():
        return None
    try:
        content = _content(file.read_bytes())
    except _Damaged as error:
        aside = file.with_name(f"{file.name}.damaged-{int(time.time())}")
        file.rename(aside)
        warnings.warn(f"{file} is damaged ({error}), now {aside.name}: the run starts over", stacklevel=2)
        return None
    except _Foreign as error:
        raise UserError(
            f"{file} holds more than tensors and plain values ({error}), which a run does not write: nothing of it was "
            "executed; delete it to start the run over"
        ) from None
    if not isinstance(content, Mapping) or not isinstance(content.get("global_step"), int):
        raise UserError(f"{file} is not a checkpoint of a run: delete it to start the run over")
    _check_owner(file, content.get(KEY), config)
    return int(content["global_step"])


def _check_owner(file: Path, stored: Any, config: Mapping[str, Any]) -> None:
    # A pretrained checkpoint that was fine-tuned later knows nothing of the second stage.
    later = {name: config[name] for name in ("stages", "finetune") if name in config}
    owner = run_id({**stored, **later}) if isinstance(stored, Mapping) else "unknown"
    if owner != run_id(config):
        raise UserError(
            f"{file} is a checkpoint of another run, expected one of run {run_id(config)}: put the right file back, or "
            "delete it to start the run over"
        )


def restore(checkpoint: Checkpoint, module: nn.Module) -> None:
    """Put the weights into a model that was built from the checkpoint's configuration.

    Raises
    ------
    UserError
        If names or shapes differ, as for a model of another world, or without statistics of normalisation.
    """
    state = module.state_dict()
    missing = sorted(set(state) - set(checkpoint.state))
    strange = sorted(set(checkpoint.state) - set(state))
    unscaled = [name for name in missing if name.endswith(("scale.mean", "scale.deviation"))]
    if unscaled:
        raise UserError(
            f"{checkpoint.path}: expected the statistics that normalise its inputs, found no {unscaled[0]}; "
            "without them it sees other inputs than it was trained on: train it again"
        )
    if missing or strange:
        what = f"has no {missing[0]}" if missing else f"has {strange[0]}, which the model has not"
        raise UserError(f"{checkpoint.path}: expected a checkpoint of this model and this world, but it {what}")
    for name, tensor in state.items():
        if tensor.shape != checkpoint.state[name].shape:
            raise UserError(
                f"{checkpoint.path}: expected {name} of shape {tuple(tensor.shape)}, as this world and model have, got "
                f"{tuple(checkpoint.state[name].shape)}"
            )
    module.load_state_dict(checkpoint.state)

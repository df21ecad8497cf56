"""Checkpoints with the whole state of a stage, from which training resumes bit by bit the same."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from jepa_scale import processes
from jepa_scale.files import NotWritten, written
from jepa_scale.training.world_model import WorldModel

PROGRESS = "jepa_scale_progress"
"""Entry of a checkpoint for the state needed to resume beyond what Lightning saves."""


class RunCheckpoint(L.Callback):
    """Save after the estimates of each epoch and, inside epochs, after every ``every`` steps.

    It must come after all callbacks that publish, so that no estimate is lost. Steps are saved when the next one is
    about to start: at the end of a step, copies of the encoder have not been updated yet.

    Besides what Lightning saves, it holds the states of all random generators of every rank, and the epoch's running
    loss. The next batch follows from the number of steps.
    """

    def __init__(self, path: Path, every: int | None = None) -> None:
        self.path, self.every = path, every
        self._loaded: dict[str, Any] = {}

    def save(self, trainer: L.Trainer) -> None:
        """Write the checkpoint to a temporary file, then replace the old one; all ranks must call it."""
        temporary = self.path.with_suffix(".tmp")
        try:
            with written(self.path):
                trainer.save_checkpoint(temporary)
                if processes.rank() == 0:
                    os.replace(temporary, self.path)
        except NotWritten:
            temporary.unlink(missing_ok=True)
            raise

    def idle_steps(self, trainer: L.Trainer, batch_idx: int) -> int:
        """Return how many steps may pass before the next checkpoint."""
        del batch_idx
        return sys.maxsize if self.every is None else self.every - trainer.global_step % self.every

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save before this step if the steps so far are a multiple of ``every``."""
        if self.every is not None and batch_idx and trainer.global_step % self.every == 0:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save at the end of an epoch."""
        if not trainer.should_stop:
            self.save(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the state that Lightning does not save, as plain values and tensors."""
        assert isinstance(pl_module, WorldModel)
        checkpoint[PROGRESS] = {
            "loss_sum": pl_module.loss_sum.detach().cpu().clone(),
            "generators": processes.every(generators),
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the state until training starts: building the model and its optimiser draws random numbers too."""
        self._loaded = dict(checkpoint.get(PROGRESS, {}))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the saved state."""
        self._restore(pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the saved state if nothing was left to train."""
        self._restore(pl_module)

    def _restore(self, module: L.LightningModule) -> None:
        if not self._loaded:
            return
        assert isinstance(module, WorldModel)
        module.loss_sum.copy_(self._loaded["loss_sum"])
        restore_generators(self._loaded["generators"][processes.rank()])
        self._loaded = {}


def generators() -> dict[str, Any]:
    """States of this process's global random generators, as tensors and plain values."""
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    inner = {**state["state"], "key": torch.from_numpy(state["state"]["key"].astype(np.int64))}
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
        "numpy": {**state, "state": inner},
        "python": random.getstate(),
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Restore the states of this process's global random generators."""
    torch.set_rng_state(states["torch"])
    for state in states["cuda"]:
        torch.cuda.set_rng_state(state)
    inner = states["numpy"]["state"]
    np.random.set_state(  # noqa: NPY002
        {**states["numpy"], "state": {**inner, "key": inner["key"].numpy().astype(np.uint32)}}
    )
    random.setstate(states["python"])

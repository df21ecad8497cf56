"""The process group of a run's ranks, and a trainer for them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from jepa_scale import processes, signals
from jepa_scale.runs.distributed.ranks import Place, check_place, place
from jepa_scale.runs.errors import Interrupted, UserError

_MEETING = timedelta(minutes=5)
"""Longest time to wait for all ranks to join."""
_TOGETHER = timedelta(days=7)
"""Longest time between two exchanges, as while one rank tries the last tasks; the launcher notices dead ranks."""


class _Ranks(ClusterEnvironment):
    """Lightning environment for ranks started elsewhere: it starts none, handles no signals and requeues nothing."""

    def __init__(self, here: Place) -> None:
        super().__init__()
        self.here = here

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return os.environ["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        return int(os.environ["MASTER_PORT"])

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.here.world_size

    def set_world_size(self, size: int) -> None:
        assert size == self.here.world_size

    def global_rank(self) -> int:
        return self.here.rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.here.rank

    def local_rank(self) -> int:
        return self.here.local_rank

    def node_rank(self) -> int:
        return 0


def trainer_of(settings: Mapping[str, Any], here: Place, **more: Any) -> L.Trainer:
    """Build the trainer of this rank.

    Raises
    ------
    UserError
        If Lightning refuses the settings, or there are not enough devices.
    """
    # Lightning speaks of devices and of adverts once per run, which is a hundred times per study.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    several: dict[str, Any] = {}
    if here.world_size > 1:
        # Buffers are the same on all ranks by construction. Parts without gradients take none at all (``freeze``), so
        # that none has to be looked for at each step.
        several["strategy"] = DDPStrategy(broadcast_buffers=False, timeout=_TOGETHER)
    try:
        trainer = L.Trainer(
            max_epochs=settings["epochs"],
            gradient_clip_val=settings["gradient_clip"],
            accelerator=settings["accelerator"],
            devices=here.world_size,
            precision=settings["precision"],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            # Not whatever launcher the surroundings suggest: a study's worker runs one process per run.
            plugins=[_Ranks(here) if here.world_size > 1 else LightningEnvironment()],
            **several,
            **more,
        )
    except (ImportError, ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from None
    if signals.installed():
        _keep_handlers(trainer)
    return trainer


def _keep_handlers(trainer: L.Trainer) -> None:
    """Let our handlers stay: Lightning's own for SIGTERM exchanges tensors inside the handler, which hangs ranks that
    are anywhere else, and a broadcast before every step asks what ours are asked already."""
    connector = trainer._signal_connector
    register = connector.register_signal_handlers

    def both() -> None:
        register()  # it remembers who else had handlers, and gives them back
        signals.install()

    connector.register_signal_handlers = both  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


@contextlib.contextmanager
def joined(settings: Mapping[str, Any]) -> Iterator[Place]:
    """Join the process group of a run's ranks, if the trainer's settings ask for several, and leave it at the end.

    Raises
    ------
    UserError
        If there are more or fewer processes than devices.
    RuntimeError
        If the other ranks do not join.
    """
    here = place()
    check_place(settings["devices"], here)
    if here.world_size == 1:
        yield here
        return
    _meet(here, _on_accelerator(settings["accelerator"]))
    try:
        yield here
    except Exception as error:
        # All ranks come to these two together. Of any other error they may not know, and wait for this rank inside a
        # step: parting in order would wait for them.
        if isinstance(error, UserError | Interrupted):
            _part()
        raise
    _part()


def _on_accelerator(accelerator: str) -> bool:
    return accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()


def _meet(here: Place, accelerated: bool) -> None:
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(_port()))
    if sys.platform == "linux":
        # The name of a machine need not lead to it.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    from torch.distributed.rendezvous import rendezvous

    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        store, _, _ = next(rendezvous("env://", here.rank, here.world_size, timeout=_MEETING))
        backend = "nccl" if accelerated else "gloo"
        if accelerated:
            torch.cuda.set_device(here.local_rank)
        dist.init_process_group(backend, store=store, rank=here.rank, world_size=here.world_size, timeout=_TOGETHER)
        # Plain values of the host do not wait for an accelerator.
        processes.use_group(dist.new_group(backend="gloo", timeout=_TOGETHER) if accelerated else None)
        processes.every(lambda: None)
    except (dist.DistError, RuntimeError, ValueError) as error:
        # No mistake of the user's: the next attempt may well meet.
        raise RuntimeError(
            f"expected {here.world_size} ranks to meet at {where} within {int(_MEETING.total_seconds() / 60)} minutes, "
            f"got {type(error).__name__} on rank {here.rank} ({str(error).splitlines()[0]}): set MASTER_PORT to a port "
            "that is free, and start all ranks together"
        ) from None


def _part() -> None:
    processes.use_group(None)
    dist.destroy_process_group()


def _port() -> int:
    """Port that the ranks of one SLURM step agree on, different from those of its other steps."""
    job, step = (int(os.environ.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return 10000 + (31 * job + 977 * step) % 20000

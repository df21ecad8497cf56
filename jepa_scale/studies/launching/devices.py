"""Which GPU of a machine each worker uses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jepa_scale.runs.limits import GPUS

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable by which CUDA is told which devices there are for a process, by number or UUID."""


def devices_for(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the GPUs of this machine, if every run trains on one of them; else none, and each run finds its own."""
    trainers = [config["trainer"] for config in configs]
    if not all(trainer["accelerator"] in GPUS and trainer["devices"] == 1 for trainer in trainers):
        return []
    told = os.environ.get(VISIBLE)
    if told is not None:
        return [device.strip() for device in told.split(",") if device.strip()]
    # Imported here: of studies on CPUs nobody must wait for torch. It counts devices without taking hold of any.
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def device_of(worker: int, devices: Sequence[str]) -> dict[str, str]:
    """Return the environment by which a worker, counted from 0, uses its device: each in turn."""
    return {VISIBLE: devices[worker % len(devices)]} if devices else {}

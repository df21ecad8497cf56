"""How many runs fit into the memory of a GPU, estimated before any of it is used."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from jepa_scale.models.size import ModelSize
from jepa_scale.runs.build import build_model, build_world
from jepa_scale.runs.limits import GPUS, data_bytes

_COPIES = 16
"""Copies of the weights: a run's own with two moments; stacked, those and gradients, what is kept while a step is
recorded, and what an update makes in between."""
_PASSES = 3
"""Of what a backward pass needs: that itself, gradients, and what kernels make in between."""


def on_gpu(config: Mapping[str, Any]) -> bool:
    """Whether a run trains on GPUs."""
    return config["trainer"]["accelerator"] in GPUS


def device_memory() -> int | None:
    """Bytes of memory of the GPU that this process uses; None if there is none."""
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None


def most_on_device(config: Mapping[str, Any], memory: int | None = None) -> int:
    """Number of runs like this one that fit into half of a GPU's memory, which is this process's unless given."""
    memory = device_memory() if memory is None else memory
    return sys.maxsize if memory is None else int(memory / 2 / member_bytes(config))


def free_memory() -> None:
    """Give back what ended cohorts held on a GPU; their parts refer to one another."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def member_bytes(config: Mapping[str, Any]) -> int:
    """Bytes that a run of a cohort takes on a GPU, an estimate from above.

    The data twice, as they lie there a moment while those of all runs are put end to end; copies of the weights; and
    what the backward pass of a batch needs, counted by PyTorch for one window and multiplied.
    """
    weights, saved = _counted(json.dumps(dict(config), sort_keys=True, default=str))
    return 2 * data_bytes(config) + _COPIES * weights + _PASSES * saved * config["data"]["batch_size"]


@lru_cache(maxsize=64)
def _counted(text: str) -> tuple[int, int]:
    """Bytes of the weights, and of what the backward pass of one window needs."""
    config = json.loads(text)
    world, size = build_world(config), ModelSize.of(config["model"]["k"], config["model"]["hidden"])
    with torch.random.fork_rng(devices=[]):
        parts = build_model(config, world, size)
    encoder, predictor = parts["encoder"].eval(), parts["predictor"].eval()
    space, horizon = world.action_space, config["data"]["horizon"]
    action = torch.zeros(1, dtype=torch.int64) if space.discrete else torch.zeros(1, space.size)
    seen = torch.zeros(1, *world.observation_shape)
    latents, encoding = _saved(encoder, seen)
    _, predicting = _saved(predictor, latents.detach().requires_grad_(), action)
    weights = sum(one.numel() * one.element_size() for part in (encoder, predictor) for one in part.parameters())
    return weights, (horizon + 1) * (encoding + 4 * seen.numel()) + horizon * predicting


def _saved(part: nn.Module, *inputs: Tensor) -> tuple[Tensor, int]:
    """What a part gives, and the bytes that it keeps for the backward pass but for its weights, each tensor once."""
    weights = {one.data_ptr() for one in part.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = part(*inputs)
    return result, sum(kept.values())

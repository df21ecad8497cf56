"""The second stage of a run: fine-tuning the model that the first stage pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from jepa_scale.callbacks.base import Context
from jepa_scale.models.layers import perceptron
from jepa_scale.models.size import ModelSize
from jepa_scale.runs.build import Parts, build_data
from jepa_scale.runs.checkpoint import STAGE
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.instantiate import instantiate
from jepa_scale.streams import stream_seed
from jepa_scale.training.finetune import FineTune
from jepa_scale.training.finetuning.base import FineTuning

FINETUNE = "finetune"
"""Name of the stage after ``pretrain``."""


def build_task(config: Mapping[str, Any], context: Context) -> FineTuning:
    """Build the fine-tuning method, with its own networks drawn from torch's generator.

    Raises
    ------
    UserError
        If the method refuses its settings, the world's actions or the planner.
    """
    size = ModelSize.of(config["model"]["k"], config["model"]["hidden"])
    task = instantiate(
        "finetune",
        config["finetune"],
        k=size.k,
        action_space=context.world.action_space,
        planner=context.planner,
        head=lambda inputs, outputs: perceptron(inputs, size.hidden, outputs, 2),
    )
    assert isinstance(task, FineTuning)
    return task


def second(config: Mapping[str, Any], task: FineTuning) -> dict[str, Any]:
    """Configuration of the second stage's data: the same transitions, in its own windows.

    Raises
    ------
    UserError
        If trajectories are shorter than a window.
    """
    horizon, length = task.horizon or config["data"]["horizon"], config["data"]["length"]
    if horizon > length:
        raise UserError(
            f"finetune: expected windows of at most data.length={length} transitions, got {horizon}: shorten them or "
            "lengthen data.length"
        )
    windows = {**config["data"], "horizon": horizon}
    return {
        **config,
        "data": windows,
        "trainer": {**config["trainer"], "steps_per_epoch": task.schedule.steps_per_epoch},
    }


def finetuning(config: Mapping[str, Any], pretrained: Parts) -> Parts:
    """Build data, model and callbacks of the second stage, reusing the pretrained model and its callbacks.

    Raises
    ------
    UserError
        If a part refuses its settings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config["seed"], "init/finetune"))
        task = build_task(config, pretrained.context)
    data = build_data(second(config, task), pretrained.context.world)
    module = FineTune(pretrained.module, task, config["seed"])
    module.saved = {**pretrained.module.saved, STAGE: FINETUNE}
    module.epochs_before = config["trainer"]["epochs"]
    module.steps_before = config["trainer"]["epochs"] * config["trainer"]["steps_per_epoch"]
    return Parts(pretrained.context, data, module, pretrained.callbacks)

"""Evaluation of world models that other programs trained."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from jepa_scale.callbacks.prediction import without_environment
from jepa_scale.callbacks.success import estimates_of, tried
from jepa_scale.callbacks.tasks import protocol_of
from jepa_scale.data.module import draw
from jepa_scale.data.pieces import pieces_of
from jepa_scale.data.recorded import Recorded
from jepa_scale.models.foreign.lewm import LeWM
from jepa_scale.models.foreign.read import ForeignCheckpoint, read_foreign
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import Estimate, EvaluationRecord, TaskOutcomes, Trajectories
from jepa_scale.runs.build import build_context
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.record import versions
from jepa_scale.streams import stream_seed
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.base import SampledWorld, World


def evaluate_foreign(path: Path, overrides: Sequence[str]) -> EvaluationRecord:
    """Evaluate a model of another program in a world that the overrides describe.

    The model was trained on standardised actions whose scale its file does not hold: it is that of the recording, in
    ``world=recorded``; elsewhere actions are taken as they are, with a warning.

    Raises
    ------
    UserError
        If the file cannot be read, or model and world do not fit.
    """
    if not any(text.startswith("world=") for text in overrides):
        raise UserError(
            f"{path}: expected world=recorded with world.path and world.environment, or world=gymnasium, beside a "
            "model of another program, which does not say where it was trained"
        )
    config = compose(["objective=latent", "logger=none", *overrides])
    torch.set_num_threads(config["trainer"]["threads"])
    context = build_context(config)
    try:
        checkpoint = read_foreign(path)
        model = _fitting(checkpoint, context.world)
    except ValueError as error:
        raise UserError(str(error)) from None
    heldout = _heldout(config, context.world)
    module = cast(WorldModel, model)
    estimates: list[Estimate] = []
    outcomes: dict[str, TaskOutcomes] = {}
    required: list[int] = []
    if not isinstance(context.planner, NoPlanner):
        results = tried(context, module)
        estimates = estimates_of(results, context.evaluation, 0, 0)
        outcomes, required = results.as_records(), results.trial.drawn.required_steps.tolist()
    estimates += without_environment(context, module, heldout, 0, 0)
    settings = {name: config[name] for name in ("world", "planner", "evaluation", "seed")}
    settings |= {"data": {name: config["data"][name] for name in ("heldout", "test", "length", "horizon")}}
    settings |= {"threads": config["trainer"]["threads"], "device": "cpu"}
    return EvaluationRecord(
        checkpoint.digest,
        f"lewm-{checkpoint.digest[:12]}",
        f"LeWM of another program, k = {model.width}, {model.history} latents of history",
        settings,
        protocol_of(context),
        tuple(estimates),
        required,
        outcomes,
        versions(),
    )


def _fitting(checkpoint: ForeignCheckpoint, world: World) -> LeWM:
    space, size = world.action_space, checkpoint.action_size
    if space.discrete or space.size != size:
        got = "discrete ones" if space.discrete else f"{space.size} coordinates"
        raise ValueError(
            f"{checkpoint.path}: expected actions of {size} coordinates, as the model was trained on, got {got}: set "
            "world.frameskip, of which LeWM takes 5 for PushT"
        )
    if len(world.observation_shape) != 3 or world.observation_shape[-1] != 3:
        raise ValueError(
            f"{checkpoint.path}: expected images (H, W, 3), as the model was trained on, got observations of shape "
            f"{world.observation_shape}: name the column by world.observation, or set world.rendered=true"
        )
    if not isinstance(world, Recorded):
        warnings.warn(
            f"{checkpoint.path} holds no scale of actions: they are taken as they are, in world=recorded standardised",
            stacklevel=2,
        )
        return checkpoint.model(torch.zeros(size), torch.ones(size))
    # Of single steps: the model was trained on columns standardised before they were put together.
    steps = torch.as_tensor(world.episodes.actions[world.episodes.usable]).reshape(-1, size // world.frameskip)
    scale = [part.repeat(world.frameskip) for part in (steps.mean(0), steps.std(0).clamp_min(1e-6))]
    return checkpoint.model(*scale)


def _heldout(config: Mapping[str, Any], world: World) -> Trajectories:
    sizes = config["data"]
    if isinstance(world, Recorded):
        # Nothing of it is trained on here.
        every = np.arange(len(world.episodes.lengths))
        return pieces_of(world.episodes, every, sizes["length"], config["seed"])
    assert isinstance(world, SampledWorld)
    try:
        return draw(world, sizes["heldout"], sizes["length"], stream_seed(config["seed"], "data/heldout"))
    except ValueError as error:
        raise UserError(f"data.heldout: {error}") from None

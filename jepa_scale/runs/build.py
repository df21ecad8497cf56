"""Building a run's objects from its resolved configuration."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import lightning as L
import torch

from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.logging import LoggerSettings
from jepa_scale.data.module import RunData, WorldData
from jepa_scale.data.normalise import Normaliser
from jepa_scale.data.recorded import Recorded, RecordedData
from jepa_scale.models.layers import Normalised, perceptron
from jepa_scale.models.size import ModelSize
from jepa_scale.models.standardise import Standardise, StandardisedActions, StandardisedObservations, standardised_space
from jepa_scale.objectives.base import Objective
from jepa_scale.planners.base import DiscretePlanner, Planner
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import Evaluation
from jepa_scale.runs.checkpoint import KEY
from jepa_scale.runs.errors import UserError, told
from jepa_scale.runs.identity import canonical
from jepa_scale.runs.instantiate import instantiate
from jepa_scale.runs.planning import check_planner
from jepa_scale.runs.targets import target_of
from jepa_scale.streams import stream_seed
from jepa_scale.training.optim import OptimizerSettings, TorchOptimizer
from jepa_scale.training.pretrain import Pretrain
from jepa_scale.training.width import scale_initial, width_factors
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.base import SampledWorld, World


@dataclass(frozen=True)
class Parts:
    """Everything that a trainer needs."""

    context: Context
    data: RunData
    module: WorldModel
    callbacks: list[L.Callback]


@dataclass(frozen=True)
class Checked:
    """Parts of a run that checking its configuration has built, and that the run goes on with."""

    context: Context
    data: RunData | None
    """Data of the first stage, where they are those of a recording; others are sampled when the run starts."""
    callbacks: list[L.Callback]
    loggers: list[LoggerSettings]


@lru_cache(maxsize=4)
def _world(text: str) -> World:
    import json

    return instantiate("world", json.loads(text))


def build_world(config: Mapping[str, Any]) -> World:
    """Build the world of a configuration; runs of one process share it, so that its truth is computed once.

    Raises
    ------
    UserError
        If the world refuses its settings.
    """
    return _world(canonical(config["world"]))


def build_context(config: Mapping[str, Any]) -> Context:
    """Build world, negatives, planner and width; refuse plans that cannot be enumerated.

    Raises
    ------
    UserError
        If the world or planner refuses its settings or the plans cannot be enumerated.
    """
    world, planner = build_world(config), instantiate("planner", config["planner"])
    assert isinstance(planner, DiscretePlanner | Planner | NoPlanner)
    try:
        evaluation = Evaluation(**config["evaluation"])
    except ValueError as error:
        raise UserError(f"evaluation: {error}") from None
    check_planner(world, planner, evaluation)
    negatives = config["objective"].get("negatives", "same_action")
    return Context(world, negatives, planner, config["model"]["k"], evaluation)


def build_data(config: Mapping[str, Any], world: World) -> RunData:
    """Build training, held-out and test data of a run.

    Raises
    ------
    UserError
        If there are fewer data than requested.
    """
    settings = {**config["data"], "steps_per_epoch": config["trainer"]["steps_per_epoch"], "seed": config["seed"]}
    try:
        if isinstance(world, Recorded):
            return RecordedData(world, **settings)
        assert isinstance(world, SampledWorld)
        return WorldData(world, **settings)
    except ValueError as error:
        raise UserError(f"data: {error}") from None


def build_model(
    config: Mapping[str, Any], world: World, size: ModelSize, normaliser: Normaliser | None = None
) -> torch.nn.ModuleDict:
    """Build encoder and predictor of a size, with weights drawn from torch's generator.

    Raises
    ------
    UserError
        If one of them refuses its settings.
    """
    sizes, space = {"k": size.k, "hidden": size.hidden}, world.action_space
    seen = None if normaliser is None else normaliser.observations
    acting = None if normaliser is None else normaliser.actions
    encoder = instantiate("encoder", config["encoder"], observation_shape=world.observation_shape, **sizes)
    if seen is not None:
        encoder = StandardisedObservations(encoder, Standardise(seen.mean, seen.deviation))
    _check_module("encoder", encoder)
    action_space = space if acting is None else standardised_space(space)
    predictor = instantiate("predictor", config["predictor"], action_space=action_space, **sizes)
    _check_module("predictor", predictor)
    if acting is not None:
        predictor = StandardisedActions(predictor, Standardise(acting.mean, acting.deviation))
    if config["model"]["normalise"]:
        encoder, predictor = Normalised(encoder, size.k), Normalised(predictor, size.k)
    return torch.nn.ModuleDict({"encoder": encoder, "predictor": predictor})


def _check_module(name: str, part: Any) -> None:
    if not isinstance(part, torch.nn.Module):
        raise UserError(f"{name}: expected a torch.nn.Module, got {type(part).__name__}")


def build_objective(
    config: Mapping[str, Any], world: World, size: ModelSize, action_counts: torch.Tensor, encoder: torch.nn.Module
) -> Objective:
    """Build the objective, with its own networks drawn from torch's generator.

    Raises
    ------
    UserError
        If it refuses its settings.
    """
    return instantiate(
        "objective",
        config["objective"],
        action_counts=action_counts,
        action_space=world.action_space,
        k=size.k,
        head=lambda inputs, outputs: perceptron(inputs, size.hidden, outputs, 2),
        observation_shape=world.observation_shape,
        noise_mask=world.noise_mask,
        encoder=encoder,
    )


def check_model(config: Mapping[str, Any], world: World) -> None:
    """Build model and objective without allocating weights, to check their settings.

    Raises
    ------
    UserError
        If one of them refuses its settings or the world's observations and actions.
    """
    size = ModelSize.of(config["model"]["k"], config["model"]["hidden"])
    try:
        with torch.device("meta"):
            parts = build_model(config, world, size)
            counts = torch.zeros(world.action_space.count or 1)
            build_objective(config, world, size, counts, parts["encoder"])
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"encoder, predictor or objective cannot be built: {told(error)}") from error


def build(config: Mapping[str, Any], checked: Checked | None = None) -> Parts:
    """Build data, model and callbacks, as far as they were not built when the configuration was ``checked``.

    Raises
    ------
    UserError
        If a part refuses its settings.
    """
    context = build_context(config) if checked is None else checked.context
    world = context.world
    data = build_data(config, world) if checked is None or checked.data is None else checked.data
    module = build_module(config, world, data.action_counts, data.normaliser)
    return Parts(context, data, module, build_callbacks(config, context) if checked is None else checked.callbacks)


def build_callbacks(config: Mapping[str, Any], context: Context) -> list[L.Callback]:
    """Build the callbacks of a run.

    Raises
    ------
    UserError
        If one refuses its settings, or is no callback of Lightning.
    """
    callbacks = []
    for name, leaf in config["callbacks"].items():
        built = instantiate(f"callbacks.{name}", leaf, context=context)
        if not isinstance(built, L.Callback):
            raise UserError(f"callbacks.{name}: expected a lightning.Callback, got {type(built).__name__}")
        callbacks.append(built)
    return callbacks


def build_optimizer(leaf: Mapping[str, Any]) -> OptimizerSettings:
    """Build the settings of an optimiser: a leaf of this package's form, or any class of torch's.

    Raises
    ------
    UserError
        If it refuses its settings, or is no optimiser.
    """
    target = target_of(leaf["_target_"], "optimizer")
    takes = list(inspect.signature(target).parameters)
    if takes[:1] != ["params"]:
        built = instantiate("optimizer", leaf)
        if not callable(getattr(built, "build", None)):
            raise UserError(
                "optimizer: expected a class of torch.optim, or one with build(parameters, total_steps, rates), got "
                f"{type(built).__name__}"
            )
        return built
    plain = {name: value for name, value in leaf.items() if name != "scheduler"}
    make, schedule = instantiate("optimizer", {**plain, "_partial_": True}), None
    if leaf.get("scheduler") is not None:
        schedule = instantiate("optimizer.scheduler", {**leaf["scheduler"], "_partial_": True})
    settings = TorchOptimizer(make.func, make.keywords, schedule and schedule.func, schedule and schedule.keywords)
    try:
        # On nothing, so that what it refuses is told before a run.
        settings.build([("weight", torch.nn.Parameter(torch.zeros(1)))], 10)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer: {error}") from None
    return settings


def build_module(
    config: Mapping[str, Any], world: World, action_counts: torch.Tensor, normaliser: Normaliser | None = None
) -> Pretrain:
    """Build the training module, given the statistics of the training data that it needs.

    Raises
    ------
    UserError
        If model, objective or optimizer refuses its settings.
    """
    size = ModelSize.of(config["model"]["k"], config["model"]["hidden"])
    optimizer = build_optimizer(config["optimizer"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config["seed"], "init"))
        parts = build_model(config, world, size, normaliser)
    rates = None
    if optimizer.base_k is not None:
        base = ModelSize.of(optimizer.base_k, config["model"]["hidden"])
        by_name = width_factors(lambda probe: build_model(config, world, probe, normaliser), size, base)
        scale_initial(parts, by_name)
        rates = {name: group.rate for name, group in by_name.items()}
    with torch.random.fork_rng(devices=[]):
        # A stream of its own: an objective with networks is not to shift the draws of one without.
        torch.manual_seed(stream_seed(config["seed"], "init/objective"))
        objective = build_objective(config, world, size, action_counts, parts["encoder"])
    step_axis = -1 if world.action_space.discrete else -2
    module = Pretrain(
        parts["encoder"], parts["predictor"], objective, optimizer, rates, step_axis, config["data"]["horizon"]
    )
    module.saved = {KEY: copy.deepcopy(dict(config))}
    return module

"""Shared parts of the epoch callbacks: their context, the tabulated model, and publishing of estimates."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import lightning as L
import numpy as np
import torch
from numpy.typing import DTypeLike

from jepa_scale.callbacks.logging import log_values, publish
from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.planners.base import DiscretePlanner, Planner
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import Estimate, Evaluation, Negatives
from jepa_scale.theory.bounds.base import WorldConstants
from jepa_scale.theory.model import TabularModel
from jepa_scale.theory.planning import PlanningProblem, do_nothing_regret, plan_values, random_regret
from jepa_scale.theory.spectrum import singular_values, stacked_singular_values
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.base import ExactWorld, World


@dataclass(frozen=True)
class Context:
    """World, negatives, planner and width that a run's estimates refer to."""

    world: World
    negatives: Negatives
    planner: DiscretePlanner | Planner | NoPlanner
    k: int
    evaluation: Evaluation = field(default_factory=Evaluation)

    @property
    def exact(self) -> Exact | None:
        """The world with its exact quantities, computed once per process; None if the world is not finite."""
        if isinstance(self.world, ExactWorld) and isinstance(self.planner, DiscretePlanner):
            return Exact(self.world, self.planner, _truth(self.world, self.negatives, self.planner.problem))
        return None


@dataclass(frozen=True)
class Exact:
    """A finite world, a planner of its actions, and the exact quantities of both."""

    world: ExactWorld
    planner: DiscretePlanner
    truth: Truth


@dataclass(frozen=True)
class Truth:
    """Exact quantities that do not depend on the model."""

    singular_values: np.ndarray
    """(A, N) singular values of each action's operator."""
    stacked: np.ndarray
    """(N,) singular values of the stacked M̄: what one shared encoder can reach."""
    values: np.ndarray
    """(plans, N, N) value V of every plan from every start to every goal."""
    constants: WorldConstants
    random_regret: float
    """Regret of uniformly random plans."""
    do_nothing_regret: float | None
    """Regret of repeating the null action; None if the world has none."""


@lru_cache(maxsize=4)
def _truth(world: ExactWorld, negatives: Negatives, problem: PlanningProblem) -> Truth:
    finite, values = world.finite, plan_values(world.finite, problem.horizon)
    constants = WorldConstants.of(finite, problem, negatives)
    return Truth(
        singular_values(finite, negatives),
        stacked_singular_values(finite, negatives),
        values,
        constants,
        random_regret(values, finite.context_law, constants.goals),
        do_nothing_regret(finite, values, problem.horizon, constants.goals),
    )


@dataclass(frozen=True)
class Outputs:
    """A model's outputs on every observation of a finite world, on its device."""

    latents: torch.Tensor
    """(N, k)"""
    predicted: torch.Tensor
    """(A, N, k) of every action and observation."""


_LATEST: WeakKeyDictionary[WorldModel, tuple[tuple[bytes, Any], ExactWorld, Outputs]] = WeakKeyDictionary()
"""By model: what its weights were, and its outputs, which several callbacks of an epoch look at."""
_HASHED = 2**20
"""Largest number of weights that are compared; a larger model is evaluated as often as it is asked for."""


@torch.inference_mode()
def outputs_of(module: WorldModel, world: ExactWorld, dtype: DTypeLike = np.float32) -> Outputs:
    """Evaluate the model on every observation of a finite world, again only if its weights are others.

    Observations are given to it as ``dtype``.
    """
    weights = _mark(module)
    mark = None if weights is None else (weights, np.dtype(dtype))
    known = _LATEST.get(module)
    if mark is not None and known is not None and known[0] == mark and known[1] is world:
        return known[2]
    observations = torch.as_tensor(world.observations.astype(dtype), device=module.device)
    latents = module.encode(observations)
    outputs = Outputs(latents, predict_all(module, latents, world.actions))
    if mark is not None:
        _LATEST[module] = (mark, world, outputs)
    return outputs


def _mark(module: WorldModel) -> bytes | None:
    """Hash of all weights and buffers of a small model on a CPU; None for another, or one in training mode.

    Versions of tensors would not do: what changes ``weight.data`` leaves them as they are. Whose model only answers as
    ours do is asked each time: what its answers depend on is not known.
    """
    if not isinstance(module, WorldModel):
        return None
    parts = [*module.parameters(), *module.buffers()]
    if module.training or module.device.type != "cpu" or sum(part.numel() for part in parts) > _HASHED:
        return None
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


@torch.inference_mode()
def tabulate(module: WorldModel, world: ExactWorld) -> TabularModel:
    """Evaluate the model on every observation of a finite world."""
    outputs = outputs_of(module, world)
    return TabularModel(outputs.latents.double().cpu().numpy(), outputs.predicted.double().cpu().numpy())


def predict_all(module: WorldModel, latents: torch.Tensor, actions: int) -> torch.Tensor:
    """g(z, a) of every latent and action: (N, k) → (A, N, k)."""
    choice = torch.arange(actions, device=latents.device)[:, None].expand(actions, len(latents))
    return module.predict(latents[None].expand(actions, *latents.shape), choice)


class EpochCallback(L.Callback):
    """Compute estimates at the end of every training epoch and publish them."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.seconds = 0.0
        """Time spent by this callback, publishing included."""
        self.heard = True
        """Whether estimates go to ``trainer.callback_metrics`` too, which takes Lightning half a millisecond each."""

    def estimates(self, trainer: L.Trainer, module: WorldModel) -> list[Estimate]:
        """Return this epoch's estimates."""
        raise NotImplementedError(f"{type(self).__name__} must say what it estimates")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Estimate and publish, unless the run has just diverged."""
        if trainer.should_stop or not isinstance(pl_module, WorldModel):
            return
        started = time.perf_counter()
        # Frozen weights, evaluation mode: estimates describe the model as it would be used.
        pl_module.eval()
        try:
            rows = self.estimates(trainer, pl_module)
            publish(trainer, rows)
            if self.heard:
                # For callbacks of Lightning, such as EarlyStopping; the loggers have them, with their uncertainty.
                log_values(pl_module, rows, errors=False)
        except NotFiniteError as error:
            # The step after the last loss that was looked at can still wreck the model.
            pl_module.diverged = f"epoch {trainer.current_epoch + 1}: {error}"
            trainer.should_stop = True
        pl_module.train()
        self.seconds += time.perf_counter() - started


def exact(name: str, value: float, trainer: L.Trainer) -> Estimate:
    """Wrap an exact expectation."""
    return Estimate(name, float(value), 0.0, None, trainer.current_epoch, trainer.global_step)

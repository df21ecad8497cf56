"""Callbacks for anybody's world model in a world of this package: bounds on its regret, and success of planning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import lightning as L
from torch import Tensor

from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.bounds import BoundsCallback
from jepa_scale.callbacks.logging import log_values
from jepa_scale.callbacks.planning import exact_estimates
from jepa_scale.callbacks.success import success_estimates
from jepa_scale.models.rollout import roll_out
from jepa_scale.planners.base import DiscretePlanner, Planner, Search
from jepa_scale.planners.exhaustive import Exhaustive
from jepa_scale.records import Estimate, Evaluation, Negatives
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.arena import Arena
from jepa_scale.worlds.base import ExactWorld, World

Encode = Callable[[Any, Tensor], Tensor]
"""``encode(module, observations)``: (B, *shape) → (B, k)."""
Predict = Callable[[Any, Tensor, Tensor], Tensor]
"""``predict(module, latents, actions)``: (B, k), integers (B,) or (B, size) → (B, k)."""


class Seen:
    """A module as estimates and planners see a world model: f, a Markov g, distances in latent space."""

    policy = None
    context = 1
    objective = SimpleNamespace(encodes_again=False)

    def __init__(self, module: Any, encode: Encode, predict: Predict, discrete: bool) -> None:
        self._module, self._encode, self._predict, self._discrete = module, encode, predict, discrete
        self.device = module.device

    def encode(self, observations: Tensor) -> Tensor:
        """f(x): (B, *shape) → (B, k)"""
        return _checked("encode", self._encode(self._module, observations), len(observations))

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """g(z, a): (…, k), (…,) or (…, size) → (…, k)"""
        rows, shape = latents.reshape(-1, latents.shape[-1]), latents.shape[:-1]
        acting = actions.reshape(-1) if self._discrete else actions.reshape(-1, actions.shape[-1])
        predicted = _checked("predict", self._predict(self._module, rows, acting), len(rows))
        return predicted.reshape(*shape, predicted.shape[-1])

    def roll_out(self, latents: Tensor, actions: Tensor) -> Tensor:
        """ẑ_1 … ẑ_T: (…, k), (…, T) or (…, T, size) → (…, T, k)"""
        return roll_out(self.predict, latents, actions, -1 if self._discrete else -2)

    def embed_action(self, actions: Tensor) -> Tensor:
        """The actions as they are."""
        return actions

    def readout(self, latents: Tensor) -> Tensor:
        """Distances are taken between latents."""
        return latents

    def goal(self, observations: Tensor, latents: Tensor) -> Tensor:
        """A goal's coordinates are its latent."""
        return latents


def _checked(name: str, found: Any, rows: int) -> Tensor:
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != rows:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"expected {name} to return ({rows}, k), got {shape}")
    return found


class _InWorld(L.Callback, ABC):
    """Estimates of a module in a world, logged at the end of training epochs by ``pl_module.log_dict``."""

    def __init__(self, context: Context, encode: Encode, predict: Predict, every_n_epochs: int) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"expected every_n_epochs ≥ 1, got {every_n_epochs}")
        self.settings, self.encode, self.predict, self.every_n_epochs = context, encode, predict, every_n_epochs

    @abstractmethod
    def _estimates(self, trainer: L.Trainer, seen: WorldModel) -> list[Estimate]: ...

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Estimate and log."""
        last = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        if (trainer.current_epoch + 1) % self.every_n_epochs and not last:
            return
        was_training = pl_module.training
        pl_module.eval()
        seen = Seen(pl_module, self.encode, self.predict, self.settings.world.action_space.discrete)
        rows = self._estimates(trainer, cast(WorldModel, seen))
        pl_module.train(was_training)
        log_values(pl_module, rows)


class RegretBounds(_InWorld):
    """Log bounds on the planning regret of a model in a finite world, where all their constants are known.

    ``bound/best`` is the smallest that applies. ``PlanningSuccess`` in the same world logs the regret.

    Parameters
    ----------
    world
        A finite world: ``jepa_scale.world("lowrank")`` or an ``ExactWorld`` of your own.
    encode
        ``encode(module, observations)``: (B, D) → (B, k).
    predict
        ``predict(module, latents, actions)``: (B, k), integers (B,) → (B, k).
    planner
        What plans are judged by; by default the density of the goal, one step ahead.
    negatives
        Law of the negatives of the spectral loss that the model was trained with.
    every_n_epochs
        How often to log; always after the last epoch.

    Raises
    ------
    ValueError
        If the world is not finite.

    Examples
    --------
    >>> import jepa_scale
    >>> from jepa_scale.callbacks import RegretBounds
    >>> callback = RegretBounds(
    ...     world=jepa_scale.world("lowrank"),
    ...     encode=lambda m, x: m.encoder(x),
    ...     predict=lambda m, z, a: m.predictor(z, a),
    ... )
    """

    def __init__(
        self,
        world: World,
        encode: Encode,
        predict: Predict,
        *,
        planner: DiscretePlanner | None = None,
        negatives: Negatives = "same_action",
        every_n_epochs: int = 1,
    ) -> None:
        if not isinstance(world, ExactWorld):
            raise ValueError(f"expected a finite world, whose constants are computable, got {type(world).__name__}")
        # The width is read nowhere: bounds are of the model's values.
        super().__init__(Context(world, negatives, planner or Exhaustive(), 1), encode, predict, every_n_epochs)

    def _estimates(self, trainer: L.Trainer, seen: WorldModel) -> list[Estimate]:
        return BoundsCallback(self.settings).estimates(trainer, seen)


class PlanningSuccess(_InWorld):
    """Log how well planning with a model does in a world: the exact regret in a finite one, success in a simulator.

    In a finite world ``regret/density`` and ``regret/distance`` are exact over all starts and goals, beside
    ``regret/random``. In a simulator ``success/model`` is the share of tasks solved, beside the same planner with the
    true dynamics (``success/oracle``), random actions and doing nothing; it takes seconds to minutes.

    Parameters
    ----------
    world, encode, predict
        As of ``RegretBounds``; the world may be a ``Simulator``, whose actions are (B, size).
    planner
        Exhaustive by default in a finite world; in a simulator such as ``planners.cem.CEM(horizon=5)``.
    evaluation
        Tasks of a simulator, see ``records.Evaluation``.
    every_n_epochs
        How often to log; always after the last epoch.

    Raises
    ------
    ValueError
        If the world cannot be planned in, or the planner does not fit it.

    Examples
    --------
    >>> import jepa_scale
    >>> from jepa_scale.callbacks import PlanningSuccess
    >>> from jepa_scale.planners.cem import CEM
    >>> callback = PlanningSuccess(
    ...     world=jepa_scale.world("point_mass"),
    ...     encode=lambda m, x: m.encoder(x),
    ...     predict=lambda m, z, a: m.predictor(z, a),
    ...     planner=CEM(horizon=5),
    ...     every_n_epochs=10,
    ... )
    """

    def __init__(
        self,
        world: World,
        encode: Encode,
        predict: Predict,
        *,
        planner: DiscretePlanner | Planner | None = None,
        evaluation: Evaluation | None = None,
        negatives: Negatives = "same_action",
        every_n_epochs: int = 1,
    ) -> None:
        if isinstance(world, ExactWorld):
            planner = planner or Exhaustive()
            if not isinstance(planner, DiscretePlanner):
                raise ValueError(f"expected a planner of finitely many actions, got {type(planner).__name__}")
        elif not isinstance(world.task_world, Arena):
            raise ValueError(f"expected a finite world, a simulator or an environment, got {type(world).__name__}")
        elif not isinstance(planner, Search) or isinstance(planner, DiscretePlanner) != world.action_space.discrete:
            which = "categorical_cem.CategoricalCEM" if world.action_space.discrete else "cem.CEM"
            raise ValueError(f"expected planner=, one of the world's actions, such as jepa_scale.planners.{which}()")
        context = Context(world, negatives, planner, 1, evaluation or Evaluation())
        super().__init__(context, encode, predict, every_n_epochs)

    def _estimates(self, trainer: L.Trainer, seen: WorldModel) -> list[Estimate]:
        known, moment = self.settings.exact, (trainer.current_epoch, trainer.global_step)
        if known is None:
            return success_estimates(self.settings, seen, *moment)
        return exact_estimates(known, seen, self.settings.evaluation, *moment)

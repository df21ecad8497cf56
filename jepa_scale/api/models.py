"""Trained models, ready to use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jepa_scale.planners.base import DiscretePlanner, Search
from jepa_scale.planners.exhaustive import roll_out_all
from jepa_scale.planners.planning import plan_with
from jepa_scale.planners.scores import best_plans
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.base import ExactWorld, World


@dataclass(frozen=True)
class Loaded:
    """A trained world model with its world and planner, in evaluation mode.

    Attributes
    ----------
    module
        The ``LightningModule``: ``encoder``, ``predictor``, ``objective``.
    world, planner
        The world it was trained in, and what plans with it.
    config
        The configuration of its run, a plain mapping.
    """

    module: WorldModel
    world: World
    planner: Any
    config: dict[str, Any]
    path: Path

    def __repr__(self) -> str:
        parts = f"{type(self.module.encoder).__name__}, {type(self.module.predictor).__name__}"
        return f"Loaded({self.path}, {parts}, k={self.config['model']['k']}, world={type(self.world).__name__})"

    @torch.no_grad()
    def encode(self, observations: Any) -> Tensor:
        """f(x): (B, *shape) → (B, k)"""
        return self.module.encode(self._tensor(observations))

    @torch.no_grad()
    def predict(self, latents: Any, actions: Any) -> Tensor:
        """g(z, a), one step: (B, k), integers (B,) or (B, size) → (B, k)"""
        acting = torch.as_tensor(actions, device=self.module.device)
        if self.world.action_space.count is None:
            acting = acting.float()
        return self.module.predict(self._tensor(latents), acting)

    @torch.no_grad()
    def plan(self, observations: Any, goals: Any, planner: Any = None, seed: int = 0) -> Tensor:
        """Plan from each observation to its goal: (B, *shape) twice → (B, H) actions, or (B, H, size).

        ``planner`` stands in for the run's own. In a finite world every plan is compared by the planner's score, and
        a goal is the observation nearest to the one given.

        Raises
        ------
        ValueError
            If the numbers of observations and goals differ, or the planner plans nothing.
        """
        starts, ends = self._tensor(observations), self._tensor(goals)
        if len(starts) != len(ends):
            raise ValueError(f"expected one goal for each observation, got {len(starts)} and {len(ends)}")
        planner = self.planner if planner is None else planner
        if isinstance(planner, Search):
            return plan_with(self.module, planner, starts, ends, self.world.action_space, seed).plans
        if isinstance(planner, DiscretePlanner) and isinstance(self.world, ExactWorld):
            return self._best(planner, starts, ends)
        raise ValueError(f"expected a planner, got {type(planner).__name__}: give plan(…, planner=)")

    def _best(self, planner: DiscretePlanner, starts: Tensor, goals: Tensor) -> Tensor:
        world, horizon = self.world, planner.horizon
        assert isinstance(world, ExactWorld)
        latents = self.module.encode(starts)
        reached = self.module.readout(roll_out_all(self.module.predict, latents, world.actions, horizon)).double()
        wanted = self.module.goal(goals, self.module.encode(goals)).double()
        known = torch.as_tensor(world.observations, dtype=torch.float32, device=goals.device)
        nearest = torch.cdist(goals.flatten(1), known.flatten(1)).argmin(-1).cpu()
        from jepa_scale.theory.bounds.base import WorldConstants

        negatives = self.config["objective"].get("negatives", "same_action")
        law = torch.as_tensor(WorldConstants.of(world.finite, planner.problem, negatives).negatives_law)
        # The last action of a plan varies fastest, and only its law enters the density score.
        of_goals = law[:, nearest].repeat(len(reached) // world.actions, 1)
        score = planner.score if planner.score != "operator" else "density"
        best = best_plans(score, reached.cpu(), wanted.cpu(), of_goals).diagonal()
        digits = [best // world.actions ** (horizon - 1 - step) % world.actions for step in range(horizon)]
        return torch.stack(digits, dim=-1)

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.module.device)


def load(path: str | Path) -> Loaded:
    """Load a trained model from a run's folder or a checkpoint, with its world and planner, in evaluation mode.

    Only tensors and plain values of the file are read. Classes of your own must be importable and allowed, as for
    training: ``--allow``, or the environment variable ``JEPA_SCALE_ALLOW``.

    Parameters
    ----------
    path
        Folder of a run, such as ``runs/3f2a…`` or ``studies/NAME/runs/ID``, or a ``.ckpt`` file of one.

    Raises
    ------
    ValueError
        If there is no checkpoint, it cannot be read, or its classes cannot be found.

    Examples
    --------
    >>> model = jepa_scale.load("runs/3f2a81")  # doctest: +SKIP
    >>> z = model.encode(observations)  # doctest: +SKIP
    >>> actions = model.plan(observations, goals)  # doctest: +SKIP
    """
    from jepa_scale.runs.checkpoint import read_checkpoint
    from jepa_scale.runs.evaluate import load_model

    checkpoint = read_checkpoint(Path(path))
    context, module = load_model(checkpoint)
    module.eval()
    return Loaded(module, context.world, context.planner, dict(checkpoint.config), Path(path))

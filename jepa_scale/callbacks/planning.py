"""Exact planning regret of the model, every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import lightning as L
import numpy as np
import torch

from jepa_scale.callbacks.base import Context, EpochCallback, exact
from jepa_scale.planners.scores import best_plans
from jepa_scale.records import Estimate, Regret
from jepa_scale.theory.planning import do_nothing_regret, expected_regret, random_regret
from jepa_scale.theory.scores import SCORES
from jepa_scale.training.pretrain import Pretrain


@torch.inference_mode()
def regrets_of(context: Context, module: Pretrain) -> dict[str, Regret]:
    """Expected regret of exhaustive latent planning for every score, exact over starts and goals."""
    truth, world = context.truth, context.world.finite
    observations = torch.as_tensor(context.world.observations, dtype=torch.float32, device=module.device)
    latents = module.encode(observations)
    # float64 from here on: ties between plans must not be decided by rounding.
    reached = context.planner.roll_out(module.predict, latents, world.actions).double().cpu()
    goals = latents.double().cpu()
    # The last action of a plan varies fastest, and only its law enters the density score.
    law = torch.as_tensor(np.tile(truth.constants.negatives_law, (len(reached) // world.actions, 1)))
    regrets = {}
    for score in SCORES:
        chosen = best_plans(score, reached, goals, law).numpy()
        value = expected_regret(truth.values, chosen, world.context_law, truth.constants.goals)
        regrets[score] = Regret(value, 0.0, context.planner.goal_law, score, None)
    return regrets


@lru_cache(maxsize=4)
def floors_of(context: Context) -> Mapping[str, float | None]:
    """Regret of planners that know nothing: uniformly random plans, and doing nothing. No model changes them."""
    truth, world = context.truth, context.world.finite
    goals = truth.constants.goals
    floors = {
        "random": random_regret(truth.values, world.context_law, goals),
        "do_nothing": do_nothing_regret(world, truth.values, context.planner.horizon, goals),
    }
    return MappingProxyType(floors)


class PlanningCallback(EpochCallback):
    """Log the regret of every score beside the floors."""

    def estimates(self, trainer: L.Trainer, module: Pretrain) -> list[Estimate]:
        """One estimate per score and per floor that the world has."""
        rows = [
            exact(f"regret/{name}", regret.value, trainer) for name, regret in regrets_of(self.context, module).items()
        ]
        floors = floors_of(self.context).items()
        return rows + [exact(f"regret/{name}", value, trainer) for name, value in floors if value is not None]

"""Planning regret of the model."""

from __future__ import annotations

import lightning as L
import numpy as np
import torch

from jepa_scale.callbacks.base import EpochCallback, Exact, exact
from jepa_scale.callbacks.success import success_estimates
from jepa_scale.planners.none import NoPlanner
from jepa_scale.planners.scores import best_plans
from jepa_scale.records import Estimate, Regret
from jepa_scale.theory.planning import expected_regret
from jepa_scale.theory.scores import SCORES
from jepa_scale.training.world_model import WorldModel


@torch.inference_mode()
def regrets_of(known: Exact, module: WorldModel) -> dict[str, Regret]:
    """Expected regret of exhaustive planning for every score, exact over starts and goals.

    Plans are ranked where the objective measures distances: in the latent, or between observations if it decodes.
    """
    truth, world = known.truth, known.world.finite
    observations = torch.as_tensor(known.world.observations, dtype=torch.float32, device=module.device)
    latents = module.encode(observations)
    # float64 from here on: ties between plans must not be decided by rounding.
    reached = module.readout(every_end(known, module, latents)).double().cpu()
    goals = module.goal(observations, latents).double().cpu()
    # The last action of a plan varies fastest, and only its law enters the density score.
    law = torch.as_tensor(np.tile(truth.constants.negatives_law, (len(reached) // known.world.actions, 1)))
    regrets = {}
    for score in SCORES:
        chosen = best_plans(score, reached, goals, law).numpy()
        value = expected_regret(truth.values, chosen, world.context_law, truth.constants.goals)
        regrets[score] = Regret(value, 0.0, known.planner.goal_law, score, None)
    return regrets


def every_end(known: Exact, module: WorldModel, latents: torch.Tensor) -> torch.Tensor:
    """ẑ_T of every plan from every start (N, k): → (|A|^T, N, k), first action slowest."""
    planner, actions = known.planner, known.world.actions
    if module.context == 1:
        return planner.roll_out(module.predict, latents, actions)
    # A predictor with a past does not go on from ẑ_t alone: plans that begin alike are rolled out one by one.
    plans = torch.cartesian_prod(*[torch.arange(actions, device=latents.device)] * planner.horizon)
    plans = plans.view(-1, 1, planner.horizon).expand(-1, len(latents), -1)
    return module.roll_out(latents.expand(len(plans), *latents.shape), plans)[..., -1, :]


def floors_of(known: Exact) -> dict[str, float]:
    """Regret of planners that know nothing: uniformly random plans, and doing nothing where that is an action."""
    floors = {"random": known.truth.random_regret, "do_nothing": known.truth.do_nothing_regret}
    return {name: value for name, value in floors.items() if value is not None}


class PlanningCallback(EpochCallback):
    """Log the regret of planning with the model, beside the floors.

    Exact, after every epoch, where the world is finite and the planner enumerates; from sampled tasks, after the last
    epoch only, where a simulator is controlled: that takes as long as training. None where nothing is planned.
    """

    def estimates(self, trainer: L.Trainer, module: WorldModel) -> list[Estimate]:
        """One estimate per score or policy, and per floor."""
        if isinstance(self.context.planner, NoPlanner):
            return []
        known, moment = self.context.exact, (trainer.current_epoch, trainer.global_step)
        if known is None:
            last = trainer.current_epoch + 1 == trainer.max_epochs
            return success_estimates(self.context, module, *moment) if last else []
        rows = [exact(f"regret/{name}", regret.value, trainer) for name, regret in regrets_of(known, module).items()]
        return rows + [exact(f"regret/{name}", value, trainer) for name, value in floors_of(known).items()]

"""Planning regret of the model."""

from __future__ import annotations

import lightning as L
import numpy as np
import torch

from jepa_scale.callbacks.base import EpochCallback, Exact, outputs_of, tabulate
from jepa_scale.callbacks.search import Ends, search_estimates
from jepa_scale.callbacks.success import success_estimates
from jepa_scale.planners.base import Search
from jepa_scale.planners.exhaustive import roll_out_all
from jepa_scale.planners.none import NoPlanner
from jepa_scale.planners.scores import best_plans
from jepa_scale.planners.spectral import Spectral
from jepa_scale.records import Estimate, Evaluation, Regret
from jepa_scale.theory.planning import expected_regret
from jepa_scale.theory.rollout import OperatorRollOut
from jepa_scale.theory.scores import SCORES
from jepa_scale.training.world_model import WorldModel


@torch.inference_mode()
def ends_of(known: Exact, module: WorldModel) -> Ends:
    """Predicted end of every plan, in the space in which the objective measures distances."""
    observations = torch.as_tensor(known.world.observations, dtype=torch.float32, device=module.device)
    outputs = outputs_of(module, known.world)
    latents = outputs.latents
    # float64 from here on: ties between plans must not be decided by rounding.
    single = known.planner.horizon == 1 and module.context == 1
    ends = outputs.predicted if single else every_end(known, module, latents)
    reached = module.readout(ends).double().cpu()
    goals = module.goal(observations, latents).double().cpu()
    # The last action of a plan varies fastest, and only its law enters the density score.
    law = np.tile(known.truth.constants.negatives_law, (len(reached) // known.world.actions, 1))
    return Ends(reached, goals, torch.as_tensor(law))


def regrets_of(known: Exact, module: WorldModel) -> dict[str, Regret]:
    """Compute the expected regret for every score, exact over starts and goals.

    Plans are ranked by the end of the rolled-out latent, in the latent space, or between observations if the objective
    decodes; with the spectral planner also by the product of the model's one-step operators.
    """
    truth, ends = known.truth, ends_of(known, module)
    product = ends.reached @ ends.goals.T
    chosen = {score: best_plans(score, ends.reached, ends.goals, ends.law, product).numpy() for score in SCORES}
    if isinstance(known.planner, Spectral):
        everything = np.arange(known.world.finite.states)
        rolled = OperatorRollOut.of(known.world.finite, tabulate(module, known.world), truth.constants.negatives)
        chosen[known.planner.score] = known.planner.choose(rolled, everything, everything).index
    regrets = {}
    for score, plans in chosen.items():
        value = expected_regret(truth.values, plans, known.world.finite.context_law, truth.constants.goals)
        regrets[score] = Regret(value, 0.0, known.planner.goal_law, score, None)
    return regrets


def every_end(known: Exact, module: WorldModel, latents: torch.Tensor) -> torch.Tensor:
    """ẑ_T of every plan from every start (N, k): → (|A|^T, N, k), first action slowest."""
    horizon, actions = known.planner.horizon, known.world.actions
    if module.context == 1:
        return roll_out_all(module.predict, latents, actions, horizon)
    # A predictor with a past does not go on from ẑ_t alone: plans that begin alike are rolled out one by one.
    plans = torch.cartesian_prod(*[torch.arange(actions, device=latents.device)] * horizon)
    plans = plans.view(-1, 1, horizon).expand(-1, len(latents), -1)
    return module.roll_out(latents.expand(len(plans), *latents.shape), plans)[..., -1, :]


def floors_of(known: Exact) -> dict[str, float]:
    """Regret of baselines without a model: uniformly random plans, and doing nothing if there is a null action."""
    floors = {"random": known.truth.random_regret, "do_nothing": known.truth.do_nothing_regret}
    return {name: value for name, value in floors.items() if value is not None}


def exact_estimates(known: Exact, module: WorldModel, evaluation: Evaluation, epoch: int, step: int) -> list[Estimate]:
    """Regret by score in a finite world, exact or, if the planner searches, on sampled pairs; and of the floors."""
    rows: list[Estimate] = []
    values = floors_of(known)
    if isinstance(known.planner, Search):
        rows = search_estimates(known, known.planner, ends_of(known, module), evaluation, epoch, step)
    else:
        values = {name: regret.value for name, regret in regrets_of(known, module).items()} | values
    return rows + [Estimate(f"regret/{name}", value, 0.0, None, epoch, step) for name, value in values.items()]


class PlanningCallback(EpochCallback):
    """Log the regret of planning with the model, and of the floors.

    In a finite world it is logged after every epoch: exactly if the planner enumerates, from sampled starts and goals
    if it searches. In a simulator it is estimated from sampled tasks, after the last epoch only, since that takes as
    long as training. Nothing is logged without a planner.
    """

    def estimates(self, trainer: L.Trainer, module: WorldModel) -> list[Estimate]:
        """Return one estimate for each score or policy, and for each floor."""
        if isinstance(self.context.planner, NoPlanner):
            return []
        known, moment = self.context.exact, (trainer.current_epoch, trainer.global_step)
        if known is None:
            last = trainer.current_epoch + 1 == trainer.max_epochs
            return success_estimates(self.context, module, *moment) if last else []
        return exact_estimates(known, module, self.context.evaluation, *moment)

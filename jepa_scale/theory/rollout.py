"""Two ways to look T steps ahead with a model of one step: roll the latent out, or roll the operator out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jepa_scale.records import Negatives, Score
from jepa_scale.shapes import Float64
from jepa_scale.theory.graph import FiniteWorld, negative_law
from jepa_scale.theory.model import TabularModel
from jepa_scale.theory.planning import check_enumerable
from jepa_scale.theory.scores import SCORES


def latent_roll_out(model: TabularModel, horizon: int) -> Float64[np.ndarray, "plans N k"]:
    """ẑ_T of every plan, ẑ_{t+1} = g(ẑ_t, a_t) from ẑ_0 = f(x_0), first action slowest.

    Raises
    ------
    ValueError
        If T > 1 and g is not linear: a tabulated g is not known where the roll-out arrives.
    """
    reached = model.predictor
    if horizon == 1:
        return reached
    if model.maps is None:
        raise ValueError(
            f"a latent roll-out of {horizon=} needs g on all of R^k, and this model is tabulated on f(X) only: give "
            "the maps of a linear predictor, or plan with the operator roll-out"
        )
    for _ in range(horizon - 1):
        # (plans, 1, N, k) under each of (A, k, k): the new action varies fastest.
        reached = (reached[:, None] @ model.maps.swapaxes(1, 2)[None]).reshape(-1, *reached.shape[1:])
    return reached


def latent_scores(
    world: FiniteWorld, model: TabularModel, horizon: int, score: Score, negatives: Negatives = "same_action"
) -> Float64[np.ndarray, "plans N N"]:
    """Score of every plan from every start to every goal, in the order of ``planning.all_plans``.

    Raises
    ------
    ValueError
        If the table would not fit, or the model cannot be rolled out.
    """
    check_enumerable(world.actions, world.states, horizon)
    reached = latent_roll_out(model, horizon)
    law = np.tile(negative_law(world, negatives), (len(reached) // world.actions, 1))
    return SCORES[score](reached, model.encoder, law)


@dataclass(frozen=True)
class OperatorRollOut:
    """The spectral planner's view of a plan (B3): P̂(x_g | x_0, a_{0:T−1}) in k dimensions, whatever N and |A|^T."""

    model: TabularModel
    law: Float64[np.ndarray, "A N"]
    """q_a, the law of the negatives."""
    links: Float64[np.ndarray, "A A k k"]
    """K(a, b) = E_{x ~ q_a}[f(x) g(f(x), b)ᵀ]"""

    @classmethod
    def of(cls, world: FiniteWorld, model: TabularModel, negatives: Negatives = "same_action") -> OperatorRollOut:
        """Compute the links once: O(|A|² N k²)."""
        law = negative_law(world, negatives)
        links = np.einsum("ax,xi,bxj->abij", law, model.encoder, model.predictor, optimize=True)
        return cls(model, law, links)

    def score(self, start: int, plan: Sequence[int], goal: int) -> float:
        """P̂(x_g | x_0, plan), O(T k²).

        Raises
        ------
        ValueError
            If the plan is empty or names an action that is none.
        """
        if not len(plan) or not all(0 <= action < len(self.law) for action in plan):
            raise ValueError(f"expected a plan of one or more actions in 0 … {len(self.law) - 1}, got {list(plan)}")
        reached = self.model.predictor[plan[0], start]
        for last, action in pairwise(plan):
            reached = reached @ self.links[last, action]
        return float(self.law[plan[-1], goal] * (reached @ self.model.encoder[goal]))


def operator_scores(
    world: FiniteWorld, model: TabularModel, horizon: int, negatives: Negatives = "same_action"
) -> Float64[np.ndarray, "plans N N"]:
    """P̂_T = P̂(a_0) … P̂(a_{T−1}) of every plan (B3), P̂(a)[x, x'] = g(f(x), a)ᵀ f(x') q_a(x').

    In feature space it is h_{a_0}ᵀ K(a_0, a_1) … K(a_{T−2}, a_{T−1}) f(x_g) q_{a_{T−1}}(x_g) with the k × k matrices
    K(a, b) = E_{x ~ q_a}[f(x) g(f(x), b)ᵀ]: O(T k²) for one plan and start, whatever N. The gauge F → CF cancels,
    which it does not in a latent roll-out.

    Raises
    ------
    ValueError
        If the table would not fit.
    """
    check_enumerable(world.actions, world.states, horizon)
    rolled = OperatorRollOut.of(world, model, negatives)
    reached, actions = model.predictor, world.actions
    for _ in range(horizon - 1):
        last = np.arange(len(reached)) % actions
        reached = (reached[:, None] @ rolled.links[last]).reshape(-1, *reached.shape[1:])
    return SCORES["density"](reached, model.encoder, np.tile(rolled.law, (len(reached) // actions, 1)))

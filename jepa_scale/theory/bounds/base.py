"""What every bound is computed from, and the hypotheses that several theorems share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from jepa_scale.records import Hypothesis, Negatives, Score
from jepa_scale.shapes import Float64, Int64
from jepa_scale.theory.graph import FiniteWorld, negative_law
from jepa_scale.theory.model import TabularModel
from jepa_scale.theory.planning import (
    PlanningProblem,
    expected_regret,
    goal_multiplicity,
    goal_weights,
    importance_ratio,
    plan_values,
)
from jepa_scale.theory.rollout import latent_scores, operator_scores
from jepa_scale.theory.scores import SCORES
from jepa_scale.theory.spectrum import residual, singular_values

EQUAL = 1e-9
"""Laws and kernels that differ by less are the same but for rounding."""

RollOut = Literal["latent", "operator"]
"""How a plan's score is computed: ẑ_{t+1} = g(ẑ_t, a_t), or the product of one-step operators; the same for T = 1."""


@dataclass(frozen=True)
class WorldConstants:
    """What the bounds need of a world and a planning problem; independent of the model, so computed once."""

    world: FiniteWorld
    problem: PlanningProblem
    negatives: Negatives
    negatives_law: Float64[np.ndarray, "A N"]
    goals: Float64[np.ndarray, "N N"]
    """μ(x_g|x_0)"""
    ratio: Float64[np.ndarray, "A N N"]
    """√(q_a(x_g)/p(x_0))"""
    multiplicity: float
    """M of ``goal_multiplicity``; NaN where a regret by group is not a multiple of one by observation."""

    @classmethod
    def of(cls, world: FiniteWorld, problem: PlanningProblem, negatives: Negatives) -> WorldConstants:
        """Compute the constants."""
        law = negative_law(world, negatives)
        multiplicity = goal_multiplicity(world)
        return cls(
            world=world,
            problem=problem,
            negatives=negatives,
            negatives_law=law,
            goals=goal_weights(world, problem),
            ratio=importance_ratio(world, law),
            multiplicity=float("nan") if multiplicity is None else multiplicity,
        )

    @cached_property
    def weights(self) -> Float64[np.ndarray, "N N"]:
        """p(x_0) μ(x_g|x_0), the law over which regret is averaged."""
        return self.world.context_law[:, None] * self.goals

    @cached_property
    def best(self) -> Int64[np.ndarray, "N N"]:
        """a* for each start and goal, as an index into the plans; ties go to the first."""
        return self.values.argmax(0)

    @cached_property
    def mean_ratio(self) -> float:
        """c₀ = E_{x₀, x_g} √(max_a q_a(x_g)/p(x₀)), times M where regret is counted by goal group (T4)."""
        return self.multiplicity * float((self.weights * self.ratio.max(0)).sum())

    @cached_property
    def omega(self) -> float:
        """ω = max_{x₀, x_g, a} μ(x_g|x₀) q_a(x_g) (B1′)."""
        return float((self.goals * self.negatives_law.max(0)[None]).max())

    @cached_property
    def values(self) -> Float64[np.ndarray, "plans N N"]:
        """V of every plan, by goal group."""
        return plan_values(self.world, self.problem.horizon)

    @cached_property
    def singular_values(self) -> Float64[np.ndarray, "A N"]:
        """σ_i(a) of M̄(a)."""
        return singular_values(self.world, self.negatives)

    @cached_property
    def actions_alike(self) -> float:
        """Largest difference of the negatives' law between actions."""
        return float((self.negatives_law.max(0) - self.negatives_law.min(0)).max())


@dataclass(frozen=True)
class BoundCase:
    """One model that plans in one world by one score, as the bounds see it."""

    constants: WorldConstants
    score: Score
    model: TabularModel
    roll_out: RollOut = "latent"

    @cached_property
    def residual(self) -> Float64[np.ndarray, "A N N"]:
        """δ_a = M̄(a) − GᵀF."""
        return residual(self.constants.world, self.model.encoder, self.model.predictor, self.constants.negatives)

    @cached_property
    def risk(self) -> Float64[np.ndarray, " A"]:
        """R(a) = Σ δ_a², exact."""
        return np.einsum("axy,axy->a", self.residual, self.residual)

    @cached_property
    def scores(self) -> Float64[np.ndarray, "plans N N"]:
        """What the planner maximises, for every plan, start and goal."""
        constants = self.constants
        horizon = constants.problem.horizon
        if self.roll_out == "operator":
            return operator_scores(constants.world, self.model, horizon, constants.negatives)
        return latent_scores(constants.world, self.model, horizon, self.score, constants.negatives)

    @cached_property
    def chosen(self) -> Int64[np.ndarray, "N N"]:
        """ã for each start and goal, as an index into the plans; ties go to the first."""
        return self.scores.argmax(0)

    @cached_property
    def regret(self) -> float:
        """E(ã), exact."""
        constants = self.constants
        return expected_regret(constants.values, self.chosen, constants.world.context_law, constants.goals)

    @cached_property
    def lucky_regret(self) -> float:
        """E(ã) where near-ties of the score are broken in the planner's favour: what no tie-breaking can undercut."""
        constants, best = self.constants, self.scores.max(0)
        tied = self.scores >= best - 1e-9 * (1 + np.abs(best))
        lucky = np.where(tied, constants.values, -np.inf).argmax(0)
        return expected_regret(constants.values, lucky, constants.world.context_law, constants.goals)

    @cached_property
    def largest_error(self) -> Float64[np.ndarray, "N N"]:
        """max over plans of |P̂ − P| at each start and goal, of the density score as it is rolled out; counted M
        times."""
        constants = self.constants
        if constants.problem.horizon == 1:
            # P − ŝ = √(q_a(x_g)/p(x_0)) δ_a (B1): spares the table of values.
            return constants.multiplicity * (constants.ratio * np.abs(self.residual)).max(0)
        return np.abs(constants.values - constants.multiplicity * self.scores).max(0)


def horizon_is_one(case: BoundCase) -> Hypothesis:
    """T = 1."""
    horizon = case.constants.problem.horizon
    return Hypothesis("T = 1", horizon == 1, f"T = {horizon}")


def next_law_ignores_action(case: BoundCase) -> Hypothesis:
    """q_a(x') does not depend on a (E2: what the paper's proof needs where it assumes E_{x_g} q_a = const).

    With pooled negatives the model is of the pooled law, which is the same for every action.
    """
    if case.constants.negatives == "pooled":
        return Hypothesis("the law of the negatives does not depend on a", True, "pooled negatives")
    spread = case.constants.actions_alike
    return Hypothesis(
        "q_a does not depend on a", spread <= EQUAL, f"largest difference between actions {spread:.2e} (E2)"
    )


def mean_next_law_ignores_action(case: BoundCase) -> Hypothesis:
    """E_{x_g} q_a(x_g) does not depend on a: the assumption of Theorem 4.1 as published, which is not enough (E2)."""
    means = case.constants.negatives_law @ case.constants.weights.sum(0)
    spread = float(means.max() - means.min())
    return Hypothesis(
        "E_{x_g} q_a(x_g) does not depend on a", spread <= EQUAL, f"largest difference between actions {spread:.2e}"
    )


def kernel_is_deterministic(case: BoundCase) -> Hypothesis:
    """P(x'|x, a) ∈ {0, 1} (E7: the conditional, not the joint)."""
    kernel = case.constants.world.transition
    departure = float(np.minimum(kernel, 1 - kernel).max())
    return Hypothesis("P(x'|x, a) ∈ {0, 1}", departure <= 1e-12, f"largest departure {departure:.3g}")


def score_is_density(case: BoundCase) -> Hypothesis:
    """Plans are ranked by ŝ(a) = q_a(x_g) g(f(x_0), a)ᵀ f(x_g) (B1)."""
    holds = case.score == "density"
    return Hypothesis("plans ranked by the density score", holds, f"score {case.score} (B1)")


def score_ranks_as_inner_product(case: BoundCase) -> Hypothesis:
    """Minimising ‖g − f_g‖² ranks as gᵀf_g only if ‖g(f(x_0), a)‖ is the same for every a (E3)."""
    if case.score != "distance":
        return Hypothesis("the score ranks plans as ẑᵀf(x_g) does", True, f"score {case.score}")
    # The distance ranks by 2 gᵀf_g − ‖g‖²: it is the squares that must agree, to less than the products differ.
    squares = (case.model.predictor**2).sum(-1)
    spread = float((squares.max(0) - squares.min(0)).max())
    products = np.abs(SCORES["inner"](case.model.predictor, case.model.encoder, case.constants.negatives_law))
    return Hypothesis(
        "‖g(f(x₀), a)‖ is the same for every a",
        spread <= 1e-12 * float(products.max()),
        f"squares differ between actions by up to {spread:.2e} (E3)",
    )


def goals_are_interchangeable(case: BoundCase) -> Hypothesis:
    """A regret counted by goal group is a fixed multiple of one counted by observation."""
    multiplicity = case.constants.multiplicity
    holds = bool(np.isfinite(multiplicity))
    detail = f"multiplicity {multiplicity:g}" if holds else "members of a group differ as next observations"
    return Hypothesis("members of a goal group are interchangeable", holds, detail)

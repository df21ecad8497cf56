"""What every bound is computed from, and the hypotheses that several theorems share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.records import Hypothesis, Negatives, Score
from jepa_scale.shapes import Float64
from jepa_scale.theory.graph import FiniteWorld, negative_law
from jepa_scale.theory.planning import PlanningProblem, goal_multiplicity, goal_weights, importance_ratio

_EQUAL = 1e-9


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


@dataclass(frozen=True)
class BoundCase:
    """One model in one world, as the bounds see it."""

    constants: WorldConstants
    score: Score
    risk: Float64[np.ndarray, " A"]
    """R(a), exact."""
    predictor: Float64[np.ndarray, "A N k"]
    """g(f(x), a), for the hypothesis on its norm."""


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
    law = case.constants.negatives_law
    spread = float((law.max(0) - law.min(0)).max())
    return Hypothesis(
        "q_a does not depend on a", spread <= _EQUAL, f"largest difference between actions {spread:.2e} (E2)"
    )


def score_is_density(case: BoundCase) -> Hypothesis:
    """Plans are ranked by ŝ(a) = q_a(x_g) g(f(x_0), a)ᵀ f(x_g) (B1)."""
    return Hypothesis("plans ranked by the density score", case.score == "density", f"score {case.score} (B1)")


def score_ranks_as_inner_product(case: BoundCase) -> Hypothesis:
    """Minimising ‖g − f_g‖² ranks as gᵀf_g only if ‖g(f(x_0), a)‖ is the same for every a (E3)."""
    if case.score != "distance":
        return Hypothesis("the score ranks plans as ẑᵀf(x_g) does", True, f"score {case.score}")
    norms = np.linalg.norm(case.predictor, axis=-1)
    spread = float((norms.max(0) - norms.min(0)).max())
    return Hypothesis(
        "‖g(f(x₀), a)‖ is the same for every a",
        spread <= 1e-6 * float(norms.max()),
        f"largest difference between actions {spread:.2e} (E3)",
    )


def goals_are_interchangeable(case: BoundCase) -> Hypothesis:
    """A regret counted by goal group is a fixed multiple of one counted by observation."""
    multiplicity = case.constants.multiplicity
    holds = bool(np.isfinite(multiplicity))
    detail = f"multiplicity {multiplicity:g}" if holds else "members of a group differ as next observations"
    return Hypothesis("members of a goal group are interchangeable", holds, detail)

"""Regret of the exact minimiser of the empirical risk in the world of a study, beside that of its networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jepa_scale.records import ExactLearner
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.instantiate import instantiate
from jepa_scale.theory.graph import FiniteWorld, next_law
from jepa_scale.theory.learners import fit_shared
from jepa_scale.theory.learning_curve import learning_curve
from jepa_scale.theory.planning import PlanningProblem

DATASETS = 3
"""Data sets behind each mean."""
_MOST = 2**18
"""Largest |A| N² of a world: a fit decomposes as many numbers, and takes 0.03 s there."""


def setting(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a run's configuration that the exact learner depends on."""
    return {name: config.get(name) for name in ("world", "planner", "objective")}


def exact_learner(config: Mapping[str, Any], sizes: Sequence[int], widths: Sequence[int]) -> ExactLearner | None:
    """Fit one encoder for all actions to n independent transitions by least squares, and plan with it.

    The fit is that of ``theory.learners.fit_shared``, the regret the exact one of ``theory.learning_curve``. None where
    that learner is not what the networks approximate, or is not defined: the world is no small finite one of this
    package, the objective not the spectral one, the plan longer than a step, its score not the density, or the q_a
    differ while the negatives are of the same action.
    """
    world, planner, objective = (config.get(name) or {} for name in ("world", "planner", "objective"))
    own = str(world.get("_target_", "")).startswith("jepa_scale.worlds.")
    spectral = str(objective.get("_target_", "")).endswith(".SpectralObjective")
    if not own or not spectral or planner.get("score") != "density" or planner.get("horizon") != 1:
        return None
    try:
        finite = getattr(instantiate("world", world), "finite", None)
        problem = PlanningProblem(1, planner.get("goal_law", ""))
    except (UserError, ValueError):
        return None
    if not isinstance(finite, FiniteWorld) or finite.actions * finite.states**2 > _MOST:
        return None
    pooled = objective.get("negatives") == "pooled" or np.ptp(next_law(finite), axis=0).max() < 1e-12
    fitting, sizes = sorted(k for k in widths if k <= finite.states), sorted(sizes)
    if not pooled or not fitting or not sizes:
        return None
    curve = learning_curve(finite, problem, sizes, fitting, DATASETS, np.random.default_rng(0), fit_shared)
    return ExactLearner(tuple(sizes), tuple(fitting), curve.regret, curve.regret_standard_error, DATASETS)

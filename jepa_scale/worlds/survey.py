"""The theory in one go: attacked on random worlds, and measured on worlds that grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.records import Negatives
from jepa_scale.theory.check import Findings, attack_theory
from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.learners import fit_per_action, fit_shared
from jepa_scale.theory.learning_curve import Learner, LearningCurve, learning_curve
from jepa_scale.theory.planning import PlanningProblem
from jepa_scale.theory.tightness import (
    MANY_STEPS,
    ONE_REACHABLE_STEP,
    ONE_STEP,
    TightnessPoint,
    tightness,
    tightness_by_width,
)
from jepa_scale.worlds.families import FAMILIES
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.torus import Torus

SIDES = (4, 8, 12, 16, 20, 24)
"""L of the tori that grow."""

HORIZONS = (1, 2, 3, 4, 5)

NUISANCE_WIDTHS = (1, 2, 4, 8, 12, 16, 20, 25, 32, 48, 64, 100, 200)

DATASETS = 10
"""Data sets behind each mean of a learning curve."""


@dataclass(frozen=True)
class Survey:
    """What the theory says, and where it holds."""

    findings: Findings
    trials: int
    """Trials in each family of worlds under each family of models."""
    by_states: tuple[TightnessPoint, ...]
    """L×L tori, slip 0.2, blur 0.5, k = N/4, T = 1."""
    by_width: tuple[TightnessPoint, ...]
    """The 8×8 torus, slip 0.2, blur 1, T = 1."""
    by_horizon: tuple[TightnessPoint, ...]
    """The 4×4 torus, slip 0.2, blur 0.5, k = 8, operator roll-out."""
    torus_curve: LearningCurve
    """The 8×8 torus, slip 0.2, blur 1, an encoder for each action: k*(n) of the risk grows with n."""
    nuisance_curve: LearningCurve
    """25 hidden states × 8 interchangeable observations, one encoder for all actions: regret is U-shaped in k.

    Blur 0.42 of the hidden torus is a choice: less leaves no regret at its rank to see, more leaves little else.
    """


def survey(trials: int, seed: int, workers: int, advance: Callable[[int], None]) -> Survey:
    """Attack every statement, then follow the bounds as N, k and T grow.

    Raises
    ------
    ValueError
        If fewer than one trial is asked for.
    """
    findings = attack_theory(FAMILIES, trials, seed, workers, advance)
    tori = [Torus(side, 0.2, 0.5).finite for side in SIDES]
    return Survey(
        findings,
        trials,
        tuple(tightness(world, world.states // 4) for world in tori),
        widths_of(Torus(8, 0.2, 1.0).finite),
        tuple(tightness(tori[0], 8, PlanningProblem(horizon), names=MANY_STEPS) for horizon in HORIZONS),
        _curve(Torus(8, 0.2, 1.0).finite, (1000, 10_000, 100_000), range(1, 65), seed, fit_per_action),
        _curve(Nuisance(Torus(5, 0.2, 0.42)).finite, (3000, 10_000, 30_000), NUISANCE_WIDTHS, seed, fit_shared),
    )


def _curve(
    world: FiniteWorld, sizes: Sequence[int], widths: Sequence[int], seed: int, learner: Learner
) -> LearningCurve:
    generator = np.random.default_rng(seed)
    return learning_curve(world, ONE_REACHABLE_STEP, sizes, widths, DATASETS, generator, learner)


def widths_of(
    world: FiniteWorld, problem: PlanningProblem = ONE_REACHABLE_STEP, negatives: Negatives = "same_action"
) -> tuple[TightnessPoint, ...]:
    """Bounds of the best shared encoder at k = 1, 2, 4, … N.

    Raises
    ------
    ValueError
        If the plans cannot be enumerated.
    """
    names = ONE_STEP if problem.horizon == 1 else (*MANY_STEPS, "b3_general")
    return tightness_by_width(world, octaves(world.states), problem, negatives, names)


def octaves(states: int) -> list[int]:
    """k = 1, 2, 4, … below N, and N."""
    return [2**power for power in range(states.bit_length()) if 2**power < states] + [states]

"""How far each bound lies above the regret, as world, width and horizon grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from jepa_scale.records import BoundValue, Negatives
from jepa_scale.theory.bounds import b1, b1_double_prime, b1_prime, b3, b5, t4
from jepa_scale.theory.bounds.base import BoundCase, RollOut, WorldConstants
from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.model import truncated_svds
from jepa_scale.theory.planning import PlanningProblem, unreachable_share

ONE_STEP = ("t4", "b1_prime", "b1_double_prime", "b1", "b5")
"""Bounds on one step, from the loosest to the sharpest."""

ONE_REACHABLE_STEP = PlanningProblem()

MANY_STEPS = ("b3", "b5")
"""Bounds on T steps by the operator roll-out."""


_BOUNDS: Mapping[str, Callable[[BoundCase], BoundValue]] = {
    "t4": t4.value,
    "b1_prime": b1_prime.value,
    "b1_double_prime": b1_double_prime.value,
    "b1": b1.value,
    "b3": b3.value,
    "b3_general": partial(b3.value, form="general"),
    "b5": b5.value,
}


@dataclass(frozen=True)
class TightnessPoint:
    """Bounds of the best shared encoder of one width in one world."""

    states: int
    k: int
    horizon: int
    regret: float
    unreachable: float
    """Share of the start/goal pairs that no plan of this horizon connects."""
    bounds: tuple[BoundValue, ...]


def tightness(
    world: FiniteWorld,
    k: int,
    problem: PlanningProblem = ONE_REACHABLE_STEP,
    negatives: Negatives = "same_action",
    names: Sequence[str] = ONE_STEP,
) -> TightnessPoint:
    """Evaluate bounds by name on ``truncated_svd`` of width k, planning by the density score or the operator roll-out.

    Raises
    ------
    ValueError
        If a name is unknown, k is outside 1 … N, or the plans cannot be enumerated.
    """
    return tightness_by_width(world, (k,), problem, negatives, names)[0]


def tightness_by_width(
    world: FiniteWorld,
    widths: Sequence[int],
    problem: PlanningProblem = ONE_REACHABLE_STEP,
    negatives: Negatives = "same_action",
    names: Sequence[str] = ONE_STEP,
) -> tuple[TightnessPoint, ...]:
    """``tightness`` of each width; what does not depend on the width is computed once.

    Raises
    ------
    ValueError
        If a name is unknown, a width is outside 1 … N, or the plans cannot be enumerated.
    """
    unknown = [name for name in names if name not in _BOUNDS]
    if unknown:
        raise ValueError(f"no bound is called {unknown[0]!r}: choose from {', '.join(_BOUNDS)}")
    constants = WorldConstants.of(world, problem, negatives)
    roll_out: RollOut = "latent" if problem.horizon == 1 else "operator"
    unreachable = unreachable_share(constants.values, world.context_law, constants.goals)
    points = []
    for model in truncated_svds(world, widths, negatives):
        # A case holds several tables of |A| N² numbers, so each is let go before the next.
        case = BoundCase(constants, "density", model, roll_out)
        bounds = tuple(_BOUNDS[name](case) for name in names)
        points.append(TightnessPoint(world.states, model.k, problem.horizon, case.regret, unreachable, bounds))
    return tuple(points)

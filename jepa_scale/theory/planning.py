"""Values of open-loop plans and the exact expected regret of a planner."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from jepa_scale.records import GoalLaw
from jepa_scale.shapes import Float64, Int64
from jepa_scale.theory.graph import FiniteWorld

MAX_CELLS = 60_000_000
"""Largest |A|^T · N² that is tabulated: half a gigabyte of float64."""


@dataclass(frozen=True)
class PlanningProblem:
    """How plans are made and judged; part of every reported regret.

    Raises
    ------
    ValueError
        If the horizon is below 1.
    """

    horizon: int = 1
    """T, steps of a plan."""
    goal_law: GoalLaw = "reachable"

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"expected a horizon T ≥ 1, got horizon={self.horizon}")
        if self.goal_law not in ("uniform", "data", "reachable"):
            raise ValueError(f"expected goal_law uniform, data or reachable; got {self.goal_law!r}")


def all_plans(actions: int, horizon: int) -> Int64[np.ndarray, "plans T"]:
    """Every action sequence of length T, the first action varying slowest."""
    return np.array(list(itertools.product(range(actions), repeat=horizon)), dtype=np.int64)


def check_enumerable(actions: int, states: int, horizon: int) -> None:
    """Refuse an enumeration that would not fit.

    Raises
    ------
    ValueError
        If |A|^T · N² exceeds ``MAX_CELLS``.
    """
    # In logarithms: a long horizon overflows any float.
    digits = horizon * math.log10(actions) + 2 * math.log10(states)
    if digits > math.log10(MAX_CELLS):
        raise ValueError(
            f"exhaustive search over {actions}^{horizon} plans × {states}² start/goal pairs needs 10^{digits:.1f} "
            f"cells, more than {MAX_CELLS:.0e}: choose a shorter horizon or a smaller world; score single plans with "
            "OperatorRollOut; or, where the kernel is deterministic, use dynamic programming (closed_loop_values)"
        )


def plan_values(world: FiniteWorld, horizon: int) -> Float64[np.ndarray, "plans N N"]:
    """V(a_{0:T−1})[x_0, x_g] = P(x_T in the group of x_g | x_0, a_{0:T−1}) (eq. 10), in the order of ``all_plans``.

    To be read only: where T = 1 and every goal is a group by itself it is the world's own kernel.

    Raises
    ------
    ValueError
        If the table would not fit, see ``check_enumerable``.
    """
    check_enumerable(world.actions, world.states, horizon)
    reached = world.transition
    for _ in range(horizon - 1):
        reached = np.einsum("pxy,ayz->paxz", reached, world.transition, optimize=True)
        reached = reached.reshape(-1, world.states, world.states)
    if len(np.unique(world.goal_groups)) == world.states:
        # Every goal by itself: nothing to add up, and in a large world |A|^T N³ operations and two copies saved.
        return reached
    membership = world.goal_groups[:, None] == np.unique(world.goal_groups)[None, :]
    by_group = reached @ membership.astype(np.float64)
    return by_group[:, :, np.searchsorted(np.unique(world.goal_groups), world.goal_groups)]


def closed_loop_values(world: FiniteWorld, horizon: int) -> Float64[np.ndarray, "N N"]:
    """V*[x_0, x_g] = max over policies of P(x_T in the group of x_g), by dynamic programming in O(T |A| N³).

    V_0 = 1[same group], V_{t+1}[x, x_g] = max_a Σ_x' P(x'|x, a) V_t[x', x_g]. A policy sees where it is, a plan does
    not, so V* ≥ max over plans of V; they agree where the kernel is deterministic, at horizons far beyond enumeration.

    Raises
    ------
    ValueError
        If the horizon is below 1.
    """
    if horizon < 1:
        raise ValueError(f"expected a horizon T ≥ 1, got {horizon=}")
    best = (world.goal_groups[:, None] == world.goal_groups[None, :]).astype(np.float64)
    for _ in range(horizon):
        best = (world.transition @ best).max(0)
    return best


def unreachable_share(
    values: Float64[np.ndarray, "plans N N"],
    starts: Float64[np.ndarray, " N"],
    goals: Float64[np.ndarray, "N N"],
) -> float:
    """P(no plan reaches x_g from x_0) over the starts and goals: every plan has regret 0 there, so they dilute E."""
    return float((starts[:, None] * goals)[values.max(0) == 0].sum())


def goal_weights(world: FiniteWorld, problem: PlanningProblem) -> Float64[np.ndarray, "N N"]:
    """μ(x_g|x_0), rows sum to 1: uniform, the sampling law p, or T steps of the behaviour policy."""
    states = world.states
    if problem.goal_law == "uniform":
        return np.full((states, states), 1 / states)
    if problem.goal_law == "data":
        return np.repeat(world.context_law[None], states, axis=0)
    chain = np.einsum("a,axy->xy", world.policy, world.transition)
    return np.linalg.matrix_power(chain, problem.horizon)


def expected_regret(
    values: Float64[np.ndarray, "plans N N"],
    chosen: Int64[np.ndarray, "N N"],
    starts: Float64[np.ndarray, " N"],
    goals: Float64[np.ndarray, "N N"],
) -> float:
    """E_{x_0, x_g} [max_a V − V(ã)] (eq. 11, 12): ``chosen`` holds the index of ã for each start and goal."""
    taken = np.take_along_axis(values, chosen[None], axis=0)[0]
    return float((starts[:, None] * goals * (values.max(0) - taken)).sum())


def random_regret(
    values: Float64[np.ndarray, "plans N N"],
    starts: Float64[np.ndarray, " N"],
    goals: Float64[np.ndarray, "N N"],
) -> float:
    """Expected regret of a plan drawn uniformly: the level at which a planner that knows nothing saturates."""
    return float((starts[:, None] * goals * (values.max(0) - values.mean(0))).sum())


def do_nothing_regret(
    world: FiniteWorld,
    values: Float64[np.ndarray, "plans N N"],
    horizon: int,
    goals: Float64[np.ndarray, "N N"],
) -> float | None:
    """Expected regret of taking the null action T times; None where the world has no null action."""
    if world.null_action is None:
        return None
    index = sum(world.null_action * world.actions**step for step in range(horizon))
    chosen = np.full((world.states, world.states), index, dtype=np.int64)
    return expected_regret(values, chosen, world.context_law, goals)


def importance_ratio(world: FiniteWorld, negatives_law: Float64[np.ndarray, "A N"]) -> Float64[np.ndarray, "A N N"]:
    """√(q_a(x_g) / p(x_0)), indexed [a, x_0, x_g]: what turns δ_a into an error of P (B1)."""
    return np.sqrt(negatives_law[:, None, :] / world.context_law[None, :, None])


def goal_multiplicity(world: FiniteWorld) -> float | None:
    """M with V(group of x_g) = M · P(x_g|x_0, a) for all x_0, a, x_g; None where no such number exists.

    It exists when every group has M members that are interchangeable as next observations; then a regret counted by
    group is M times the regret counted by observation, and so is every bound.
    """
    groups, sizes = np.unique(world.goal_groups, return_counts=True)
    if (sizes != sizes[0]).any():
        return None
    if sizes[0] == 1:
        return 1.0
    for group in groups:
        members = world.transition[:, :, world.goal_groups == group]
        if not np.allclose(members, members[..., :1], rtol=0, atol=1e-12):
            return None
    return float(sizes[0])

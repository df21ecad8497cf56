"""Random small worlds of every kind, to attack the theory with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.worlds.lowrank import LowRank
from jepa_scale.worlds.torus import Torus

Family = Callable[[np.random.Generator, int], FiniteWorld]
"""A generator and the number N of observations wanted → a world; families of fixed shapes come as near to N as they
can."""


def _world(kernel: np.ndarray, law: np.ndarray | None = None, groups: np.ndarray | None = None) -> FiniteWorld:
    actions, states, _ = kernel.shape
    return FiniteWorld(
        transition=kernel,
        context_law=np.full(states, 1 / states) if law is None else law,
        policy=np.full(actions, 1 / actions),
        goal_groups=np.arange(states, dtype=np.int64) if groups is None else groups,
    )


def _actions(generator: np.random.Generator) -> int:
    return int(generator.integers(2, 4))


def _dirichlet_kernel(generator: np.random.Generator, actions: int, states: int) -> np.ndarray:
    kernel = generator.dirichlet(np.full(states, generator.choice([0.1, 0.3, 1.0])), size=(actions, states))
    # A row so sparse that every gamma variate underflowed comes out as zeros or NaN.
    return np.where(
        np.isfinite(kernel).all(-1, keepdims=True) & (kernel.sum(-1, keepdims=True) > 0.5), kernel, 1 / states
    )


def _permutations(generator: np.random.Generator, actions: int, states: int) -> np.ndarray:
    return np.stack([np.eye(states)[generator.permutation(states)] for _ in range(actions)])


def dirichlet(generator: np.random.Generator, states: int) -> FiniteWorld:
    """Dirichlet rows and a sampling law that is not stationary: q_a differ by action."""
    return _world(_dirichlet_kernel(generator, _actions(generator), states), generator.dirichlet(np.full(states, 2.0)))


def doubly_stochastic(generator: np.random.Generator, states: int) -> FiniteWorld:
    """Mixtures of permutations with uniform p: q_a = p for every action."""
    weights = generator.dirichlet(np.full(4, 0.5), size=_actions(generator))
    mixed = np.stack([np.tensordot(row, _permutations(generator, 4, states), 1) for row in weights])
    return _world(mixed / mixed.sum(-1, keepdims=True))


def permutation(generator: np.random.Generator, states: int) -> FiniteWorld:
    """Deterministic and injective; p uniform, or (half of them) not, which makes the q_a differ."""
    law = None if generator.random() < 0.5 else generator.dirichlet(np.full(states, 2.0))
    return _world(_permutations(generator, _actions(generator), states), law)


def non_injective(generator: np.random.Generator, states: int) -> FiniteWorld:
    """Deterministic, with a permutation of one's own per action before one shared map: the q_a agree and have zeros."""
    shared = np.eye(states)[generator.integers(0, states, size=states)]
    return _world(_permutations(generator, _actions(generator), states) @ shared)


def nuisance(generator: np.random.Generator, states: int) -> FiniteWorld:
    """Hidden states seen through 2 interchangeable observations each; goals are counted by hidden state."""
    hidden = doubly_stochastic(generator, max(2, states // 2))
    kernel = np.kron(hidden.transition, np.full((2, 2), 0.5))
    return _world(kernel, groups=np.repeat(np.arange(hidden.states, dtype=np.int64), 2))


def torus(generator: np.random.Generator, states: int) -> FiniteWorld:
    """A 2×2 or 3×3 torus with random slip and blur."""
    side = 2 if states < 7 else 3
    return Torus(side, slip=float(generator.uniform(0, 0.5)), blur=float(generator.uniform(0, 1.5))).finite


def low_rank_shared(generator: np.random.Generator, states: int) -> FiniteWorld:
    """P = φ_a ψ with one emission law ψ for all actions: one encoder of that rank serves them."""
    rank = int(generator.integers(1, states + 1))
    return LowRank(states, _actions(generator), rank, world_seed=int(generator.integers(2**31))).finite


def low_rank_separate(generator: np.random.Generator, states: int) -> FiniteWorld:
    """P = φ_a ψ_a: every action needs right singular vectors of its own (E6)."""
    actions, rank = _actions(generator), int(generator.integers(1, states + 1))
    kernel = generator.dirichlet(np.full(rank, 0.5), size=(actions, states)) @ generator.dirichlet(
        np.full(states, 0.5), size=(actions, rank)
    )
    return _world(kernel / kernel.sum(-1, keepdims=True), generator.dirichlet(np.full(states, 2.0)))


def single_state(generator: np.random.Generator, states: int) -> FiniteWorld:
    """N = 1: every bound must be 0 or more, and no regret possible."""
    del states  # this family has one size
    return _world(np.ones((_actions(generator), 1, 1)))


def near_zero_mass(generator: np.random.Generator, states: int) -> FiniteWorld:
    """One observation is almost never a context, so that √(q_a/p) is huge."""
    law = generator.dirichlet(np.full(states, 2.0))
    law[0] = 10 ** generator.uniform(-12, -4)
    return _world(_dirichlet_kernel(generator, _actions(generator), states), law / law.sum())


FAMILIES: Mapping[str, Family] = {
    family.__name__: family
    for family in (
        dirichlet,
        doubly_stochastic,
        permutation,
        non_injective,
        nuisance,
        torus,
        low_rank_shared,
        low_rank_separate,
        single_state,
        near_zero_mass,
    )
}

"""A random low-rank MDP: P(x'|x, a) = Σ_z φ(z|x, a) ψ(x'|z)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float64
from jepa_scale.worlds.base import ExactWorld
from jepa_scale.worlds.memory import check_tables


@dataclass(frozen=True)
class LowRank(ExactWorld):
    """A kernel of rank ``rank`` for every action, with Dirichlet factors; the q_a differ between actions.

    The emission law ψ is shared by the actions, so one encoder of width ``rank`` serves all of them.

    Raises
    ------
    ValueError
        If a size is below 1, the rank exceeds the number of states, a concentration is not positive, or the table would
        not fit into memory.
    """

    states: int = 60
    action_count: int = 4
    rank: int = 8
    concentration: float = 0.2
    """Dirichlet concentration of φ(·|x, a); small is nearly deterministic in z."""
    emission: float = 0.5
    """Dirichlet concentration of ψ(·|z)."""
    world_seed: int = 0

    def __post_init__(self) -> None:
        if min(self.states, self.action_count, self.rank) < 1 or self.rank > self.states:
            raise ValueError(
                f"expected 1 ≤ rank ≤ states and at least one action, got rank={self.rank}, states={self.states}, "
                f"action_count={self.action_count}"
            )
        if not (0 < self.concentration < float("inf") and 0 < self.emission < float("inf")):
            raise ValueError(
                f"expected positive concentrations, got concentration={self.concentration}, emission={self.emission}"
            )
        check_tables(self.action_count, self.states)

    def kernel(self) -> Float64[np.ndarray, "A N N"]:
        """P(x'|x, a)."""
        generator = np.random.default_rng(self.world_seed)
        hidden = generator.dirichlet(np.full(self.rank, self.concentration), size=(self.action_count, self.states))
        emission = generator.dirichlet(np.full(self.states, self.emission), size=self.rank)
        # A touch of the uniform law keeps every observation's stationary probability positive.
        emission = 0.999 * emission + 0.001 / self.states
        kernel = hidden @ emission
        return kernel / kernel.sum(-1, keepdims=True)

"""Another world beside a nuisance that persists: the dial from noise that is free to noise that costs width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jepa_scale.shapes import Float64
from jepa_scale.worlds.base import ExactWorld
from jepa_scale.worlds.memory import check_tables
from jepa_scale.worlds.nuisance import check_code_sizes, mixed_codes


@dataclass(frozen=True)
class Persistence(ExactWorld):
    """P((h', m')|(h, m), a) = P_hidden(h'|h, a) [ρ 1{m' = m} + (1 − ρ)/M]: an independent nuisance m that stays.

    With probability ρ the nuisance stays, otherwise it is drawn anew among all M values, whatever the action is. Both
    factors are kernels and the nuisance is uniform under p and every q_a, so M̄(a) is a Kronecker product and its
    singular values are {σ_i(a)} ∪ (M − 1) copies of {ρ σ_i(a)} (``exact_singular_values``). ρ = 0 is fresh noise, which
    adds zeros only; ρ = 1 is frozen, and every σ_i comes M times: tail and k* grow with M though nothing that an action
    can change was added. For several independent distractors nest this world in itself: their spectra multiply.

    A frozen nuisance has a stationary law for each law of m. The world takes the uniform one, which is the limit of
    ρ → 1, so p is hidden p × uniform at every ρ.

    An observation is an orthogonal mixture of a random code of h and a random code of m. Goals ignore m. For ρ > 0 the
    M observations of a goal are not interchangeable as next observations, so bounds that count by observation do not
    apply to a regret that is counted by goal; they say so.

    The resolution of its observations is exact: distinct states have distinct vectors, without sensor noise.

    Raises
    ------
    ValueError
        If there is no nuisance value, ρ is no probability, or the vectors have no coordinate for state or nuisance.
    """

    hidden: ExactWorld
    nuisance_values: int = 8
    """M"""
    persistence: float = 0.9
    """ρ, probability that the nuisance is not drawn anew; its correlation from one step to the next."""
    observation_size: int = 32
    """D, coordinates of an observation vector."""
    nuisance_size: int = 16
    """Coordinates, before mixing, that tell nothing about the hidden state."""
    world_seed: int = 0

    def __post_init__(self) -> None:
        if self.nuisance_values < 1:
            raise ValueError(
                f"expected at least 1 value of the nuisance, got nuisance_values={self.nuisance_values}: 1 is none"
            )
        if not 0 <= self.persistence <= 1:
            raise ValueError(
                f"expected a probability in [0, 1], got persistence={self.persistence}: 0 is fresh noise, 1 is frozen"
            )
        check_code_sizes(self.observation_size, self.nuisance_size)

    @property
    def null_action(self) -> int | None:
        """The hidden world's."""
        return self.hidden.null_action

    def kernel(self) -> Float64[np.ndarray, "A N N"]:
        """P(x'|x, a), observations ordered by hidden state."""
        values, hidden = self.nuisance_values, self.hidden.finite
        check_tables(hidden.actions, hidden.states * values)
        nuisance = self.persistence * np.eye(values) + (1 - self.persistence) / values
        return np.kron(hidden.transition, nuisance)

    def context_law(
        self, kernel: Float64[np.ndarray, "A N N"], policy: Float64[np.ndarray, " A"]
    ) -> Float64[np.ndarray, " N"]:
        """Hidden p × uniform."""
        del kernel, policy  # a frozen nuisance has no unique law to solve for
        values = self.nuisance_values
        return np.repeat(self.hidden.finite.context_law / values, values)

    def goal_groups(self, states: int) -> np.ndarray:
        """The hidden state's own goal group."""
        return np.repeat(self.hidden.finite.goal_groups, self.nuisance_values)

    @cached_property
    def observations(self) -> Float64[np.ndarray, "N D"]:
        """An orthogonal mixture of state code and nuisance code, every coordinate of order 1."""
        states, values = np.divmod(np.arange(self.finite.states), self.nuisance_values)
        return mixed_codes(states, values, self.observation_size, self.nuisance_size, self.world_seed)


def exact_singular_values(
    hidden: Float64[np.ndarray, "*batch H"], nuisance_values: int, persistence: float
) -> Float64[np.ndarray, "*batch N"]:
    """{σ_i} ∪ (M − 1) × {ρ σ_i} in decreasing order, from the hidden world's σ_i along the last axis."""
    copies = [hidden, *[persistence * hidden] * (nuisance_values - 1)]
    return -np.sort(-np.concatenate(copies, axis=-1), axis=-1)

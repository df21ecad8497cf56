"""Hidden states of another world, each seen through interchangeable noisy-looking observations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jepa_scale.shapes import Float64
from jepa_scale.worlds.base import ExactWorld
from jepa_scale.worlds.memory import check_fits, check_tables


@dataclass(frozen=True)
class Nuisance(ExactWorld):
    """P((h', m')|(h, m), a) = P_hidden(h'|h, a) / M: which of the M observations of a state is seen is fresh noise.

    M̄(a) has the hidden world's singular values and zeros besides, so rank 25 hidden states stay rank 25 however many
    observations there are; a model that is too wide for its data memorises the nuisance, one that is too narrow loses
    states. An observation is an orthogonal mixture of a random code of its hidden state and a random code of its own.
    Goals count as reached on any observation of the goal's hidden state.

    Raises
    ------
    ValueError
        If there is no observation per state, or the vectors have no coordinate for state or nuisance.
    """

    hidden: ExactWorld
    observations_per_state: int = 8
    """M"""
    observation_size: int = 32
    """D, coordinates of an observation vector."""
    nuisance_size: int = 16
    """Coordinates, before mixing, that tell nothing about the hidden state."""
    world_seed: int = 0

    def __post_init__(self) -> None:
        if self.observations_per_state < 1:
            raise ValueError(
                f"expected at least 1 observation per state, got observations_per_state={self.observations_per_state}"
            )
        check_code_sizes(self.observation_size, self.nuisance_size)

    @property
    def null_action(self) -> int | None:
        """The hidden world's."""
        return self.hidden.null_action

    def kernel(self) -> Float64[np.ndarray, "A N N"]:
        """P(x'|x, a), observations ordered by hidden state."""
        copies, hidden = self.observations_per_state, self.hidden.finite
        check_tables(hidden.actions, hidden.states * copies)
        return np.kron(hidden.transition, np.full((copies, copies), 1 / copies))

    def goal_groups(self, states: int) -> np.ndarray:
        """The hidden state's own goal group."""
        return np.repeat(self.hidden.finite.goal_groups, self.observations_per_state)

    @cached_property
    def observations(self) -> Float64[np.ndarray, "N D"]:
        """An orthogonal mixture of state code and nuisance code, every coordinate of order 1."""
        states = np.repeat(np.arange(self.hidden.finite.states), self.observations_per_state)
        return mixed_codes(states, np.arange(len(states)), self.observation_size, self.nuisance_size, self.world_seed)


def check_code_sizes(observation_size: int, nuisance_size: int) -> None:
    """Refuse observation vectors without a coordinate for the state or for the nuisance.

    Raises
    ------
    ValueError
        If there is none, or a square matrix of their size would not fit into memory.
    """
    if not 1 <= nuisance_size < observation_size:
        raise ValueError(f"expected 1 ≤ nuisance_size < observation_size, got {nuisance_size=}, {observation_size=}")
    check_fits(8 * observation_size**2, f"the mixing of {observation_size} coordinates", "lower observation_size")


def mixed_codes(
    states: np.ndarray, nuisances: np.ndarray, observation_size: int, nuisance_size: int, seed: int
) -> Float64[np.ndarray, "N D"]:
    """Random codes of the state and of the nuisance of each observation, (N,) numbers each, mixed orthogonally."""
    generator = np.random.default_rng(seed)
    state_code = generator.normal(size=(states.max() + 1, observation_size - nuisance_size))
    nuisance_code = generator.normal(size=(nuisances.max() + 1, nuisance_size))
    mixing, _ = np.linalg.qr(generator.normal(size=(observation_size, observation_size)))
    return np.hstack([state_code[states], nuisance_code[nuisances]]) @ mixing

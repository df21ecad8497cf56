"""Gymnasium's toy-text environments, read from their transition tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jepa_scale.shapes import Float64, Int64
from jepa_scale.theory.graph import check_law, recurrent_states
from jepa_scale.worlds.base import ExactWorld
from jepa_scale.worlds.gymnasium_make import make


@dataclass(frozen=True)
class GymnasiumTabular(ExactWorld):
    """P(x'|x, a) of FrozenLake, CliffWalking, Taxi: any environment with a table ``env.unwrapped.P``.

    Play never ends here. A state that an episode ends in is an observation as any other, and from it every action leads
    to a start state, by the environment's start law: p(x) is then the share of observations, terminal ones included,
    in episode after episode of uniformly random play, and a transition out of a terminal state is a restart.
    (The environments' own rows of terminal states loop or walk on, which no episode shows.) Observations that no
    episode shows have p = 0, which M̄ divides by the root of; they are left out: the cliff of CliffWalking, which throws
    back to the start at once, and the 96 states of Taxi whose passenger is at the destination and the taxi elsewhere.
    ``state_numbers`` says which ones remain.

    An observation is a one-hot vector, exact: there is no sensor noise. Rewards are not used.

    Raises
    ------
    ValueError
        If gymnasium is absent, the environment unknown or without a table, an option not one of its own, or one of its
        states both ends episodes and does not.
    """

    environment: str = "FrozenLake-v1"
    """Its id."""
    map_name: str | None = None
    """FrozenLake's map, 4x4 or 8x8; None leaves the environment's default, as in each option."""
    is_slippery: bool | None = None
    """Of FrozenLake and CliffWalking: whether moves go astray."""
    is_rainy: bool | None = None
    """Of Taxi: whether moves go astray."""

    def __post_init__(self) -> None:
        _ = self._table

    @property
    def state_numbers(self) -> Int64[np.ndarray, " N"]:
        """The environment's number of each observation."""
        return self._table[1]

    def kernel(self) -> Float64[np.ndarray, "A N N"]:
        """P(x'|x, a) between the states that play shows."""
        return self._table[0]

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        options = {"map_name": self.map_name, "is_slippery": self.is_slippery, "is_rainy": self.is_rainy}
        played = _make(self.environment, {name: value for name, value in options.items() if value is not None})
        start = np.asarray(played.initial_state_distrib, dtype=np.float64)
        return _endless(_kernel(played.P), _ends(played.P), start, self.environment)


def _make(name: str, options: Mapping[str, Any]) -> Any:
    environment = make("gymnasium_tabular", name, options, "FrozenLake-v1").unwrapped
    if not isinstance(getattr(environment, "P", None), dict) or not hasattr(environment, "initial_state_distrib"):
        raise ValueError(
            f"expected an environment with a table of transitions P and a start law, got {name}, which has none: "
            "choose FrozenLake-v1, CliffWalking-v1 or Taxi-v4"
        )
    return environment


_Outcomes = Mapping[int, Mapping[int, list[tuple[Any, ...]]]]
"""P[x][a] = [(probability, x', reward, whether the episode ended), …]."""


def _kernel(table: _Outcomes) -> np.ndarray:
    kernel = np.zeros((len(table[0]), len(table), len(table)))
    for state, actions in table.items():
        for action, outcomes in actions.items():
            for probability, following, *_ in outcomes:
                kernel[action, state, following] += probability
    return kernel


def _ends(table: _Outcomes) -> np.ndarray:
    """(x, x', 2): whether some transition from x to x' goes on with the episode, and whether some ends it."""
    ended = np.zeros((len(table), len(table), 2), dtype=bool)
    for state, actions in table.items():
        for outcomes in actions.values():
            for _, following, _, ends in outcomes:
                ended[state, following, int(ends)] = True
    return ended


def _endless(kernel: np.ndarray, ended: np.ndarray, start: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The kernel that restarts where episodes end, between the states that it visits for ever, and their numbers."""
    check_law(f"{name}'s table", kernel)
    check_law(f"{name}'s start law", start)
    ends = np.asarray(ended[..., 1].any(0))
    kernel[:, ends] = start
    kept = recurrent_states(kernel, np.full(len(kernel), 1 / len(kernel)))
    # Only from states of play: out of a terminal state, or between states never shown, the table may say anything.
    goes_on = np.asarray(ended[..., 0][kept[~ends[kept]]].any(0))
    mixed = np.flatnonzero(goes_on & ends)
    if len(mixed):
        raise ValueError(
            f"{name}: expected each state to end episodes always or never, got {len(mixed)} that do both, the first is "
            f"{mixed[0]}: when such an episode ends is not a fact of the state, so there is no finite chain of states"
        )
    return kernel[:, kept][:, :, kept], kept

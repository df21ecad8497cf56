"""What every world offers, what one offers that draws trajectories from a seed, and a finite one: exact laws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jepa_scale.records import ActionSpace, Trajectories
from jepa_scale.shapes import Float64
from jepa_scale.theory.graph import FiniteWorld, stationary_law
from jepa_scale.worlds.memory import check_fits

_AT_ONCE = 2048
"""Trajectories that draw at a time: each gathers N numbers, and all at once would outweigh a large data set itself."""


@dataclass(frozen=True)
class KnownSpectrum:
    """Singular values of (x, a) → x⁺ with pooled negatives, in closed form."""

    values: Float64[np.ndarray, " K"]
    """σ_1 = 1 ≥ σ_2 ≥ … as far as they are listed."""
    total: float
    """T = Σ σ_i² of all of them."""

    def tail(self, k: int) -> float:
        """Σ_{i>k} σ_i², for k up to the values that are listed."""
        return max(self.total - float((self.values[:k] ** 2).sum()), 0.0)


class World(ABC):
    """Something that can be observed and acted on."""

    @property
    @abstractmethod
    def observation_shape(self) -> tuple[int, ...]:
        """(D,) of vectors, (H, W, C) of images."""

    @property
    @abstractmethod
    def action_space(self) -> ActionSpace:
        """What an action is."""

    @property
    def task_world(self) -> Any:
        """The ``Arena`` in which tasks of this world are tried; None where there is none."""
        return None

    @property
    def noise_mask(self) -> np.ndarray | None:
        """(D,) which coordinates of an observation are noise that nothing predicts; None where nobody knows."""
        return None

    @property
    def known_spectrum(self) -> KnownSpectrum | None:
        """The spectrum of (x, a) → x⁺ where there is a closed form; a finite world has its own (``ExactWorld``)."""
        return None

    @property
    def eps_obs(self) -> float:
        """Resolution at which spectra are reported: noise on each observed coordinate, in its own deviations.

        A noiseless world has no finite spectrum of its own; it has one at a stated resolution. A finite world's
        spectrum is exact and needs none.
        """
        return 0.05


class SampledWorld(World):
    """A world that draws as many trajectories as are asked for."""

    normalise: bool = False
    """Whether vectors and continuous actions are standardised by the training transitions, in layers of the model."""

    @abstractmethod
    def sample(self, trajectories: int, length: int, seed: int) -> Trajectories:
        """Draw trajectories of ``length`` transitions under the behaviour policy.

        Fewer trajectories from the same seed are a prefix of more.

        Raises
        ------
        ValueError
            If a size is below 1, or the trajectories would not fit into memory.
        """


def check_sizes(trajectories: int, length: int, row_bytes: int = 0) -> None:
    """Refuse what cannot be sampled; ``row_bytes`` are the least that an observation with its action takes.

    Raises
    ------
    ValueError
        If a size is below 1, or the trajectories would not fit into memory.
    """
    if trajectories < 1 or length < 1:
        raise ValueError(f"expected at least 1 trajectory of 1 transition, got {trajectories=}, {length=}")
    drawn = f"{trajectories} trajectories of {length} transitions"
    check_fits(trajectories * (length + 1) * row_bytes, drawn, "draw fewer, or from a world of smaller observations")


class ExactWorld(SampledWorld):
    """A world with finitely many observations, whose truth is computable.

    Contexts follow the stationary law p of the uniform behaviour policy and trajectories start from it, so that every
    transition of a trajectory has the law p(x) π(a) P(x'|x, a).
    """

    @abstractmethod
    def kernel(self) -> Float64[np.ndarray, "A N N"]:
        """P(x'|x, a)."""

    @cached_property
    def finite(self) -> FiniteWorld:
        """The exact world: P, p, π and the goal groups."""
        kernel = self.kernel()
        actions, states, _ = kernel.shape
        policy = np.full(actions, 1 / actions)
        return FiniteWorld(
            transition=kernel,
            context_law=self.context_law(kernel, policy),
            policy=policy,
            goal_groups=self.goal_groups(states),
            null_action=self.null_action,
        )

    def context_law(
        self, kernel: Float64[np.ndarray, "A N N"], policy: Float64[np.ndarray, " A"]
    ) -> Float64[np.ndarray, " N"]:
        """p(x), stationary under the policy; a world whose chain has several such laws says which."""
        return stationary_law(kernel, policy)

    @property
    def null_action(self) -> int | None:
        """The action that does nothing, None where there is none."""
        return None

    def goal_groups(self, states: int) -> np.ndarray:
        """Label of each observation; a goal counts as reached anywhere in its group."""
        return np.arange(states, dtype=np.int64)

    @cached_property
    def observations(self) -> Float64[np.ndarray, "N D"]:
        """The observation vector of each x; one-hot unless the world says otherwise."""
        return np.eye(self.finite.states)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(D,)"""
        return (self.observations.shape[1],)

    @property
    def action_space(self) -> ActionSpace:
        """One of |A| actions."""
        return ActionSpace(self.actions)

    @property
    def actions(self) -> int:
        """|A|"""
        return self.finite.actions

    def sample(self, trajectories: int, length: int, seed: int) -> Trajectories:
        """Draw trajectories of ``length`` transitions under the behaviour policy.

        Fewer trajectories from the same seed are a prefix of more: the uniforms are drawn row by row, trajectory by
        trajectory, before anything is simulated.

        Raises
        ------
        ValueError
            If a size is below 1, or the trajectories would not fit into memory.
        """
        # Observations in float32; actions, states and two uniform numbers for each.
        check_sizes(trajectories, length, 4 * self.observation_shape[0] + 4 * 8)
        world = self.finite
        uniforms = np.random.default_rng(seed).random((trajectories, length + 1, 2))
        actions = _invert(np.cumsum(world.policy), uniforms[:, 1:, 0])
        states = np.empty((trajectories, length + 1), dtype=np.int64)
        states[:, 0] = _invert(np.cumsum(world.context_law), uniforms[:, 0, 1])
        cumulative = np.cumsum(world.transition, axis=-1)
        for step in range(length):
            for first in range(0, trajectories, _AT_ONCE):
                some = slice(first, first + _AT_ONCE)
                rows = cumulative[actions[some, step], states[some, step]]
                drawn = (rows <= uniforms[some, step + 1, 1, None]).sum(-1)
                states[some, step + 1] = np.minimum(drawn, world.states - 1)
        return Trajectories(
            observations=self.observations.astype(np.float32)[states],
            actions=actions,
            states=states,
            seed=seed,
            policy="uniform",
        )


def _invert(cumulative: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Inverse of a cumulative law at each uniform; rounding at the upper end stays inside."""
    index = np.searchsorted(cumulative, uniforms, side="right")
    return np.minimum(index, len(cumulative) - 1).astype(np.int64)

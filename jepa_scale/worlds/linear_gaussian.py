"""A linear-Gaussian world behind an invertible observation: continuous, with its whole truth in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from jepa_scale.records import ActionSpace
from jepa_scale.theory.gaussian import LinearGaussian, product_total, product_values
from jepa_scale.worlds.base import KnownSpectrum
from jepa_scale.worlds.memory import check_fits
from jepa_scale.worlds.simulator import Simulator, Tasks

_LIMIT = 4.0
"""Limit of actions, in deviations of the behaviour policy."""
_KNOWN_VALUES = 4096
"""Singular values that are listed: the default world's hold all but 0.02 of T = 16.1."""


@dataclass(frozen=True)
class LinearGaussianWorld(Simulator):
    """x⁺ = A x + B a + noise_std ε, ε ~ N(0, 1), observed as R φ(x / s) with fresh noise coordinates beside it.

    A = Q diag(λ) Qᵀ with λ spaced evenly from ``slow`` to ``fast``; B has orthonormal columns times ``control``; Q, B
    and R are random rotations of ``world_seed``. s is the stationary deviation of each coordinate and
    φ(u) = u + bend sin u, which is invertible for bend < 1. Trajectories start from the stationary law.

    Behaviour actions are N(0, action_std²) in every coordinate, independent of all else, clipped at the limits
    ±4 action_std of the action space. ``linear_gaussian`` is the law without clipping: that changes 6·10⁻⁵ of the
    actions and 2·10⁻⁵ of their variance. Spectra of the observations are those of x, as the map is invertible and the
    noise coordinates are independent of everything.

    A task of ``required_steps`` T starts from the stationary law; its goal is where T noiseless steps of full actions
    lead, each coordinate at a limit all the time. Its budget is 2 T + 5 steps.

    Raises
    ------
    ValueError
        If a size is out of range, ``slow`` or ``fast`` is outside [0, 1), ``bend`` outside [0, 1), or a scale is not
        positive.
    """

    state_size: int = 4
    action_size: int = 2
    slow: float = 0.8
    """Largest eigenvalue of A."""
    fast: float = 0.3
    """Smallest eigenvalue of A."""
    control: float = 0.3
    action_std: float = 0.25
    noise_std: float = 0.1
    """Of every coordinate of x⁺."""
    bend: float = 0.5
    """How far the observation is from linear, 0 for a rotation."""
    sensor_size: int = 4
    """Coordinates of noise in an observation."""
    sensor_std: float = 0.5
    """Their standard deviation."""
    tolerance: float = 0.3
    world_seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.action_size <= self.state_size or self.sensor_size < 0:
            raise ValueError(
                f"expected 1 ≤ action_size ≤ state_size and sensor_size ≥ 0, got {self.action_size=}, "
                f"{self.state_size=}, {self.sensor_size=}"
            )
        if not 0 <= self.fast <= self.slow < 1 or not 0 <= self.bend < 1:
            raise ValueError(
                f"expected 0 ≤ fast ≤ slow < 1 and bend in [0, 1), got {self.fast=}, {self.slow=}, {self.bend=}"
            )
        scales = (self.control, self.action_std, self.noise_std, self.tolerance)
        if not all(0 < scale < _LARGEST for scale in scales) or not 0 <= self.sensor_std < _LARGEST:
            raise ValueError(
                f"expected control, action_std, noise_std and tolerance in (0, {_LARGEST:g}) and sensor_std ≥ 0, got "
                f"{self.control=}, {self.action_std=}, {self.noise_std=}, {self.tolerance=}, {self.sensor_std=}"
            )
        check_fits(8 * self.state_size**2, f"{self.state_size} coordinates of the state", "lower state_size")

    default_required_steps = (1, 3, 6, 10)
    goal_law = "starts from the stationary law, goals where T noiseless steps of full actions lead"
    budget_rule = "2 T + 5"

    @property
    def start_numbers(self) -> int:  # type: ignore[override]
        """One for each coordinate of the state."""
        return self.state_size

    @property
    def step_numbers(self) -> int:  # type: ignore[override]
        """One for each coordinate of the state."""
        return self.state_size

    @property
    def view_numbers(self) -> int:  # type: ignore[override]
        """One for each noise coordinate."""
        return self.sensor_size

    @property
    def goal_noise(self) -> float:  # type: ignore[override]
        """That of all observations."""
        return self.sensor_std if self.sensor_size else 0.0

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(state_size + sensor_size,)"""
        return (self.state_size + self.sensor_size,)

    @property
    def action_space(self) -> ActionSpace:
        """Limits at four deviations of the behaviour policy."""
        return ActionSpace(None, self.action_size, -_LIMIT * self.action_std, _LIMIT * self.action_std)

    @property
    def noise_mask(self) -> np.ndarray:
        """The last coordinates are noise."""
        return np.arange(self.observation_shape[0]) >= self.state_size

    @property
    def policy_name(self) -> str:
        """Name of the behaviour policy."""
        return "normal"

    @cached_property
    def linear_gaussian(self) -> LinearGaussian:
        """The law of (x, a, x⁺), in float64."""
        generator = np.random.default_rng(self.world_seed)
        size = self.state_size
        turn = _rotation(generator, size)
        control = self.control * _rotation(generator, size)[:, : self.action_size]
        return LinearGaussian(
            turn * np.linspace(self.slow, self.fast, size) @ turn.T,
            control,
            self.action_std**2 * np.eye(self.action_size),
            self.noise_std**2 * np.eye(size),
        )

    @cached_property
    def known_spectrum(self) -> KnownSpectrum:
        """σ_i of (x, a) → x⁺: all products of the canonical correlations (``theory.gaussian.product_values``)."""
        correlations = self.linear_gaussian.joint_correlations
        return KnownSpectrum(product_values(correlations, _KNOWN_VALUES), product_total(correlations))

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Aᵀ, Bᵀ, the upper Cholesky factor of Σ, 1/s, and Rᵀ."""
        law = self.linear_gaussian
        turn = _rotation(np.random.default_rng([self.world_seed, 1]), self.state_size)
        parts = (
            law.transition.T,
            law.control.T,
            np.linalg.cholesky(law.stationary).T,
            1 / np.sqrt(np.diagonal(law.stationary)),
            turn.T,
        )
        first, second, third, fourth, fifth = (torch.as_tensor(part.copy(), dtype=torch.float32) for part in parts)
        return first, second, third, fourth, fifth

    def start(self, uniforms: Tensor) -> Tensor:
        """x ~ N(0, Σ)"""
        return _normal(uniforms) @ self._tensors[2]

    def behave(self, uniforms: Tensor) -> Tensor:
        """N(0, action_std²), clipped at the limits."""
        space = self.action_space
        return (self.action_std * _normal(uniforms)).clamp(space.low, space.high)

    def step(self, states: Tensor, actions: Tensor, normals: Tensor) -> Tensor:
        """A x + B a + noise_std ε; actions beyond their limits act as the limits."""
        move, push = (part.to(states.device) for part in self._tensors[:2])
        space = self.action_space
        return states @ move + actions.clamp(space.low, space.high) @ push + self.noise_std * normals

    def observe(self, states: Tensor, normals: Tensor) -> Tensor:
        """[R φ(x / s), sensor_std ε]"""
        scale, turn = (part.to(states.device) for part in self._tensors[3:])
        unit = states * scale
        return torch.cat([(unit + self.bend * torch.sin(unit)) @ turn, self.sensor_std * normals], dim=-1)

    def tasks(self, required_steps: Sequence[int], each: int, seed: int) -> Tasks:
        """Draw stationary starts and where full actions lead from there."""
        generator = np.random.default_rng(seed)
        starts, goals = [], []
        for steps in required_steps:
            start = self.start(torch.as_tensor(generator.random((each, self.state_size)), dtype=torch.float32))
            signs = torch.as_tensor(generator.choice([-1.0, 1.0], (each, self.action_size)), dtype=torch.float32)
            goal, still = start, torch.zeros_like(start)
            for _ in range(steps):
                goal = self.step(goal, self.action_space.high * signs, still)
            starts.append(start)
            goals.append(goal)
        levels = torch.as_tensor(np.repeat(required_steps, each))
        return Tasks(torch.cat(starts), torch.cat(goals), levels, 2 * levels + 5, tuple(required_steps))

    def position(self, states: Tensor) -> Tensor:
        """All of the state."""
        return states


_LARGEST = 1e15
"""Scale of a world: its squares and sums are float32."""


def _rotation(generator: np.random.Generator, size: int) -> np.ndarray:
    """A uniformly random orthogonal matrix: the signs of R's diagonal would prefer some of them otherwise."""
    factor, triangle = np.linalg.qr(generator.standard_normal((size, size)))
    return np.asarray(factor * np.sign(np.diagonal(triangle)))


def _normal(uniforms: Tensor) -> Tensor:
    """Normal numbers from uniform ones of 24 bits, which a rounding to 0 or 1 would make infinite."""
    return torch.special.ndtri(uniforms.clamp(2.0**-25, 1 - 2.0**-24))

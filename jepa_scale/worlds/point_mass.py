"""A damped point mass among nuisance and noise: the world of the paper's experiment (arXiv:2606.27014, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from jepa_scale.records import ActionSpace
from jepa_scale.worlds.memory import check_fits
from jepa_scale.worlds.simulator import Simulator, Tasks

_LARGEST = 1e30
"""Scale of a box: its squares and sums are float32."""


@dataclass(frozen=True)
class PointMass(Simulator):
    """v' = damping v + action_scale a, p' = p + dt v', in a box with walls that stop what runs into them.

    Observed are the state (p, v), a fixed function tanh(sin(s W₁ + b₁) W₂) of it as nuisance, and coordinates of fresh
    noise. The paper names the equations, the tolerance and the required steps; everything else is chosen here (the
    README lists it).

    A task of ``required_steps`` T starts at rest; its goal lies as far away as T steps of full acceleration carry, in a
    direction that keeps it inside the box, and asks for no velocity. Its budget is 2 T + 5 steps.

    Raises
    ------
    ValueError
        If a scale is not positive, the damping is outside (0, 1], the noise is negative, or the nuisance would not fit
        into memory.
    """

    damping: float = 0.9
    action_scale: float = 0.1
    dt: float = 0.1
    arena: float = 1.0
    """Half the side of the box."""
    nuisance_size: int = 16
    nuisance_scale: float = 0.3
    """Standard deviation of W₁: how much the nuisance bends. At 1, distances between observations have so many false
    minima that even perfect dynamics cannot plan by them."""
    noise_size: int = 16
    noise_std: float = 0.0
    """Standard deviation of the noise coordinates."""
    noisy_goal: bool = True
    """Whether the goal is observed with noise, as everything else; False: its noise coordinates are 0."""
    tolerance: float = 0.08
    world_seed: int = 0

    def __post_init__(self) -> None:
        scales = (self.action_scale, self.dt, self.arena, self.tolerance)
        if not all(0 < scale < _LARGEST for scale in scales) or not 0 < self.damping <= 1:
            raise ValueError(
                f"expected action_scale, dt, arena and tolerance in (0, {_LARGEST:g}), and damping in (0, 1], got "
                f"{self.action_scale=}, {self.dt=}, {self.arena=}, {self.tolerance=}, {self.damping=}"
            )
        if not 0 <= self.noise_std < float("inf") or min(self.nuisance_size, self.noise_size) < 0:
            raise ValueError(
                f"expected sizes and noise_std ≥ 0, got {self.nuisance_size=}, {self.noise_size=}, {self.noise_std=}"
            )
        check_fits(8 * self.nuisance_size**2, f"{self.nuisance_size} coordinates of nuisance", "lower nuisance_size")

    state_size = 4
    start_numbers = 4
    default_required_steps = (1, 5, 10, 15, 20, 25)
    goal_law = (
        "starts at rest, goals as far as T steps of full acceleration carry, in directions that stay inside the box"
    )
    budget_rule = "2 T + 5"

    @property
    def view_numbers(self) -> int:  # type: ignore[override]
        """One for each noise coordinate."""
        return self.noise_size

    @property
    def goal_noise(self) -> float:  # type: ignore[override]
        """That of all observations, unless goals are observed without."""
        return self.noise_std if self.noisy_goal and self.noise_size else 0.0

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(4 + nuisance + noise,)"""
        return (4 + self.nuisance_size + self.noise_size,)

    @property
    def action_space(self) -> ActionSpace:
        """Acceleration in [−1, 1]²."""
        return ActionSpace(None, 2)

    @property
    def noise_mask(self) -> np.ndarray:
        """The last coordinates are noise."""
        return np.arange(self.observation_shape[0]) >= 4 + self.nuisance_size

    @property
    def top_speed(self) -> float:
        """Speed at which damping and full acceleration along one axis balance; ∞ without damping."""
        return self.action_scale / (1 - self.damping) if self.damping < 1 else float("inf")

    def start(self, uniforms: Tensor) -> Tensor:
        """Uniform positions, and velocities uniform up to half the top speed."""
        centred = 2 * uniforms - 1
        speed = 0.5 * min(self.top_speed, 1.0)
        return torch.cat([self.arena * centred[..., :2], speed * centred[..., 2:]], dim=-1)

    def step(self, states: Tensor, actions: Tensor, normals: Tensor) -> Tensor:
        """One step; actions beyond their limits act as the limits."""
        del normals
        position, velocity = states[..., :2], states[..., 2:]
        velocity = self.damping * velocity + self.action_scale * actions.clamp(-1, 1)
        free = position + self.dt * velocity
        inside = free.clamp(-self.arena, self.arena)
        return torch.cat([inside, torch.where(free == inside, velocity, 0.0)], dim=-1)

    @cached_property
    def _nuisance(self) -> tuple[Tensor, Tensor, Tensor]:
        generator = np.random.default_rng(self.world_seed)
        size = self.nuisance_size
        inward = self.nuisance_scale * generator.standard_normal((4, size))
        biases = generator.uniform(-np.pi, np.pi, size)
        outward = generator.standard_normal((size, size)) / np.sqrt(max(size, 1))
        first, second, third = (torch.as_tensor(part, dtype=torch.float32) for part in (inward, biases, outward))
        return first, second, third

    def observe(self, states: Tensor, normals: Tensor) -> Tensor:
        """[p, v, tanh(sin(s W₁ + b₁) W₂), σ ε]"""
        inward, biases, outward = (part.to(states.device) for part in self._nuisance)
        nuisance = torch.tanh(torch.sin(states @ inward + biases) @ outward)
        return torch.cat([states, nuisance, self.noise_std * normals], dim=-1)

    def goal_view(self, goals: Tensor, normals: Tensor) -> Tensor:
        """With or without noise."""
        return self.observe(goals, normals if self.noisy_goal else torch.zeros_like(normals))

    def reach(self, steps: int) -> float:
        """Distance that ``steps`` steps of full acceleration along one axis cover from rest."""
        speed = distance = 0.0
        for _ in range(steps):
            speed = self.damping * speed + self.action_scale
            distance += self.dt * speed
        return distance

    def tasks(self, required_steps: Sequence[int], each: int, seed: int) -> Tasks:
        """Draw starts at rest and goals at the distance of each difficulty.

        Raises
        ------
        ValueError
            If a goal would lie farther away than the box is wide.
        """
        generator = np.random.default_rng(seed)
        starts, goals = [], []
        for steps in required_steps:
            distance = self.reach(steps)
            if distance >= 2 * self.arena:
                raise ValueError(
                    f"expected goals inside the box, got required_steps={steps}: {distance:.3g} is beyond its side "
                    f"{2 * self.arena:.3g}"
                )
            found = _pairs(generator, each, distance, self.arena)
            starts.append(found[:, :2])
            goals.append(found[:, 2:])
        still = np.zeros((each * len(starts), 2))
        levels = np.repeat(required_steps, each)
        return Tasks(
            torch.as_tensor(np.hstack([np.concatenate(starts), still]), dtype=torch.float32),
            torch.as_tensor(np.hstack([np.concatenate(goals), still]), dtype=torch.float32),
            torch.as_tensor(levels),
            torch.as_tensor(2 * levels + 5),
            tuple(required_steps),
        )

    def position(self, states: Tensor) -> Tensor:
        """(…, 4) → (…, 2)"""
        return states[..., :2]


def _pairs(generator: np.random.Generator, count: int, distance: float, arena: float) -> np.ndarray:
    """Uniform starts and directions, kept where the goal is inside the box: (count, 4)."""
    found = np.empty((0, 4))
    while len(found) < count:
        start = generator.uniform(-arena, arena, (4 * count, 2))
        angle = generator.uniform(0, 2 * np.pi, 4 * count)
        goal = start + distance * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        kept = (np.abs(goal) <= arena).all(1)
        found = np.concatenate([found, np.hstack([start, goal])[kept]])
    return found[:count]

"""A simulator among distractors that no action moves: fresh noise, a frozen background, or one that drifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from jepa_scale.records import ActionSpace
from jepa_scale.worlds.simulator import Simulator, Tasks


@dataclass(frozen=True)
class Distractors(Simulator):
    """b_j' = ρ b_j + √(1 − ρ²) ε_j beside the state of another simulator, b_j ~ N(0, 1) at the start and ever after.

    ρ = 0 is fresh noise, ρ = 1 a background that stays for a whole trajectory, anything between drifts. Vectors show
    scale · b as further coordinates. Images show it as a pattern, Σ_j b_j w_j of fixed waves w_j, added to every pixel
    with a deviation of about ``scale`` bytes and cut to 0 … 255. The action does not enter and goals ignore b: the
    state of a goal has a background of its own, drawn with it.

    b is independent of the rest, so the operator (x, a) → x⁺ is a tensor product, and that of a Gaussian AR(1) has the
    singular values 1, ρ, ρ², … (Mehler): every σ_i of the inner world comes times {1, ρ, ρ², …}, once for each
    coordinate, and T = Σ σ² is multiplied by (1 − ρ²)^−size. Observed with noise ε on both sides, in deviations of b, ρ
    is ρ / (1 + ε²) (``spectrum_factor``). Fresh noise costs nothing; a frozen background has no finite T but at ε > 0.

    Raises
    ------
    ValueError
        If ρ is outside [0, 1], there is no coordinate, or the scale is not positive.
    """

    inner: Simulator
    persistence: float = 0.9
    """ρ, correlation from one step to the next."""
    size: int = 4
    """Coordinates of b."""
    scale: float = 1.0
    """Standard deviation of each further coordinate; of images about that of a pixel, in bytes."""
    world_seed: int = 0
    """Of the waves of images."""

    def __post_init__(self) -> None:
        if not 0 <= self.persistence <= 1:
            raise ValueError(
                f"expected a correlation in [0, 1], got persistence={self.persistence}: 0 is fresh noise, 1 is frozen"
            )
        if self.size < 1 or not 0 < self.scale < float("inf"):
            raise ValueError(f"expected size ≥ 1 and scale > 0, got {self.size=}, {self.scale=}")

    @property
    def state_size(self) -> int:  # type: ignore[override]
        """The inner state and b."""
        return self.inner.state_size + self.size

    @property
    def start_numbers(self) -> int:  # type: ignore[override]
        """The inner world's and one for each b_j."""
        return self.inner.start_numbers + self.size

    @property
    def step_numbers(self) -> int:  # type: ignore[override]
        """The inner world's and one for each b_j."""
        return self.inner.step_numbers + self.size

    @property
    def view_numbers(self) -> int:  # type: ignore[override]
        """The inner world's."""
        return self.inner.view_numbers

    @property
    def tolerance(self) -> float:  # type: ignore[override]
        """The inner world's."""
        return self.inner.tolerance

    @property
    def default_required_steps(self) -> tuple[int, ...]:  # type: ignore[override]
        """The inner world's."""
        return self.inner.default_required_steps

    @property
    def goal_law(self) -> str:  # type: ignore[override]
        """The inner world's, with backgrounds of their own."""
        return f"{self.inner.goal_law}; start and goal each with a background of its own"

    @property
    def budget_rule(self) -> str:  # type: ignore[override]
        """The inner world's."""
        return self.inner.budget_rule

    @property
    def goal_noise(self) -> float:  # type: ignore[override]
        """The inner world's; the background of a goal is not noise, but another one than that of the start."""
        return self.inner.goal_noise

    @property
    def eps_obs(self) -> float:
        """The inner world's."""
        return self.inner.eps_obs

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(D + size,) of vectors, the inner world's of images."""
        shape = self.inner.observation_shape
        return shape if self._images else (shape[0] + self.size,)

    @property
    def action_space(self) -> ActionSpace:
        """The inner world's."""
        return self.inner.action_space

    @property
    def noise_mask(self) -> np.ndarray | None:
        """The inner world's, and the further coordinates where nothing predicts them."""
        if self._images:
            return self.inner.noise_mask
        known = self.inner.noise_mask
        inner = np.zeros(self.inner.observation_shape[0], dtype=bool) if known is None else known
        return np.append(inner, np.full(self.size, self.persistence == 0))

    @property
    def policy_name(self) -> str:
        """The inner world's."""
        return self.inner.policy_name

    def behave(self, uniforms: Tensor) -> Tensor:
        """As in the inner world."""
        return self.inner.behave(uniforms)

    def start(self, uniforms: Tensor) -> Tensor:
        """The inner start law, and b ~ N(0, 1)."""
        own = uniforms[..., self.inner.start_numbers :]
        # A uniform number may be 0, whose normal quantile is −∞.
        background = torch.special.ndtri(own.double().clamp(1e-9, 1 - 1e-9)).to(own.dtype)
        return torch.cat([self.inner.start(uniforms[..., : self.inner.start_numbers]), background], dim=-1)

    def step(self, states: Tensor, actions: Tensor, normals: Tensor) -> Tensor:
        """The inner step, and b one step on."""
        states, background = self._parts(states)
        split = self.inner.step_numbers
        moved = self.inner.step(states, actions, normals[..., :split])
        drift = (1 - self.persistence**2) ** 0.5 * normals[..., split:]
        return torch.cat([moved, self.persistence * background + drift], dim=-1)

    def observe(self, states: Tensor, normals: Tensor) -> Tensor:
        """What the inner world shows, and b."""
        states, background = self._parts(states)
        return self._with(self.inner.observe(states, normals), background)

    def goal_view(self, goals: Tensor, normals: Tensor) -> Tensor:
        """What the inner world shows of a goal, and the b that was drawn with it."""
        goals, background = self._parts(goals)
        return self._with(self.inner.goal_view(goals, normals), background)

    def tasks(self, required_steps: Sequence[int], each: int, seed: int) -> Tasks:
        """The inner world's tasks, each start and each goal with a background of its own.

        Raises
        ------
        ValueError
            As in the inner world.
        """
        tasks = self.inner.tasks(required_steps, each, seed)
        drawn = np.random.default_rng([seed, 1]).standard_normal((2, len(tasks), self.size))
        starts, goals = (
            torch.cat([states, torch.as_tensor(background, dtype=states.dtype)], dim=-1)
            for states, background in zip((tasks.starts, tasks.goals), drawn, strict=True)
        )
        return replace(tasks, starts=starts, goals=goals)

    def position(self, states: Tensor) -> Tensor:
        """The inner world's."""
        return self.inner.position(self._parts(states)[0])

    def distance(self, states: Tensor, goals: Tensor) -> Tensor:
        """The inner world's."""
        return self.inner.distance(self._parts(states)[0], self._parts(goals)[0])

    @property
    def _images(self) -> bool:
        return len(self.inner.observation_shape) == 3

    def _parts(self, states: Tensor) -> tuple[Tensor, Tensor]:
        return states[..., : self.inner.state_size], states[..., self.inner.state_size :]

    def _with(self, observed: Tensor, background: Tensor) -> Tensor:
        if not self._images:
            return torch.cat([observed, self.scale * background], dim=-1)
        pattern = (background @ self._waves.to(background.device)).view(-1, *observed.shape[1:3], 1)
        return (observed + pattern).round_().clamp_(0, 255).to(torch.uint8)

    @cached_property
    def _waves(self) -> Tensor:
        """(size, H · W) plane waves of up to 3 periods across an image; Σ_j b_j w_j deviates by about ``scale``."""
        height, width = self.inner.observation_shape[:2]
        generator = np.random.default_rng(self.world_seed)
        periods = generator.uniform(-3, 3, (2, self.size, 1, 1))
        rows, columns = np.mgrid[:height, :width]
        phases = generator.uniform(0, 2 * np.pi, (self.size, 1, 1))
        angles = 2 * np.pi * (periods[0] * rows / height + periods[1] * columns / width) + phases
        waves = self.scale * np.sqrt(2 / self.size) * np.cos(angles)
        return torch.as_tensor(waves.reshape(self.size, -1), dtype=torch.float32)


def spectrum_factor(persistence: float, size: int, eps: float = 0.0) -> float:
    """(1 − r²)^−size with r = ρ / (1 + ε²): what T of the inner world is multiplied by, seen at resolution ε.

    Raises
    ------
    ValueError
        If r is 1: T of a frozen background is infinite.
    """
    seen = persistence / (1 + eps**2)
    if seen >= 1:
        raise ValueError(f"expected ρ < 1 or ε > 0, got {persistence=}, {eps=}: T of a frozen background is infinite")
    return float((1 - seen**2) ** -size)

"""Two rooms with a door between them, seen as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from jepa_scale.records import ActionSpace
from jepa_scale.worlds.simulator import Simulator, Tasks

_AGENT = (220.0, 40.0, 40.0)
_WALL = (60.0, 60.0, 70.0)
_FLOOR = (235.0, 235.0, 225.0)


@dataclass(frozen=True)
class TwoRooms(Simulator):
    """A dot that moves by its action through the unit square, stopped by a wall in the middle that has one door.

    p' = p + step · a, with |a| cut to 1. A move that would cross the wall beside the door, or leave the square, stops
    in front of it. Observed is an image of the square; the state (x, y) is what it shows. In the manner of the two-room
    worlds of PLDM (arXiv:2502.14819) and of eb_jepa, with a layout that never changes.

    A task of ``required_steps`` T has its goal T steps away, by the shortest way through the door where that lies
    between them (to half a step). Its budget is 2 T + 5 steps.

    Raises
    ------
    ValueError
        If the image is smaller than 8 pixels, the door is outside the wall, or a step could jump the wall.
    """

    size: int = 32
    """Pixels a side."""
    step_size: float = 0.08
    door: float = 0.3
    """Height of the door's middle."""
    door_width: float = 0.2
    wall_width: float = 0.06
    dot: float = 0.04
    """Standard deviation of the dot that stands for the agent."""
    tolerance: float = 0.07
    """4.5 of 65 pixels, as in eb_jepa."""

    def __post_init__(self) -> None:
        half = self.door_width / 2
        if self.size < 8 or not half <= self.door <= 1 - half or not 0 < self.wall_width < 0.5:
            raise ValueError(
                "expected an image of at least 8 pixels, a door inside the wall and a wall narrower than a room, got "
                f"{self.size=}, {self.door=}, {self.door_width=}, {self.wall_width=}"
            )
        if not 0 < self.step_size < 0.5 or not all(0 < one < float("inf") for one in (self.dot, self.tolerance)):
            raise ValueError(
                f"expected 0 < step_size < 0.5, dot > 0 and tolerance > 0, got {self.step_size=}, {self.dot=}, "
                f"{self.tolerance=}"
            )

    state_size = 2
    start_numbers = 2
    default_required_steps = (3, 6, 9)
    goal_law = "starts and goals uniform over both rooms, kept where the shortest way takes T steps to half a step"
    budget_rule = "2 T + 5"

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(size, size, 3)"""
        return (self.size, self.size, 3)

    @property
    def action_space(self) -> ActionSpace:
        """Displacement in units of a step, [−1, 1]²."""
        return ActionSpace(None, 2)

    @property
    def _wall(self) -> tuple[float, float]:
        return 0.5 - self.wall_width / 2, 0.5 + self.wall_width / 2

    def start(self, uniforms: Tensor) -> Tensor:
        """Uniform over both rooms; nobody starts inside the wall."""
        left, right = self._wall
        across = uniforms[..., 0] * (1 - self.wall_width)
        across = torch.where(across < left, across, across + right - left)
        return torch.stack([across, uniforms[..., 1]], dim=-1)

    def step(self, states: Tensor, actions: Tensor, normals: Tensor) -> Tensor:
        """One step: first up or down, then across, so that nobody slips through a corner of the door."""
        del normals
        moves = self.step_size * actions / actions.norm(dim=-1, keepdim=True).clamp(min=1)
        height = (states[..., 1] + moves[..., 1]).clamp(0, 1)
        left, right = self._wall
        before, after = states[..., 0], (states[..., 0] + moves[..., 0]).clamp(0, 1)
        through = (height - self.door).abs() <= self.door_width / 2
        # Inside the door frame nobody moves into its posts either.
        inside = (before > left) & (before < right)
        height = torch.where(inside & ~through, states[..., 1], height)
        through = through | inside
        stopped = torch.where(
            (before <= left) & (after > left), left, torch.where((before >= right) & (after < right), right, after)
        )
        return torch.stack([torch.where(through, after, stopped), height], dim=-1)

    @cached_property
    def _background(self) -> Tensor:
        """(size, size, 3) floor and wall."""
        centres = (torch.arange(self.size) + 0.5) / self.size
        left, right = self._wall
        # At least one column of pixels, however narrow the wall.
        column = (centres > left) & (centres < right) | ((centres - 0.5).abs() < 0.5 / self.size + 1e-6)
        row = (centres - self.door).abs() > self.door_width / 2
        wall = (row[:, None] & column[None, :])[..., None]
        return torch.where(wall, torch.tensor(_WALL), torch.tensor(_FLOOR))

    def observe(self, states: Tensor, normals: Tensor) -> Tensor:
        """Images (B, size, size, 3), bytes; row 0 is at height 0."""
        del normals
        centres = (torch.arange(self.size, device=states.device) + 0.5) / self.size
        along = torch.exp(-((centres - states[:, :, None]) ** 2) / (2 * self.dot**2))
        covered = (along[:, 1, :, None] * along[:, 0, None, :])[..., None]
        background = self._background.to(states.device)
        contrast = torch.tensor(_AGENT, device=states.device) - background
        return torch.addcmul(background, covered, contrast).to(torch.uint8)

    def path_length(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Length of the shortest way, (B, 2), (B, 2) → (B,), through the middle of the door if rooms differ."""
        door = np.array([0.5, self.door])
        straight = np.linalg.norm(starts - goals, axis=1)
        around = np.linalg.norm(starts - door, axis=1) + np.linalg.norm(goals - door, axis=1)
        return np.where((starts[:, 0] < 0.5) == (goals[:, 0] < 0.5), straight, around)

    def tasks(self, required_steps: Sequence[int], each: int, seed: int) -> Tasks:
        """Draw starts and goals uniformly over the rooms and keep pairs of each difficulty.

        Raises
        ------
        ValueError
            If hardly any pair is so far apart.
        """
        generator = np.random.default_rng(seed)
        found: dict[int, list[np.ndarray]] = {steps: [] for steps in required_steps}
        for _ in range(_ATTEMPTS):
            drawn = torch.as_tensor(generator.random((4096, 2, 2)), dtype=torch.float32)
            pairs = self.start(drawn).numpy()
            length = self.path_length(pairs[:, 0], pairs[:, 1]) / self.step_size
            for steps, kept in found.items():
                kept.append(pairs[np.abs(length - steps) <= 0.5])
            if all(sum(map(len, kept)) >= each for kept in found.values()):
                break
        chosen = {steps: np.concatenate(kept)[:each] for steps, kept in found.items()}
        short = [steps for steps, pairs in chosen.items() if len(pairs) < each]
        if short:
            raise ValueError(
                f"expected distances that occur in the rooms, got required_steps={short}: the longest way takes about "
                f"{2 / self.step_size:.0f} steps"
            )
        pairs = np.concatenate([chosen[steps] for steps in required_steps])
        levels = np.repeat(required_steps, each)
        starts, goals = torch.as_tensor(pairs[:, 0]), torch.as_tensor(pairs[:, 1])
        return Tasks(starts, goals, torch.as_tensor(levels), torch.as_tensor(2 * levels + 5), tuple(required_steps))

    def position(self, states: Tensor) -> Tensor:
        """The state itself."""
        return states


_ATTEMPTS = 200
"""Times 4096 pairs that are drawn before a distance counts as one that does not occur."""

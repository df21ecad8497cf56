"""What a planner of continuous actions is: frozen settings, and a law of plans that is improved step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from jepa_scale.records import ActionSpace

Cost = Callable[[Tensor], Tensor]
"""Cost of plans: (B, candidates, H, size) → (B, candidates)."""


class Planner(Protocol):
    """All randomness comes in from outside, so that a task's plan does not depend on who else plans."""

    @property
    def horizon(self) -> int:
        """H, steps of a plan."""

    @property
    def score(self) -> str:
        """What plans are ranked by; names the run's regret."""

    @property
    def path(self) -> bool:
        """Whether plans are ranked by all their steps."""

    @property
    def ignore_noise(self) -> bool:
        """Whether distances between observations leave the world's noise coordinates out."""

    def draw(self, tasks: int, space: ActionSpace, generator: torch.Generator) -> Tensor:
        """Numbers for one plan of each task: (iterations, B, …)."""

    def init(
        self, tasks: int, space: ActionSpace, device: torch.device | str = "cpu", warm: Tensor | None = None
    ) -> Any:
        """State before the first iteration; ``warm`` (B, H, size) is a plan to start from."""

    def step(self, state: Any, cost: Cost, drawn: Tensor, space: ActionSpace) -> Any:
        """State after one more iteration with the numbers ``drawn`` (B, …)."""

    def best(self, state: Any) -> Tensor:
        """The plan to execute, (B, H, size)."""


def plan(planner: Planner, cost: Cost, drawn: Tensor, space: ActionSpace, warm: Tensor | None = None) -> Tensor:
    """Plan with the numbers of ``planner.draw``: → (B, H, size)."""
    state = planner.init(drawn.shape[1], space, drawn.device, warm)
    for numbers in drawn:
        state = planner.step(state, cost, numbers, space)
    return planner.best(state)

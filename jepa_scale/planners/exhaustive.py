"""Exhaustive open-loop search over all action sequences of a finite action set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.records import GoalLaw, Score
from jepa_scale.theory.planning import PlanningProblem
from jepa_scale.theory.scores import SCORES


@dataclass(frozen=True)
class Exhaustive:
    """Roll every plan out in latent space and take the best by ``score``.

    Raises
    ------
    ValueError
        If the score or goal law is unknown, or the horizon is below 1.
    """

    horizon: int = 1
    score: Score = "density"
    goal_law: GoalLaw = "reachable"

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ValueError(f"expected a score from {sorted(SCORES)}, got {self.score!r}")
        _ = self.problem

    @property
    def problem(self) -> PlanningProblem:
        """The planning problem that the plans are judged on."""
        return PlanningProblem(self.horizon, self.goal_law)

    def roll_out(self, predict: Callable[[Tensor, Tensor], Tensor], starts: Tensor, actions: int) -> Tensor:
        """ẑ_T of every plan: ẑ_{t+1} = g(ẑ_t, a_t) from ẑ_0 = f(x_0) (N, k) → (|A|^T, N, k), first action slowest."""
        reached = starts[None]
        for _ in range(self.horizon):
            plans, rows, width = reached.shape
            spread = reached[:, None].expand(plans, actions, rows, width)
            choice = torch.arange(actions, device=starts.device)[None, :, None].expand(plans, actions, rows)
            reached = predict(spread, choice).reshape(plans * actions, rows, width)
        return reached

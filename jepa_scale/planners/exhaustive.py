"""Exhaustive open-loop search over all action sequences of a finite action set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.planners.base import DiscretePlanner
from jepa_scale.records import Score
from jepa_scale.theory.scores import SCORES


@dataclass(frozen=True)
class Exhaustive(DiscretePlanner):
    """Roll every plan out in latent space and take the best by ``score``.

    Raises
    ------
    ValueError
        If the score or goal law is unknown, or the horizon is below 1.
    """

    score: Score = "density"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.score not in SCORES:
            raise ValueError(f"expected a score from {sorted(SCORES)}, got {self.score!r}")


def roll_out_all(predict: Callable[[Tensor, Tensor], Tensor], starts: Tensor, actions: int, horizon: int) -> Tensor:
    """ẑ_T of every plan: ẑ_{t+1} = g(ẑ_t, a_t) from ẑ_0 = f(x_0) (N, k) → (|A|^T, N, k), first action slowest."""
    reached = starts[None]
    for _ in range(horizon):
        plans, rows, width = reached.shape
        spread = reached[:, None].expand(plans, actions, rows, width)
        choice = torch.arange(actions, device=starts.device)[None, :, None].expand(plans, actions, rows)
        reached = predict(spread, choice).reshape(plans * actions, rows, width)
    return reached

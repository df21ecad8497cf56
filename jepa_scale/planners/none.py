"""No planning: for data whose world cannot be stepped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NoPlanner:
    """Nothing is planned, so neither regret nor success is logged; what is estimated of the model is all there is."""

    score: str = "none"
    """Studies look for their regret under the score's name; there is none."""

    def __post_init__(self) -> None:
        if self.score != "none":
            raise ValueError(f"expected score=none, as nothing is planned, got {self.score!r}")

"""How models are tried by planning with them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """Tasks that planning is tried on; part of every number that comes of them.

    Raises
    ------
    ValueError
        If a number of episodes or steps is below 1.
    """

    episodes: int = 50
    """Tasks of each difficulty."""
    same_cost_episodes: int | None = None
    """The first so many of them are also planned with true dynamics and the model's distances; None: all, 0: none.
    Every step that such a plan looks at is observed and encoded: with images that is most of an evaluation."""
    required_steps: tuple[int, ...] | None = None
    """Difficulties; None: the world's own."""

    def __post_init__(self) -> None:
        if self.required_steps is not None:
            # A list in a configuration: a tuple can be hashed, as the settings of an evaluation must be.
            object.__setattr__(self, "required_steps", tuple(self.required_steps))
        if self.episodes < 1:
            raise ValueError(f"expected episodes ≥ 1, got {self.episodes=}")
        if self.same_cost_episodes is not None and self.same_cost_episodes < 0:
            raise ValueError(f"expected same_cost_episodes ≥ 0 or null, got {self.same_cost_episodes=}")
        if self.required_steps is not None and (not self.required_steps or min(self.required_steps) < 1):
            raise ValueError(f"expected numbers of steps ≥ 1, got {self.required_steps=}")

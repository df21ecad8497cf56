"""How models are tried by planning with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Success = Literal["any_time", "final"]
"""Whether a task is solved if the goal is reached at any step of the budget, or if the last step ends there."""


@dataclass(frozen=True)
class Evaluation:
    """Tasks that planning is tried on; part of every number that comes of them.

    Raises
    ------
    ValueError
        If a number of episodes, steps or tasks at a time is below 1, or success at the end is asked of episodes that end
        at their goal.
    """

    episodes: int = 50
    """Tasks of each difficulty."""
    same_cost_episodes: int | None = None
    """The first so many of them are also planned with true dynamics and the model's distances; None: all, 0: none.
    Every step that such a plan looks at is observed and encoded: with images that is most of an evaluation."""
    required_steps: tuple[int, ...] | None = None
    """Difficulties; None: the world's own."""
    success: Success = "any_time"
    """Which of the two is the headline and makes the regret; both are measured where episodes run on."""
    stop_at_goal: bool = False
    """Whether an episode ends when its goal is reached: that saves planning, but success at the end is not known."""
    keep_solved: bool = False
    """Whether tasks whose start already lies at the goal count. Otherwise they are removed, and counted as such."""
    pairs: int | None = None
    """Start/goal pairs that are planned for at a time, which bounds memory; None: all of them."""

    def __post_init__(self) -> None:
        if self.required_steps is not None:
            # A list in a configuration: a tuple can be hashed, as the settings of an evaluation must be.
            object.__setattr__(self, "required_steps", tuple(self.required_steps))
        if self.episodes < 1:
            raise ValueError(f"expected episodes ≥ 1, got {self.episodes=}")
        if self.success not in get_args(Success):
            raise ValueError(f"expected success=any_time or final, got {self.success!r}")
        if self.stop_at_goal and self.success == "final":
            raise ValueError(
                "expected success=any_time with stop_at_goal=true, as an episode that ends at its goal does not say whether "
                "it would have stayed there, got success='final'"
            )
        if self.pairs is not None and self.pairs < 1:
            raise ValueError(f"expected pairs ≥ 1 or null, got {self.pairs=}")
        if self.same_cost_episodes is not None and self.same_cost_episodes < 0:
            raise ValueError(f"expected same_cost_episodes ≥ 0 or null, got {self.same_cost_episodes=}")
        if self.required_steps is not None and (not self.required_steps or min(self.required_steps) < 1):
            raise ValueError(f"expected numbers of steps ≥ 1, got {self.required_steps=}")

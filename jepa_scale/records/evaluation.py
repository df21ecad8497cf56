"""Settings and records of the evaluation of models by planning with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from jepa_scale.records.runs import Estimate

Success = Literal["any_time", "final"]
"""Whether a task is solved if the goal is reached at any step of the budget, or if the last step ends there."""


@dataclass(frozen=True)
class Evaluation:
    """Settings of the tasks on which planning is evaluated; every number obtained depends on them.

    Raises
    ------
    ValueError
        If a number of episodes, steps or pairs is below 1, or success at the end is asked of episodes that end at their
        goal.
    """

    episodes: int = 50
    """Number of tasks of each difficulty."""
    same_cost_episodes: int | None = None
    """The first so many of them are also planned with true dynamics and the model's distances; None: all, 0: none.
    Every step that such a plan looks at is observed and encoded: with images that is most of an evaluation."""
    required_steps: tuple[int, ...] | None = None
    """Difficulties, as numbers of required steps; None: the world's own."""
    success: Success = "any_time"
    """Definition of success in the headline and in the regret; both are measured where episodes run on."""
    stop_at_goal: bool = False
    """Whether an episode ends when its goal is reached: this saves planning, but hides success at the end."""
    keep_solved: bool = False
    """Whether tasks whose start already lies at the goal count. Otherwise they are removed, and counted as such."""
    pairs: int | None = None
    """Number of start/goal pairs planned for at a time, which bounds memory; None: all of them."""

    def __post_init__(self) -> None:
        steps = self.required_steps
        if steps is not None:
            if not isinstance(steps, list | tuple) or any(type(step) is not int for step in steps):
                raise ValueError(f"expected whole numbers of steps such as [3, 6], or null, got required_steps={steps}")
            # A list in a configuration: a tuple can be hashed, as the settings of an evaluation must be.
            object.__setattr__(self, "required_steps", tuple(steps))
        if self.episodes < 1:
            raise ValueError(f"expected episodes ≥ 1, got {self.episodes=}")
        if self.success not in get_args(Success):
            raise ValueError(f"expected success=any_time or final, got {self.success!r}")
        if self.stop_at_goal and self.success == "final":
            raise ValueError(
                "expected success=any_time with stop_at_goal=true, as an episode that ends at its goal does not say "
                "whether it would have stayed there, got success='final'"
            )
        if self.pairs is not None and self.pairs < 1:
            raise ValueError(f"expected pairs ≥ 1 or null, got {self.pairs=}")
        if self.same_cost_episodes is not None and self.same_cost_episodes < 0:
            raise ValueError(f"expected same_cost_episodes ≥ 0 or null, got {self.same_cost_episodes=}")
        if self.required_steps is not None and (not self.required_steps or min(self.required_steps) < 1):
            raise ValueError(f"expected numbers of steps ≥ 1, got {self.required_steps=}")


@dataclass(frozen=True)
class TaskOutcomes:
    """Outcome of each task under one policy, for comparisons that pair tasks."""

    numbers: Sequence[int]
    """Index of each task among all that were drawn."""
    ever: Sequence[bool]
    """Whether the goal was reached at any step of the budget."""
    final: Sequence[bool] | None
    """Whether the episode ended at its goal; None where episodes end when the goal is reached."""
    first: Sequence[int | None]
    """Number of steps after which the goal was first reached; None: never."""


@dataclass(frozen=True)
class EvaluationRecord:
    """Evaluation of one checkpoint; the same checkpoint and settings give the same record."""

    checkpoint: str
    """SHA-256 of the checkpoint file."""
    run_id: str
    """Id of the run that wrote the checkpoint."""
    trained: str
    """``pretrained``, or ``fine-tuned`` and how."""
    settings: Mapping[str, Any]
    """Everything that the numbers depend on: world, planner, evaluation, data sizes, seed, threads, device."""
    protocol: Mapping[str, Any]
    """How success and regret were measured, as in ``RunRecord.protocol``."""
    estimates: Sequence[Estimate]
    required_steps: Sequence[int]
    """Required steps of every task that was drawn, removed ones included; empty if there are none."""
    outcomes: Mapping[str, TaskOutcomes]
    """Outcomes of the tasks by policy."""
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries and lists, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PairedDifference:
    """Success of a model minus that of a reference on the same tasks."""

    kind: Success
    value: float
    standard_error: float | None
    """Standard error of the paired difference over tasks; None for a single task."""
    n: int
    """Number of tasks on which both were evaluated."""
    only_model: int
    """Number of tasks that the model alone solves."""
    only_reference: int
    p: float
    """Exact two-sided McNemar p value."""

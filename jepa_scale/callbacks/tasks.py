"""The tasks that models are evaluated on, and the protocol of the evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from jepa_scale.callbacks.base import Context
from jepa_scale.planners.base import DiscretePlanner, Search
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import Evaluation
from jepa_scale.streams import stream_seed
from jepa_scale.worlds.arena import Arena, Tasks

Reference = Literal["oracle", "expert", "success_1"]
"""What regret is measured against: the planner on the true dynamics, a given policy, or success on every task."""
SUCCESS_1: Reference = "success_1"

SEED = stream_seed(0, "evaluation")
"""Seed of tasks and of the planner's random numbers: the same for all models of a world, to pair differences."""


@dataclass(frozen=True)
class TaskTrial:
    """Tasks drawn by a world, and which of them count.

    Removed tasks keep their places and still draw their random numbers, so that those of the others do not shift.
    """

    drawn: Tasks
    kept: Tensor
    """(K,) indices of the tasks that count, in order."""

    def removed(self, level: int | None = None) -> int:
        """Number of tasks left out because they start at their goal, of one difficulty or of all."""
        levels = self.drawn.required_steps
        return int(len(levels) - len(self.kept) if level is None else (levels == level).sum() - self.at(level).sum())

    def at(self, level: int) -> Tensor:
        """(K,) mask of the kept tasks that have a given difficulty."""
        return self.drawn.required_steps[self.kept] == level

    def first(self, each: int | None) -> Tensor:
        """Indices of the first ``each`` kept tasks of every difficulty; None: of all kept tasks."""
        return (
            self.kept if each is None else torch.cat([self.kept[self.at(level)][:each] for level in self.drawn.levels])
        )


def reference_of(world: Arena) -> Reference:
    """What regret in a world is measured against."""
    return "oracle" if world.knows_dynamics else "expert" if world.has_expert else SUCCESS_1


def same_cost_of(world: Arena, evaluation: Evaluation) -> int | None:
    """Tasks of each difficulty that are planned with true dynamics and the model's distances too; None: all."""
    if not world.knows_dynamics:
        return 0
    asked = evaluation.same_cost_episodes
    return world.default_same_cost if asked is None else asked


@lru_cache(maxsize=4)
def trial_of(world: Arena, evaluation: Evaluation) -> TaskTrial:
    """Draw the tasks that every model of this world is evaluated on.

    Raises
    ------
    ValueError
        If the world has no tasks of such a difficulty, or every one of them starts at its goal and is removed for it.
    """
    tasks = world.tasks(evaluation.required_steps or world.default_required_steps, evaluation.episodes, SEED)
    solved = world.solved(tasks)
    kept = torch.arange(len(tasks)) if evaluation.keep_solved else torch.nonzero(~solved).flatten()
    if not len(kept):
        raise ValueError(
            f"expected tasks that do not start at their goal, got required_steps={list(tasks.levels)}: each of the "
            f"{len(tasks)} starts {world.goal_rule or f'within {world.tolerance:g} of it'}; "
            "require more steps, or keep such tasks with "
            "evaluation.keep_solved=true"
        )
    return TaskTrial(tasks, kept)


def protocol_of(context: Context) -> dict[str, Any]:
    """Protocol of a run's regret and success as plain values, stored with every number.

    ``kind`` is ``exact`` for expectations over a finite world, ``pairs`` for sampled starts and goals of one, ``tasks``
    for those of a simulator, ``none`` where nothing is planned.
    """
    planner = {"name": type(context.planner).__name__, **asdict(context.planner)}
    if isinstance(context.planner, NoPlanner):
        return {"kind": "none"}
    world, evaluation = context.world.task_world, context.evaluation
    if isinstance(context.planner, DiscretePlanner) and not isinstance(world, Arena):
        searched = isinstance(context.planner, Search)
        return {
            "kind": "pairs" if searched else "exact",
            **({"episodes": context.evaluation.episodes, "task_seed": SEED} if searched else {}),
            "goal_law": context.planner.goal_law,
            "horizon": context.planner.horizon,
            "score": context.planner.score,
            "planner": planner,
        }
    assert isinstance(world, Arena)
    trial = trial_of(world, evaluation)
    tasks = trial.drawn
    budgets = {str(level): int(tasks.budgets[tasks.required_steps == level].max()) for level in tasks.levels}
    return {
        "kind": "tasks",
        "success": evaluation.success,
        "stop_at_goal": evaluation.stop_at_goal,
        "keep_solved": evaluation.keep_solved,
        "tolerance": None if world.tolerance is None else float(world.tolerance),
        "goal_rule": world.goal_rule,
        "reference": reference_of(world),
        "goal_law": world.goal_law,
        "goal_source": world.goal_source,
        "goal_noise": float(world.goal_noise),
        "required_steps": [int(level) for level in tasks.levels],
        "budget_rule": world.budget_rule,
        "budgets": budgets,
        "episodes": evaluation.episodes,
        "same_cost_episodes": same_cost_of(world, evaluation),
        "removed": {str(level): trial.removed(level) for level in tasks.levels},
        "task_seed": SEED,
        "planner": planner,
    }

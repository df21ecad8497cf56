"""What a planner is: frozen settings, and a law of plans that is improved step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from jepa_scale.planners.costs import CostTerms
from jepa_scale.records import ActionSpace, GoalLaw
from jepa_scale.theory.planning import PlanningProblem

Cost = Callable[[Tensor], Tensor]
"""Cost of plans: (B, candidates, H, size), integer (B, candidates, H) where actions are discrete → (B, candidates)."""


class Search(ABC):
    """A law of plans that is improved step by step, for any cost.

    It owns no loop, device or random numbers: these come in from outside, so that a task's plan does not depend on who
    else plans.

    Contract, which ``tests/contracts/test_planners.py`` holds every leaf of ``conf/planner`` to:

    * Settings are frozen, hashable, all in the leaf; impossible ones raise ``ValueError``.
    * The same ``drawn`` numbers give the same plan, and a task's plan is the same whoever is planned beside it.
    * Every plan that a step asks the cost of, and ``best``, lies inside the action space; no step asks for more than
      ``rows`` plans of a task.
    * On a quadratic cost the plan is no worse than the first guess, and better over tasks by more than half; starting
      from the minimum (``warm``) does no harm.
    * A cost that is NaN or infinite raises ``ValueError`` with its share of the candidates.
    """

    @property
    @abstractmethod
    def terms(self) -> CostTerms:
        """What plans are ranked by in latent space."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """Plans of one task whose costs a step asks for at a time, at most."""

    @abstractmethod
    def draw(self, tasks: int, space: ActionSpace, generator: torch.Generator) -> Tensor:
        """Numbers for one plan of each task: (iterations, B, …)."""

    @abstractmethod
    def init(
        self, tasks: int, space: ActionSpace, device: torch.device | str = "cpu", warm: Tensor | None = None
    ) -> Any:
        """State before the first iteration; ``warm`` (B, H, size) or (B, H) is a plan to start from."""

    @abstractmethod
    def step(self, state: Any, cost: Cost, drawn: Tensor, space: ActionSpace) -> Any:
        """State after one more iteration with the numbers ``drawn`` (B, …)."""

    @abstractmethod
    def best(self, state: Any) -> Tensor:
        """The plan to execute, (B, H, size) or (B, H)."""


@dataclass(frozen=True)
class Planner(Search):
    """A planner of continuous actions, which controls simulators.

    Raises
    ------
    ValueError
        If the horizon is below 1, a cost term is refused, or the score is not ``distance``.
    """

    needs_gradient: ClassVar[bool] = False
    """Whether costs must be differentiable in the plans."""

    horizon: int = 3
    """H, steps of a plan."""
    cost: CostTerms = field(default_factory=CostTerms)
    """What plans are ranked by; a mapping of its fields is taken as well."""
    ignore_noise: bool = False
    """Whether distances in observation space leave the world's noise coordinates out."""
    warm_start: bool = False
    """Whether planning anew starts from what is left of the last plan, see ``shifted``."""
    score: str = "distance"
    """Names the run's regret: success with true distances and dynamics minus success with the model's."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", CostTerms.of(self.cost))
        if self.horizon < 1:
            raise ValueError(f"expected a horizon of at least one step, got {self.horizon=}")
        if self.score != "distance":
            raise ValueError(
                f"expected score=distance, the only one of sampled tasks, got {self.score!r}: what plans are ranked by "
                "is set by the weights of cost"
            )

    @property
    def terms(self) -> CostTerms:
        """The setting ``cost``."""
        return self.cost


@dataclass(frozen=True)
class DiscretePlanner:
    """A planner of finitely many actions, judged on the exact values of its plans in a finite world.

    Raises
    ------
    ValueError
        If the horizon is below 1 or the goal law unknown.
    """

    horizon: int = 1
    """T, steps of a plan."""
    score: str = "density"
    """What plans are ranked by; names the run's regret."""
    goal_law: GoalLaw = "reachable"

    def __post_init__(self) -> None:
        _ = self.problem

    @property
    def problem(self) -> PlanningProblem:
        """The planning problem that the plans are judged on."""
        return PlanningProblem(self.horizon, self.goal_law)


def plan(planner: Search, cost: Cost, drawn: Tensor, space: ActionSpace, warm: Tensor | None = None) -> Tensor:
    """Plan with the numbers of ``planner.draw``: → (B, H, size), or (B, H) where actions are discrete."""
    state = planner.init(drawn.shape[1], space, drawn.device, warm)
    for numbers in drawn:
        state = planner.step(state, cost, numbers, space)
    return planner.best(state)


def shifted(plans: Tensor) -> Tensor:
    """What is left of plans (B, H, …) whose first action was taken; the last action is repeated."""
    return torch.cat([plans[:, 1:], plans[:, -1:]], dim=1)


def first_plan(tasks: int, horizon: int, space: ActionSpace, device: torch.device | str, warm: Tensor | None) -> Tensor:
    """The plan to start from, (B, H, size): ``warm`` inside the limits, or the middle between them.

    Raises
    ------
    ValueError
        If ``warm`` has another shape.
    """
    shape = (tasks, horizon, space.size)
    if warm is None:
        return torch.full(shape, (space.low + space.high) / 2, device=device)
    if warm.shape != shape:
        raise ValueError(f"expected a plan to start from of shape (B, H, size) = {shape}, got {tuple(warm.shape)}")
    return warm.clamp(space.low, space.high)


def pick(values: Tensor, chosen: Tensor) -> Tensor:
    """Of each task the chosen candidates: (B, candidates, …), (B, kept) → (B, kept, …)"""
    return values[torch.arange(len(values), device=values.device)[:, None], chosen]


def check_law(planner: Any) -> None:
    """Refuse settings of a search by a normal law of plans.

    Raises
    ------
    ValueError
        If a size is below 1, there are more elites than candidates, or the deviations are out of order.
    """
    elites = getattr(planner, "elites", 1)
    if min(planner.iterations, elites) < 1 or planner.candidates < elites:
        raise ValueError(
            "expected iterations and elites ≥ 1 and at least as many candidates as elites, got "
            f"{planner.iterations=}, {elites=}, {planner.candidates=}"
        )
    if not 0 < planner.floor <= planner.deviation:
        raise ValueError(f"expected 0 < floor ≤ deviation, got {planner.floor=}, {planner.deviation=}")

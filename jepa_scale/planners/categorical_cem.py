"""The cross-entropy method over sequences of finitely many actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.planners.base import Cost, DiscretePlanner, Search, pick
from jepa_scale.planners.costs import CostTerms, finite
from jepa_scale.records import ActionSpace, Score
from jepa_scale.theory.scores import SCORES


@dataclass(frozen=True)
class CategoricalState:
    """A categorical law of the action at every step for each task, and the best plan so far."""

    law: Tensor
    """(B, H, |A|), sums to 1 over actions."""
    best: Tensor
    """(B, H) integer"""
    best_cost: Tensor
    """(B,)"""


@dataclass(frozen=True)
class CategoricalCEM(DiscretePlanner, Search):
    """Draw plans step by step from categorical laws, refit these to the best plans, repeat (Rubinstein, 1999).

    An action's new probability is (elites that take it + ``floor``) / (elites + |A| ``floor``), Laplace's rule, so none
    is ever lost. Executed is the best plan that was tried. It costs iterations × candidates roll-outs for each start
    and goal, whatever |A|^T is; the exhaustive search is exact and shares its roll-outs among all goals.

    Raises
    ------
    ValueError
        If the score or goal law is unknown, a size is below 1, or there are more elites than candidates.
    """

    horizon: int = 3
    """T, steps of a plan."""
    score: Score = "density"
    candidates: int = 64
    iterations: int = 5
    elites: int = 8
    floor: float = 0.5
    """Count that every action starts with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.score not in SCORES:
            raise ValueError(f"expected a score from {sorted(SCORES)}, got {self.score!r}")
        if min(self.iterations, self.elites) < 1 or self.candidates < self.elites:
            raise ValueError(
                "expected iterations and elites ≥ 1 and at least as many candidates as elites, got "
                f"{self.iterations=}, {self.elites=}, {self.candidates=}"
            )
        if not 0 < self.floor < float("inf"):
            raise ValueError(f"expected floor > 0, got {self.floor=}: an action with probability 0 is never tried")

    @property
    def rows(self) -> int:
        """Plans of one task whose costs a step asks for at a time."""
        return self.candidates

    @property
    def terms(self) -> CostTerms:
        """The score as a cost in latent space; the density as the inner product, which is the same for pooled q."""
        return CostTerms() if self.score == "distance" else CostTerms(final=0.0, inner=1.0)

    def init(
        self, tasks: int, space: ActionSpace, device: torch.device | str = "cpu", warm: Tensor | None = None
    ) -> CategoricalState:
        """Return uniform laws; half of their mass is on the actions of the plan ``warm`` (B, H), if there is one.

        Raises
        ------
        ValueError
            If actions are not discrete.
        """
        if space.count is None:
            raise ValueError("expected discrete actions, got continuous ones: plan with planner=cem")
        law = torch.full((tasks, self.horizon, space.count), 1 / space.count, device=device)
        if warm is not None:
            law = (law + torch.nn.functional.one_hot(warm, space.count)) / 2
        start = torch.zeros((tasks, self.horizon), dtype=torch.int64, device=device) if warm is None else warm
        return CategoricalState(law, start, law.new_full((tasks,), torch.inf, dtype=torch.float64))

    def step(self, state: CategoricalState, cost: Cost, uniforms: Tensor, space: ActionSpace) -> CategoricalState:
        """Refit the laws to the best of the plans that the ``uniforms`` (B, candidates, H) pick from them.

        Raises
        ------
        NotFiniteError
            If a cost is not a number: the share of such candidates is named.
        """
        # The quantile function of each law; rounding can leave its last step below 1.
        steps = state.law.cumsum(-1)[:, None, :, :-1]
        plans = (uniforms[..., None] >= steps).sum(-1)
        least, order = finite(cost(plans)).topk(self.elites, dim=1, largest=False)
        elite = pick(plans, order)
        counts = torch.nn.functional.one_hot(elite, state.law.shape[-1]).sum(1)
        law = (counts + self.floor) / (self.elites + state.law.shape[-1] * self.floor)
        better = least[:, 0] < state.best_cost
        return CategoricalState(
            law,
            torch.where(better[:, None], elite[:, 0], state.best),
            torch.where(better, least[:, 0].to(state.best_cost.dtype), state.best_cost),
        )

    def best(self, state: CategoricalState) -> Tensor:
        """The plan to execute, (B, H): the best one that was tried."""
        return state.best

    def draw(self, tasks: int, space: ActionSpace, generator: torch.Generator) -> Tensor:
        """Return uniform numbers of one plan for each task, (iterations, B, candidates, H)."""
        del space  # one number picks an action, however many there are
        return torch.rand((self.iterations, tasks, self.candidates, self.horizon), generator=generator)

"""Regret of a search among plans, on sampled starts and goals of a finite world."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from jepa_scale import processes
from jepa_scale.callbacks.base import Exact
from jepa_scale.callbacks.tasks import SEED
from jepa_scale.planners.base import Search, plan
from jepa_scale.records import ActionSpace, Estimate, Evaluation
from jepa_scale.theory.scores import SCORES


@dataclass(frozen=True)
class Ends:
    """Predicted ends of a finite world's plans, and the goals that they are compared with."""

    reached: Tensor
    """(plans, N, k) ẑ_T of every plan from every start, first action slowest."""
    goals: Tensor
    """(N, k) goals in the same space."""
    law: Tensor
    """(plans, N) law q of the plan's last action."""


def search_estimates(
    known: Exact, planner: Search, ends: Ends, evaluation: Evaluation, epoch: int, step: int
) -> list[Estimate]:
    """Estimate regret/<score> of the search and regret/exhaustive of all plans by the same score, on the same pairs.

    ``evaluation.episodes`` pairs are drawn from p(x_0) μ(x_g|x_0) with a fixed seed; their difference is what the
    search itself loses or, as the model's score is not the truth, wins. Standard errors are those of pairs, for this
    one model.
    """
    starts, goals = pairs_of(known, evaluation.episodes)
    score = known.planner.score
    blocks = [slice(first, first + _AT_ONCE) for first in range(0, len(starts), _AT_ONCE)]
    table = torch.cat(
        processes.spread([partial(_scored, score, ends, starts[block], goals[block]) for block in blocks])
    )
    values = torch.as_tensor(known.truth.values[:, starts, goals].T)
    choices = {score: search_table(planner, table, known.world.action_space, SEED), "exhaustive": table.argmax(1)}
    rows = []
    for name, chosen in choices.items():
        lost = values.amax(1) - values.gather(1, chosen[:, None])[:, 0]
        error = float(lost.std() / len(lost) ** 0.5) if len(lost) > 1 else None
        rows.append(Estimate(f"regret/{name}", float(lost.mean()), error, len(lost), epoch, step))
    return rows


_AT_ONCE = 64
"""Pairs in a batch that one process scores at a time."""


def _scored(score: str, ends: Ends, starts: np.ndarray, goals: np.ndarray) -> Tensor:
    """Scores (B, plans) of every plan for each pair, computed pair by pair so that they do not depend on batching."""
    rows = [
        SCORES[score](ends.reached[:, [x]], ends.goals[[y]], ends.law[:, [y]])[:, 0, 0]
        for x, y in zip(starts, goals, strict=True)
    ]
    return torch.stack(rows)


def pairs_of(known: Exact, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw starts x_0 ~ p and goals x_g ~ μ(·|x_0), (count,) each; a smaller count gives a prefix of a larger one."""
    uniforms = np.random.default_rng(SEED).random((count, 2))
    starts = np.searchsorted(np.cumsum(known.world.finite.context_law)[:-1], uniforms[:, 0], side="right")
    reached = np.cumsum(known.truth.constants.goals[starts], axis=1)[:, :-1]
    return starts, (reached <= uniforms[:, 1:]).sum(1)


def search_table(planner: Search, table: Tensor, space: ActionSpace, seed: int) -> Tensor:
    """Index of the plan found by search for each row of scores (B, |A|^T), first action slowest; larger is better.

    The rows hold what the search would compute plan by plan, so that it and the exhaustive search see equal numbers.
    """
    actions = space.code_size

    def index(plans: Tensor) -> Tensor:
        place = torch.zeros_like(plans[..., 0])
        for action in plans.unbind(-1):
            place = place * actions + action
        return place

    drawn = planner.draw(len(table), space, torch.Generator().manual_seed(seed))
    return index(plan(planner, lambda plans: -table.gather(1, index(plans)), drawn, space))

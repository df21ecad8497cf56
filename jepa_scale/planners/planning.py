"""Planning with any model that encodes observations, embeds actions and predicts latents."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from jepa_scale.planners.base import Cost, Search, plan
from jepa_scale.records import ActionSpace
from jepa_scale.streams import stream_seed

Precision = Literal["float32", "bfloat16"]

_ROWS = 512
"""Plans that a CPU evaluates at a time: their hidden layers stay in the cache, where larger blocks do not."""


class Plannable(Protocol):
    """What planning asks of a model."""

    def encode(self, observations: Tensor) -> Tensor:
        """f(x): (B, *shape) → (B, k)"""

    def embed_action(self, actions: Tensor) -> Tensor:
        """(…, size), or integers (…) where actions are discrete → what ``predict`` takes, (…) or (…, e)"""

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """g(z, a), one step: (…, k) and embedded actions → (…, k)"""


@dataclass(frozen=True)
class Planned:
    """A plan for each pair of start and goal."""

    plans: Tensor
    """(B, H, size), or integer (B, H) where actions are discrete."""
    costs: Tensor
    """(B,) its cost by the model in float32, whatever it was planned in."""


@torch.no_grad()
def plan_with(
    model: Plannable,
    planner: Search,
    observations: Tensor,
    goals: Tensor,
    space: ActionSpace,
    seed: int,
    pairs: int | None = None,
    precision: Precision = "float32",
) -> Planned:
    """Plan from each observation to its goal, both (B, *shape), in the model's latent space.

    ẑ_0 = f(x_0), ẑ_{t+1} = g(ẑ_t, a_t), ranked by ``planner.terms`` towards f(x_g). Pair i draws its numbers from a
    stream of (seed, i), on the CPU, so its plan does not depend on ``pairs``, those planned at a time, but by the
    rounding of larger matrix products. None: as many as keep a block in a CPU's cache; all, elsewhere. A model with a
    method ``roll_out(latents, actions)`` of its own, as one that looks back on its past has, is rolled out by that; one
    with ``readout(latents)`` and ``goal(observations, latents)`` is ranked by distances between these.

    With precision bfloat16 the roll-outs are computed in it; what that did to the chosen cost is
    ``plan_with(…, precision="bfloat16").costs − plan_with(…).costs``, both in float32.

    >>> class Drift(torch.nn.Module):
    ...     def encode(self, observations): return observations
    ...     def embed_action(self, actions): return 0.5 * actions
    ...     def predict(self, latents, actions): return latents + actions
    >>> from jepa_scale.planners.cem import CEM
    >>> starts, goals = torch.zeros(2, 2), torch.tensor([[1.0, -1.0], [0.5, 0.0]])
    >>> planner = CEM(horizon=4, candidates=256, iterations=8)
    >>> found = plan_with(Drift(), planner, starts, goals, ActionSpace(None, 2), seed=0)
    >>> tuple(found.plans.shape), bool((found.costs < 0.01).all())
    ((2, 4, 2), True)

    Raises
    ------
    ValueError
        If there are not as many goals as observations, or ``pairs`` is below 1, or the precision is unknown.
    NotFiniteError
        If the model predicts what is not a number.
    """
    if len(observations) != len(goals) or not len(goals):
        raise ValueError(f"expected one goal for each observation, got {len(observations)} and {len(goals)}")
    if pairs is not None and pairs < 1:
        raise ValueError(f"expected at least one pair at a time, got {pairs=}")
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"expected precision float32 or bfloat16, got {precision!r}")
    latents, targets = model.encode(observations), model.encode(goals)
    if hasattr(model, "goal"):
        targets = model.goal(goals, targets)
    if pairs is None:
        pairs = max(1, _ROWS // planner.rows) if latents.device.type == "cpu" else len(goals)
    plans, costs = [], []
    for block in torch.arange(len(goals)).split(pairs):
        cost = predicted_cost(model, planner, space, latents[block], targets[block])
        drawn = torch.cat([planner.draw(1, space, _generator(seed, int(i))) for i in block], dim=1).to(latents.device)
        with _lowered(precision, latents.device):
            plans.append(plan(planner, cost, drawn, space))
        costs.append(cost(plans[-1][:, None])[:, 0])
    return Planned(torch.cat(plans), torch.cat(costs))


def predicted_cost(
    model: Any, planner: Search, space: ActionSpace, starts: Tensor, goals: Tensor, weights: Tensor | None = None
) -> Cost:
    """Cost of plans by the model's roll-out from latents ``starts`` (B, k) towards goals (B, …); in float32.

    Goals are latents, or coordinates as ``model.goal`` gives them for a model whose ``readout`` measures distances
    elsewhere; ``weights`` are of coordinates.
    """
    own, readout = getattr(model, "roll_out", None), getattr(model, "readout", None)
    every_step = planner.terms.every_step

    def cost(plans: Tensor) -> Tensor:
        start, taken = starts[:, None].expand(-1, plans.shape[1], -1), plans.to(starts.device)
        reached = _rolled(model, start, taken, every_step) if own is None else own(start, taken)
        # What does not count is not read out: a decoder costs more than a step.
        reached = reached if every_step else reached[..., -1:, :]
        reached = reached if readout is None else readout(reached)
        return cost_of(planner, space, reached.float(), goals.float(), taken, weights)

    return cost


def cost_of(
    planner: Search, space: ActionSpace, reached: Tensor, goals: Tensor, plans: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Cost of plans that lead to these coordinates, (B, candidates, steps, …), from goals (B, …): → (B, candidates)

    ``weights`` of coordinates are 0 or 1: what is left out counts neither in distances nor in products.
    """
    if weights is not None:
        reached, goals = reached * weights, goals * weights
    return planner.terms.of_latents(reached, goals[:, None], plans, space)


def _rolled(model: Plannable, latents: Tensor, plans: Tensor, every_step: bool) -> Tensor:
    """ẑ_1 … ẑ_H, or ẑ_H alone: (B, candidates, k), (B, candidates, H, …) → (B, candidates, H or 1, k)"""
    visited = []
    for action in plans.unbind(2):
        latents = model.predict(latents, model.embed_action(action))
        visited.append(latents)
    return torch.stack(visited if every_step else visited[-1:], dim=2)


def _generator(seed: int, pair: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed(seed, f"plan/{pair}"))


def _lowered(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    return nullcontext() if precision == "float32" else torch.autocast(device.type, dtype=torch.bfloat16)

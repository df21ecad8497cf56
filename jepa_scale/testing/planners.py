"""Contract of planners that search."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from jepa_scale.planners.base import Cost, DiscretePlanner, Search, plan
from jepa_scale.records import ActionSpace
from jepa_scale.testing.saying import contract, require, require_shape

_TASKS = 6


@contract
def check_planner(planner: Search, action_space: ActionSpace | None = None) -> None:
    """Check a planner: inside the limits, repeatable, tasks apart, better than its first guess on a quadratic.

    Parameters
    ----------
    planner
        A ``Planner`` of continuous actions, or a search among discrete ones.
    action_space
        By default two coordinates in [−1, 3], or four actions.

    Raises
    ------
    AssertionError
        On the first promise of ``planners.base.Search`` that is not kept.

    Examples
    --------
    >>> from jepa_scale.planners.cem import CEM
    >>> check_planner(CEM(horizon=4, candidates=128, iterations=6))
    """
    hash(planner)
    space = action_space or (
        ActionSpace(4) if isinstance(planner, DiscretePlanner) else ActionSpace(None, 2, -1.0, 3.0)
    )
    horizon = planner.horizon  # type: ignore[attr-defined]
    minimum, quadratic = _quadratic(horizon, space)
    drawn = planner.draw(_TASKS, space, torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def far(plans: Tensor) -> Tensor:
        seen.append(plans.detach())
        return (plans - 50.0).square().flatten(2).sum(-1)

    found = plan(planner, far, drawn, space)
    require_shape(found, (_TASKS, horizon, *(() if space.discrete else (space.size,))), planner, "plans")
    low, high = (0, space.count - 1) if space.count is not None else (space.low, space.high)
    for plans in [*seen, found[:, None]]:
        inside = float(plans.min()) >= low and float(plans.max()) <= high
        require(inside, planner, f"plans inside [{low}, {high}], got {float(plans.min())} … {float(plans.max())}")
    most = max(plans.shape[1] for plans in seen)
    require(most <= planner.rows, planner, f"at most rows = {planner.rows} plans of a task at a time, got {most}")
    whole, again = (plan(planner, quadratic(slice(None)), drawn, space) for _ in range(2))
    require(torch.equal(whole, again), planner, "the same plans from the same numbers")
    for task in (0, 4):
        alone = slice(task, task + 1)
        one = plan(planner, quadratic(alone), drawn[:, alone], space)
        apart = torch.allclose(one.double(), whole[alone].double(), rtol=0, atol=1e-6)
        require(apart, planner, "a plan that does not depend on the tasks beside it")
    cost = quadratic(slice(None))
    first = planner.best(planner.init(_TASKS, space))
    before, after = cost(first[:, None])[:, 0], cost(whole[:, None])[:, 0]
    better = bool((after <= before).all()) and float(after.sum()) < 0.5 * float(before.sum())
    require(better, planner, "plans better than the first guess, by more than half over tasks, on a quadratic")
    warm = plan(planner, cost, drawn, space, minimum.long() if space.discrete else minimum)
    harmless = float(cost(warm[:, None]).mean()) <= max(float(after.mean()), 0.05 * float(before.mean()))
    require(harmless, planner, "no harm from the best plan to start from")
    try:
        plan(planner, lambda plans: plans.flatten(2).double().sum(-1) * float("nan"), drawn, space)
    except ValueError:
        return
    require(False, planner, "a ValueError for costs that are not numbers (planners.costs.finite)")


def _quadratic(horizon: int, space: ActionSpace) -> tuple[Tensor, Callable[[slice], Cost]]:
    generator = torch.Generator().manual_seed(1)
    if space.count is not None:
        minimum = torch.randint(space.count, (_TASKS, horizon), generator=generator).double()
    else:
        inner = 0.1 + 0.8 * torch.rand(_TASKS, horizon, space.size, generator=generator, dtype=torch.float64)
        minimum = space.low + (space.high - space.low) * inner

    def of(tasks: slice) -> Cost:
        return lambda plans: (plans - minimum[tasks, None]).square().flatten(2).sum(-1)

    return minimum, of

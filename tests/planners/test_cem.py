"""The cross-entropy method on costs whose minimum is known."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from jepa_scale.planners.base import plan
from jepa_scale.planners.cem import CEM
from jepa_scale.records import ActionSpace

SPACE = ActionSpace(None, 2, -1.0, 3.0)
TASKS, STEPS = 32, 3


def normals_of(planner, seed=0):
    return planner.draw(TASKS, SPACE, torch.Generator().manual_seed(seed))


def quadratic(seed=1):
    """One minimum for each task, inside the limits by a tenth of their range."""
    inside = torch.rand(TASKS, STEPS, 2, generator=torch.Generator().manual_seed(seed))
    minimum = -0.6 + 3.2 * inside
    return minimum, lambda plans: (plans - minimum[:, None]).square().sum((-2, -1))


def test_it_finds_the_minimum_of_a_quadratic():
    planner = CEM(horizon=STEPS, candidates=256, iterations=12, elites=16)
    minimum, cost = quadratic()
    found = plan(planner, cost, normals_of(planner), SPACE)
    assert found.shape == (TASKS, STEPS, 2)
    # The law ends at its floor, 0.02 of a range of 4; the mean of 16 elites is within half of that, six deviations.
    assert (found - minimum).abs().max() < 0.12
    assert (found - minimum).abs().mean() < 0.03


def test_more_iterations_are_never_worse_in_the_mean():
    minimum, cost = quadratic()
    planner = CEM(horizon=STEPS, candidates=64, iterations=10, elites=8)
    state, means = planner.init(TASKS, SPACE), []
    for drawn in normals_of(planner):
        state = planner.step(state, cost, drawn, SPACE)
        means.append(float(cost(planner.best(state)[:, None]).mean()))
    assert means[0] < float((minimum - 1).square().sum((1, 2)).mean()), "than the middle of the range"
    # At the floor the mean moves by its own noise: 6 coordinates of variance 0.08² / 8 elites.
    assert all(later <= earlier + 6 * 0.08**2 / 8 for earlier, later in pairwise(means))
    assert means[-1] < 0.05 * means[0]


def test_plans_stay_inside_the_limits_and_meet_a_minimum_beyond_them():
    planner = CEM(horizon=STEPS, candidates=64, iterations=8, elites=8)
    seen = []

    def cost(plans):
        seen.append((float(plans.min()), float(plans.max())))
        return (plans - 50).square().sum((-2, -1))

    found = plan(planner, cost, normals_of(planner), SPACE)
    assert min(low for low, _ in seen) >= -1
    assert max(high for _, high in seen) <= 3
    # The mean of eight elites that are cut at 3: one of 192 coordinates may lie a few floors (0.08) below.
    assert float(found.mean()) > 2.9


def test_tasks_do_not_see_each_other():
    planner = CEM(horizon=STEPS, candidates=32, iterations=3, elites=4)
    minimum, cost = quadratic()
    normals = normals_of(planner)
    whole = plan(planner, cost, normals, SPACE)
    alone = plan(
        planner, lambda plans: (plans - minimum[5:6, None]).square().sum((-2, -1)), normals[:, 5:6], SPACE
    )  # fmt: skip
    torch.testing.assert_close(whole[5:6], alone, rtol=0, atol=0)


def test_the_deviation_never_falls_below_its_floor():
    planner = CEM(horizon=STEPS, candidates=32, iterations=20, elites=1, floor=0.05)
    state = planner.init(TASKS, SPACE)
    assert bool((state.deviation == 2.0).all()), "half of the range of 4"
    for drawn in normals_of(planner):
        state = planner.step(state, quadratic()[1], drawn, SPACE)
    torch.testing.assert_close(state.deviation, torch.full_like(state.deviation, 0.2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_costs_that_are_no_numbers_name_their_share(value):
    planner = CEM(horizon=STEPS, candidates=8, iterations=1, elites=2)

    def cost(plans):
        costs = plans.sum((-2, -1))
        costs[:, 0] = value
        return costs

    with pytest.raises(ValueError, match=r"NaN or ∞ for 12\.5% of the candidates"):
        plan(planner, cost, normals_of(planner), SPACE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "at least one step"),
        ({"elites": 65}, "at least as many candidates"),
        ({"iterations": 0}, "iterations"),
        ({"floor": 0.0}, "0 < floor"),
        ({"floor": 0.6}, "0 < floor"),
        ({"score": "density"}, "score=distance"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        replace(CEM(), **settings)

"""Every simulator of conf/world keeps its promises."""

import hydra
import numpy as np
import pytest
import torch
import yaml

from jepa_scale.planners.receding import at_random, doing_nothing
from jepa_scale.runs.build import build_world
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.testing import check_world
from jepa_scale.worlds.simulator import Simulator

NEEDED = {}
"""Overrides that a leaf needs; None: it is tested elsewhere, as it needs a package."""


def simulated(name):
    leaf = yaml.safe_load((conf_dir() / "world" / f"{name}.yaml").read_text())
    return issubclass(hydra.utils.get_class(leaf["_target_"]), Simulator)


NAMES = sorted(leaf.stem for leaf in (conf_dir() / "world").glob("*.yaml") if simulated(leaf.stem))


@pytest.fixture(params=[name for name in NAMES if NEEDED.get(name, ()) is not None])
def world(request):
    return build_world(compose([f"world={request.param}", *NEEDED.get(request.param, ())]))


def normals(count, size, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_shapes_agree(world):
    sample = world.sample(3, 4, seed=1)
    assert sample.observations.shape == (3, 5, *world.observation_shape)
    assert sample.observations.dtype == (np.uint8 if len(world.observation_shape) == 3 else np.float32)
    assert sample.actions.shape == (3, 4, world.action_space.size)
    assert sample.states.shape == (3, 5, world.state_size)
    assert np.isfinite(sample.states).all()


def test_the_contract_of_a_world(world):
    check_world(world)


def test_actions_stay_inside_their_space_and_use_it(world):
    actions, space = world.sample(200, 5, seed=5).actions, world.action_space
    assert actions.min() >= space.low
    assert actions.max() <= space.high
    assert actions.std() > 0.1 * (space.high - space.low)


def test_trajectories_are_what_stepping_gives(world):
    sample = world.sample(6, 4, seed=6)
    if world.step_numbers:
        pytest.skip("steps are random")
    states, still = torch.as_tensor(sample.states), torch.zeros(6, 0)
    for step in range(4):
        stepped = world.step(states[:, step], torch.as_tensor(sample.actions[:, step]), still)
        torch.testing.assert_close(stepped, states[:, step + 1], rtol=0, atol=0)


def test_actions_matter(world):
    states = world.start(torch.rand(64, world.start_numbers, generator=torch.Generator().manual_seed(1)))
    space, noise = world.action_space, normals(64, world.step_numbers)
    ends = [world.step(states, torch.full((64, space.size), limit), noise) for limit in (space.low, space.high)]
    assert ((ends[0] - ends[1]).abs().amax(1) > 1e-4).float().mean() > 0.9


def test_observations_show_the_state(world):
    """Different states look different, with the same noise."""
    states = world.start(torch.rand(64, world.start_numbers, generator=torch.Generator().manual_seed(2)))
    views = world.observe(states, normals(1, world.view_numbers).expand(64, -1))
    assert len(torch.unique(views.flatten(1), dim=0)) == 64


def test_tasks_are_as_hard_as_they_say(world):
    levels = world.default_required_steps
    tasks = world.tasks(levels, 20, seed=7)
    assert tasks.required_steps.tolist() == [level for level in levels for _ in range(20)]
    assert (tasks.budgets >= tasks.required_steps).all()
    distance = world.distance(tasks.starts, tasks.goals).view(len(levels), 20).mean(1)
    assert distance.argmin() == 0, "the easiest goals are the nearest"
    assert (world.distance(tasks.goals, tasks.goals) <= world.tolerance).all()
    again = world.tasks(levels, 20, seed=7)
    assert torch.equal(tasks.starts, again.starts)
    assert torch.equal(tasks.goals, again.goals)


def test_knowing_nothing_does_not_solve_the_hardest_tasks(world):
    """Nobody learns anything from tasks that random actions solve; standing still solves those that start solved."""
    tasks = world.tasks(world.default_required_steps[-1:], 50, seed=8)
    started = world.distance(tasks.starts, tasks.goals) <= world.tolerance
    assert at_random(world, tasks, 0).ever.float().mean() < 0.3
    if not world.step_numbers:
        assert doing_nothing(world, tasks, 0).ever.sum() <= started.sum()


def test_the_protocol_has_words_for_its_tasks(world):
    assert all(isinstance(said, str) and said for said in (world.goal_law, world.budget_rule))
    assert world.goal_noise >= 0
    levels = world.default_required_steps
    # The one rule there is, in words and in numbers.
    assert world.budget_rule == "2 T + 5"
    assert world.tasks(levels, 1, seed=7).budgets.tolist() == [2 * level + 5 for level in levels]


def test_sizes_below_one_are_refused(world):
    with pytest.raises(ValueError, match="at least 1 trajectory"):
        world.sample(0, 5, seed=0)

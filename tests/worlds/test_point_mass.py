"""The point mass against its closed form."""

import numpy as np
import pytest
import torch

from jepa_scale.worlds.point_mass import PointMass

WIDE = PointMass(arena=1000.0, damping=0.8, action_scale=0.3, dt=0.2)


def test_constant_acceleration_from_rest_is_in_closed_form():
    """v_t = s (1 − dᵗ)/(1 − d) a; p_t = dt s/(1 − d) (t − d (1 − dᵗ)/(1 − d)) a"""
    action = torch.tensor([[1.0, -0.5]])
    state, still = torch.zeros(1, 4), torch.zeros(1, 0)
    for t in range(1, 31):
        state = WIDE.step(state, action, still)
        speed = 0.3 * (1 - 0.8**t) / 0.2
        far = 0.2 * 0.3 / 0.2 * (t - 0.8 * (1 - 0.8**t) / 0.2)
        # Thirty roundings of float32.
        torch.testing.assert_close(state, torch.cat([far * action, speed * action], dim=1), rtol=1e-5, atol=1e-6)
        assert WIDE.reach(t) == pytest.approx(far, rel=1e-12)
    assert WIDE.top_speed == pytest.approx(1.5)
    assert PointMass(damping=1.0).top_speed == float("inf")


def test_walls_stop_what_runs_into_them():
    world = PointMass()
    state = torch.tensor([[0.999, 0.0, 0.5, 0.2]])
    stopped = world.step(state, torch.tensor([[1.0, 0.0]]), torch.zeros(1, 0))
    torch.testing.assert_close(stopped, torch.tensor([[1.0, 0.018, 0.0, 0.18]]))
    away = world.step(stopped, torch.tensor([[-1.0, 0.0]]), torch.zeros(1, 0))
    assert float(away[0, 0]) < 1, "it does not stick"


def test_actions_beyond_their_limits_act_as_the_limits():
    state, still = torch.zeros(1, 4), torch.zeros(1, 0)
    assert torch.equal(WIDE.step(state, torch.full((1, 2), 9.0), still), WIDE.step(state, torch.ones(1, 2), still))


def test_goals_lie_as_far_away_as_they_say():
    world = PointMass()
    tasks = world.tasks((5, 9), 30, seed=0)
    for level in (5, 9):
        far = world.distance(tasks.starts, tasks.goals)[tasks.required_steps == level]
        torch.testing.assert_close(far, torch.full_like(far, world.reach(level)))
    assert not tasks.starts[:, 2:].any()
    assert tasks.goals[:, :2].abs().max() <= world.arena
    with pytest.raises(ValueError, match="beyond its side"):
        world.tasks((200,), 1, seed=0)


def test_noise_is_where_the_mask_says():
    world = PointMass(nuisance_size=3, noise_size=2, noise_std=0.7)
    states = world.start(torch.rand(4000, 4, generator=torch.Generator().manual_seed(0)))
    views = [
        world.observe(states, torch.randn(4000, 2, generator=torch.Generator().manual_seed(seed))) for seed in (1, 2)
    ]
    same = (views[0] == views[1]).all(0).numpy()
    np.testing.assert_array_equal(same, ~world.noise_mask)
    # Standard error of a deviation from 4000 rows: 1.1 %.
    assert float(views[0][:, -1].std()) == pytest.approx(0.7, rel=0.05)
    torch.testing.assert_close(views[0][:, :4], states)

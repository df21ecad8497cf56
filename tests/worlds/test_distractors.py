"""Distractors: one dial from fresh noise to a frozen background, and what each costs in the spectrum."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jepa_scale.callbacks.reference import _estimate
from jepa_scale.worlds.distractors import Distractors, spectrum_factor
from jepa_scale.worlds.point_mass import PointMass
from jepa_scale.worlds.two_rooms import TwoRooms

PLAIN = PointMass(nuisance_size=0, noise_size=0)


def background(world, count=4000, length=6):
    return world.sample(count, length, seed=3).states[..., world.inner.state_size :]


@pytest.mark.parametrize("persistence", [0.0, 0.6, 1.0])
def test_every_distractor_is_a_stationary_gaussian_with_that_correlation(persistence):
    found = background(Distractors(PLAIN, persistence, size=3))
    # 4000 independent trajectories: 5 errors of a variance are 5 √(2/4000), of a correlation 5/√4000.
    np.testing.assert_allclose(found.var(0), 1, atol=0.112)
    np.testing.assert_allclose(found.mean(0), 0, atol=0.08)
    for lag in (1, 3):
        lagged = (found[:, 0] * found[:, lag]).mean(0)
        np.testing.assert_allclose(lagged, persistence**lag, atol=0.112)
    assert abs(np.corrcoef(found[:, 2].T)[0, 1]) < 0.08


def test_a_frozen_background_stays_to_the_last_bit():
    found = background(Distractors(PLAIN, 1.0), 50)
    np.testing.assert_array_equal(found, np.repeat(found[:, :1], 7, axis=1))


def test_the_inner_world_goes_its_way():
    """The same states and the same inner coordinates, as the numbers are taken from the front of each stream's rows."""
    world = Distractors(PointMass(), 0.5, size=2)
    states = world.start(torch.rand(5, world.start_numbers))
    actions, normals, views = torch.rand(5, 2), torch.randn(5, 2), torch.randn(5, 16)
    inner = PointMass()
    torch.testing.assert_close(world.step(states, actions, normals)[:, :4], inner.step(states[:, :4], actions, normals))
    seen = world.observe(states, views)
    torch.testing.assert_close(seen[:, :-2], inner.observe(states[:, :4], views))
    torch.testing.assert_close(seen[:, -2:], states[:, -2:])
    tasks, plain = world.tasks((1, 5), 6, seed=2), inner.tasks((1, 5), 6, seed=2)
    torch.testing.assert_close(world.distance(tasks.starts, tasks.goals), inner.distance(plain.starts, plain.goals))
    assert not torch.equal(tasks.starts[:, 4:], tasks.goals[:, 4:])


def test_noise_is_what_nothing_predicts():
    fresh, moving = (Distractors(PointMass(noise_size=1), value, size=2).noise_mask for value in (0.0, 0.1))
    assert fresh[-3:].all()
    assert moving[-3:].tolist() == [True, False, False]
    assert Distractors(TwoRooms(), 0.0).noise_mask is None


def total(world, eps, seed, only_background=False):
    drawn = world.sample(3000, 10, seed=seed)
    if only_background:
        drawn = replace(drawn, states=drawn.states[..., world.inner.state_size :], actions=0 * drawn.actions)
    return _estimate(drawn, world.action_space, eps).whole.total


@pytest.mark.parametrize(("persistence", "size"), [(0.9, 1), (0.9, 2), (1.0, 1), (0.0, 2)])
def test_the_distractors_own_spectrum_is_that_of_an_autoregression(persistence, size):
    """T = Π_j 1 / (1 − r²) with r = ρ / (1 + ε²); at a coarse resolution, where the features see all of it."""
    found = total(Distractors(PLAIN, persistence, size=size), 1.0, 6, only_background=True)
    assert abs(found.value - spectrum_factor(persistence, size, 1.0)) <= 4 * found.standard_error + 0.005


def test_fresh_noise_is_free_and_what_persists_multiplies_the_spectrum():
    plain, fresh, moving = (total(world, 1.0, 7) for world in (PLAIN, *(Distractors(PLAIN, p, 1) for p in (0.0, 0.9))))
    error = np.hypot(fresh.standard_error, plain.standard_error)
    assert abs(fresh.value - plain.value) <= 4 * error
    # 256 features see nine tenths of the product's T.
    assert 1.1 * plain.value + 4 * error < moving.value < spectrum_factor(0.9, 1, 1.0) * plain.value + 4 * error


def test_the_factor_in_closed_form():
    powers = 0.8 ** (2 * np.arange(500))
    assert spectrum_factor(0.8, 3) == pytest.approx(powers.sum() ** 3, rel=1e-9)
    with pytest.raises(ValueError, match="infinite"):
        spectrum_factor(1.0, 1)
    assert np.isfinite(spectrum_factor(1.0, 1, eps=0.05))


def test_images_carry_a_faint_pattern_of_bytes():
    inner = TwoRooms(size=16)
    world = Distractors(inner, 1.0, size=4, scale=6.0)
    states = world.start(torch.rand(400, world.start_numbers, generator=torch.Generator().manual_seed(0)))
    with_pattern, without = (
        world.observe(states, torch.zeros(400, 0)),
        inner.observe(states[:, :2], torch.zeros(400, 0)),
    )
    assert with_pattern.dtype == torch.uint8
    difference = with_pattern.float() - without.float()
    # The wall is far from white, so nothing is cut off there; a third of a byte's rounding is little.
    wall = (without == torch.tensor([60, 60, 70])).all(-1)
    assert 4.5 < difference[wall].std() < 7.5
    assert torch.equal(difference[wall][:, 0], difference[wall][:, 2]), "grey"
    again = world.sample(3, 4, seed=1)
    moved = again.observations.astype(float)[:, 1:] - again.observations[:, :-1]
    assert np.abs(moved).mean() < 3, "a static background hardly changes"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"persistence": 1.1}, "0 is fresh"), ({"size": 0}, "size ≥ 1"), ({"scale": 0.0}, "scale > 0")],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Distractors(PLAIN, **settings)

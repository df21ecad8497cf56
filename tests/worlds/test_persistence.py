"""A nuisance that persists costs width as the closed form says; a fresh one costs nothing."""

import numpy as np
import pytest

from jepa_scale.theory.graph import next_law
from jepa_scale.theory.learners import fit_shared
from jepa_scale.theory.learning_curve import best_risk_width, learning_curve
from jepa_scale.theory.planning import PlanningProblem, goal_multiplicity, plan_values
from jepa_scale.theory.spectrum import singular_values, stacked_singular_values
from jepa_scale.worlds.deterministic_grid import DeterministicGrid
from jepa_scale.worlds.lowrank import LowRank
from jepa_scale.worlds.persistence import Persistence, exact_singular_values
from jepa_scale.worlds.torus import Torus

HIDDEN = {
    "torus": Torus(side=3, slip=0.3, blur=0.4),
    "lowrank": LowRank(states=9, action_count=3, rank=4),
    "grid": DeterministicGrid(side=3),
}


@pytest.mark.parametrize("name", sorted(HIDDEN))
@pytest.mark.parametrize("values", [1, 2, 5])
@pytest.mark.parametrize("persistence", [0.0, 0.3, 0.9, 1.0])
def test_the_spectrum_is_the_hidden_ones_and_its_multiples(name, values, persistence):
    """Rounding of a 45 × 45 SVD is far below 1e-10."""
    hidden = HIDDEN[name]
    world = Persistence(hidden, values, persistence).finite
    for of_world in (singular_values, stacked_singular_values):
        found, bare = of_world(world), of_world(hidden.finite)
        by_hand = [
            np.sort(np.concatenate([row, np.repeat(persistence * row, values - 1)]))[::-1] for row in _rows(bare)
        ]
        np.testing.assert_allclose(_rows(found), by_hand, atol=1e-10)
        np.testing.assert_allclose(exact_singular_values(bare, values, persistence), found, atol=1e-10)


def _rows(values):
    return np.atleast_2d(values)


@pytest.mark.parametrize("persistence", [0.0, 0.5, 1.0])
def test_the_nuisance_is_independent_of_action_and_state_and_correlated_as_said(persistence):
    world = Persistence(HIDDEN["lowrank"], 4, persistence).finite
    joint = (world.context_law[None, :, None] * world.transition).reshape(3, 9, 4, 9, 4)
    # P(m' | h, m, a) is one 4 × 4 matrix for all h and a.
    chain = joint.sum(3) / joint.sum((3, 4))[..., None]
    np.testing.assert_allclose(chain - chain[0, 0], 0, atol=1e-12)
    np.testing.assert_allclose(np.diag(chain[0, 0]), persistence + (1 - persistence) / 4)
    values = np.array([1.0, -1.0, 1.0, -1.0])
    np.testing.assert_allclose(values @ chain[0, 0] @ values / 4, persistence, atol=1e-12)
    # And uniform at every time, whatever the hidden state.
    np.testing.assert_allclose(joint.sum((0, 3, 4)), np.repeat(joint.sum((0, 2, 3, 4))[:, None] / 4, 4, axis=1))


def test_a_frozen_nuisance_never_moves_and_its_law_stays_uniform():
    world = Persistence(Torus(side=3), 4, 1.0)
    nuisance = world.sample(200, 30, seed=0).states % 4
    assert (nuisance == nuisance[:, :1]).all()
    assert set(nuisance[:, 0]) == {0, 1, 2, 3}
    np.testing.assert_allclose(world.finite.policy @ next_law(world.finite), world.finite.context_law, atol=1e-14)


def test_goals_ignore_the_nuisance():
    hidden = Torus(side=3, slip=0.3)
    world = Persistence(hidden, 4, 0.7).finite
    values = plan_values(world, 1).reshape(5, 9, 4, 9, 4)
    np.testing.assert_allclose(values - plan_values(hidden.finite, 1)[:, :, None, :, None], 0, atol=1e-14)


def test_observations_of_a_goal_are_interchangeable_only_where_noise_is_fresh():
    assert goal_multiplicity(Persistence(Torus(side=3), 4, 0.0).finite) == 4.0
    assert goal_multiplicity(Persistence(Torus(side=3), 4, 0.1).finite) is None


def test_no_single_coordinate_tells_the_state_or_only_nuisance():
    seen = Persistence(Torus(side=3), 8).observations.reshape(9, 8, 32)
    assert seen.std(axis=1).mean(0).min() > 0.1
    assert seen.mean(axis=1).std(0).min() > 0.1


def test_one_nuisance_code_serves_all_states():
    """x(h, m) − x(h, 0) does not depend on h: what stays is one thing, not one thing per state."""
    seen = Persistence(Torus(side=3), 8).observations.reshape(9, 8, 32)
    difference = seen - seen[:, :1]
    np.testing.assert_allclose(difference - difference[:1], 0, atol=1e-12)


def test_persistence_moves_the_best_width():
    """Fresh noise leaves k* where the hidden world has it, M = 4 frozen copies push it out."""
    best = {}
    for persistence in (0.0, 1.0):
        world = Persistence(Torus(3, 0.2, 0.3), 4, persistence).finite
        curve = learning_curve(
            world, PlanningProblem(), (100_000,), range(1, 37), 4, np.random.default_rng(0), fit_shared
        )
        best[persistence] = int(best_risk_width(curve, np.random.default_rng(1)).width[0])
    assert best[0.0] <= 9 < 27 <= best[1.0]


def test_nested_nuisances_multiply():
    world = Persistence(Persistence(Torus(side=2), 2, 0.5), 3, 0.8).finite
    bare = singular_values(Torus(side=2).finite)
    expected = exact_singular_values(exact_singular_values(bare, 2, 0.5), 3, 0.8)
    np.testing.assert_allclose(singular_values(world), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nuisance_values": 0}, r"nuisance_values=0: 1 is none"),
        ({"persistence": 1.01}, r"persistence=1\.01: 0 is fresh noise"),
        ({"persistence": -0.1}, r"persistence=-0\.1"),
        ({"nuisance_size": 32}, r"nuisance_size=32"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Persistence(Torus(), **settings)

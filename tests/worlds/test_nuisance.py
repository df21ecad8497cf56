import numpy as np
import pytest

from jepa_scale.theory.planning import goal_multiplicity
from jepa_scale.theory.spectrum import singular_values
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.torus import Torus


def world(**settings):
    return Nuisance(Torus(side=3, slip=0.3), **settings)


def test_nuisance_adds_zeros_to_the_spectrum():
    hidden, seen = singular_values(Torus(side=3, slip=0.3).finite), singular_values(world().finite)
    np.testing.assert_allclose(seen[:, :9], hidden, atol=1e-10)
    np.testing.assert_allclose(seen[:, 9:], 0.0, atol=1e-10)


def test_goals_are_hidden_states():
    assert goal_multiplicity(world(observations_per_state=6).finite) == 6.0


def test_no_single_coordinate_tells_the_state_or_only_nuisance():
    """Mixed: in every coordinate both the state and the nuisance vary."""
    seen = world().observations.reshape(9, 8, 32)
    within = seen.std(axis=1).mean(0)
    between = seen.mean(axis=1).std(0)
    assert within.min() > 0.1
    assert between.min() > 0.1


def test_one_observation_per_state_is_the_hidden_world():
    np.testing.assert_allclose(world(observations_per_state=1).kernel(), Torus(side=3, slip=0.3).kernel())


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="observations_per_state=0"):
        world(observations_per_state=0)
    with pytest.raises(ValueError, match="nuisance_size=32"):
        world(nuisance_size=32)

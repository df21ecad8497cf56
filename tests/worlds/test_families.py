"""Every family makes worlds, and those it is named for."""

import numpy as np
import pytest

from jepa_scale.theory.graph import next_law, normalised_co_occurrence
from jepa_scale.theory.planning import goal_multiplicity
from jepa_scale.theory.spectrum import singular_values
from jepa_scale.worlds.families import FAMILIES


def many(name, generator, states=range(1, 9), each=5):
    return [FAMILIES[name](generator, size) for size in states for _ in range(each)]


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_worlds_of_every_size_are_worlds(name, generator):
    for world in many(name, generator):
        assert 1 <= world.states <= 9
        assert world.actions >= 2
        np.testing.assert_allclose(world.transition.sum(-1), 1.0, atol=1e-12)
        assert (world.context_law > 0).all()
        assert np.isfinite(normalised_co_occurrence(world)).all()
        assert goal_multiplicity(world) is not None
        np.testing.assert_allclose(singular_values(world)[:, 0], 1.0, atol=1e-9)


@pytest.mark.parametrize("name", ["doubly_stochastic", "nuisance", "torus"])
def test_the_next_law_is_the_context_law(name, generator):
    for world in many(name, generator):
        np.testing.assert_allclose(next_law(world) - world.context_law, 0, atol=1e-12)


def test_permutations_are_deterministic_and_injective(generator):
    for world in many("permutation", generator):
        assert set(np.unique(world.transition)) <= {0.0, 1.0}
        np.testing.assert_array_equal(world.transition.sum(1), 1.0)
    laws = [np.ptp(world.context_law) for world in many("permutation", generator, [6], each=20)]
    assert 0 < sum(spread > 1e-9 for spread in laws) < len(laws), "uniform and other laws should both come"


def test_non_injective_maps_merge_states_and_share_their_next_law(generator):
    worlds = many("non_injective", generator, [6])
    assert all(set(np.unique(world.transition)) == {0.0, 1.0} for world in worlds)
    assert all(np.ptp(next_law(world), axis=0).max() < 1e-12 for world in worlds)
    assert any((next_law(world) == 0).any() for world in worlds)


def test_dirichlet_next_laws_differ_by_action(generator):
    assert all(np.ptp(next_law(world), axis=0).max() > 1e-3 for world in many("dirichlet", generator, [4, 8]))


def test_shared_low_rank_is_low_rank_when_stacked_and_separate_is_not(generator):
    def ranks(name):
        found = []
        for world in many(name, generator, [8], each=20):
            one = max(np.linalg.matrix_rank(kernel, tol=1e-9) for kernel in world.transition)
            found.append(np.linalg.matrix_rank(np.vstack(world.transition), tol=1e-9) - one)
        return found

    assert max(ranks("low_rank_shared")) == 0
    assert max(ranks("low_rank_separate")) > 0


def test_nuisance_goals_are_groups_of_two(generator):
    for world in many("nuisance", generator, [4, 8]):
        assert goal_multiplicity(world) == 2.0


def test_masses_near_zero_are_near_zero(generator):
    assert all(world.context_law.min() < 1e-3 for world in many("near_zero_mass", generator, [4, 8]))

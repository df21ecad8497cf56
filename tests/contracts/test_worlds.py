"""Every finite world of conf/world keeps its promises."""

from importlib.metadata import PackageNotFoundError, distribution

import hydra
import numpy as np
import pytest
import yaml

from jepa_scale.runs.build import build_world
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.theory.graph import next_law
from jepa_scale.theory.spectrum import singular_values
from jepa_scale.worlds.base import ExactWorld


def finite(name):
    leaf = yaml.safe_load((conf_dir() / "world" / f"{name}.yaml").read_text())
    return issubclass(hydra.utils.get_class(leaf["_target_"]), ExactWorld)


NAMES = sorted(leaf.stem for leaf in (conf_dir() / "world").glob("*.yaml") if finite(leaf.stem))

PACKAGES = {"gymnasium_tabular": "gymnasium", "icu_sepsis": "icu-sepsis"}
"""Distributions that a leaf reads from; its cases are skipped, by name, where that is absent."""


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name == "icu_sepsis")) for name in NAMES])
def world(request, tmp_path_factory):
    if request.param in PACKAGES:
        try:
            distribution(PACKAGES[request.param])
        except PackageNotFoundError:
            pytest.skip(f"world={request.param} needs pip install {PACKAGES[request.param]}")
    needed = [f"world.path={kernel_file(tmp_path_factory)}"] if request.param == "tabular" else []
    return build_world(compose([f"world={request.param}", *needed]))


def kernel_file(folders):
    """A kernel with q_a that differ and two observations that are left for good."""
    generator = np.random.default_rng(0)
    kernel = np.zeros((3, 12, 12))
    kernel[:, :, 2:] = generator.dirichlet(np.full(10, 0.5), size=(3, 12))
    path = folders.mktemp("kernels") / "kernel.npz"
    np.savez(path, P=kernel, observations=generator.normal(size=(12, 5)), goal_groups=np.arange(12) // 2)
    return path


def test_the_sampling_law_is_stationary(world):
    finite = world.finite
    np.testing.assert_allclose(finite.policy @ next_law(finite), finite.context_law, atol=1e-12)


def test_the_spectrum_starts_at_one(world):
    values = singular_values(world.finite)
    np.testing.assert_allclose(values[:, 0], 1.0, atol=1e-10)
    assert (values <= 1 + 1e-10).all()


def test_shapes_agree(world):
    assert world.observations.shape == (world.finite.states, *world.observation_shape)
    assert world.actions == world.finite.actions
    sample = world.sample(3, 4, seed=1)
    assert sample.observations.shape == (3, 5, *world.observation_shape)
    assert sample.observations.dtype == np.float32
    assert sample.actions.shape == (3, 4)
    np.testing.assert_array_equal(sample.observations, world.observations.astype(np.float32)[sample.states])


def test_observations_tell_all_states_apart(world):
    assert len(np.unique(world.observations.round(9), axis=0)) == world.finite.states


def test_one_seed_one_sample(world):
    assert world.sample(4, 5, seed=2).checksum == world.sample(4, 5, seed=2).checksum
    assert world.sample(4, 5, seed=2).checksum != world.sample(4, 5, seed=3).checksum


def test_fewer_trajectories_are_a_prefix(world):
    many, few = world.sample(9, 5, seed=4), world.sample(2, 5, seed=4)
    np.testing.assert_array_equal(many.states[:2], few.states)
    np.testing.assert_array_equal(many.actions[:2], few.actions)


def test_sampled_transitions_follow_the_kernel(world):
    """Every probability of x' given the action, pooled over contexts, against its frequency."""
    sample = world.sample(4000, 5, seed=5)
    law = next_law(world.finite)
    for action in range(world.actions):
        chosen = sample.actions == action
        count = chosen.sum()
        frequency = np.bincount(sample.states[:, 1:][chosen], minlength=world.finite.states) / count
        # 5 standard errors of a binomial, for some hundreds of comparisons.
        allowed = 5 * np.sqrt(law[action] * (1 - law[action]) / count) + 5 / count
        assert (np.abs(frequency - law[action]) <= allowed).all()


def test_sampled_pairs_follow_the_co_occurrence(world):
    """A statistic of the pair: the probability of the transition that was drawn, against its expectation."""
    finite, sample = world.finite, world.sample(4000, 5, seed=6)
    drawn = finite.transition[sample.actions, sample.states[:, :-1], sample.states[:, 1:]]
    weights = finite.policy[:, None, None] * finite.context_law[None, :, None]
    expected = (weights * finite.transition**2).sum()
    spread = np.sqrt((weights * finite.transition**3).sum() - expected**2)
    # Transitions of a trajectory are dependent; its 5 transitions count as one for the tolerance of 5 standard errors.
    assert abs(drawn.mean() - expected) <= 5 * spread / np.sqrt(4000)
    assert drawn.min() > 0


def test_sizes_below_one_are_refused(world):
    with pytest.raises(ValueError, match="at least 1 trajectory"):
        world.sample(0, 5, seed=0)

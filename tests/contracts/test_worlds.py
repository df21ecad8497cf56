"""Every finite world of conf/world keeps its promises."""

from importlib.metadata import PackageNotFoundError, distribution

import hydra
import numpy as np
import pytest
import yaml

from jepa_scale.runs.build import build_world
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.testing import check_world
from jepa_scale.theory.graph import next_law
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


def test_the_contract_of_a_world(world):
    check_world(world)


def test_observations_are_those_of_the_states(world):
    sample = world.sample(3, 4, seed=1)
    np.testing.assert_array_equal(sample.observations, world.observations.astype(np.float32)[sample.states])


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

import numpy as np
import pytest

from jepa_scale.theory.graph import FiniteWorld, negative_law, normalised_co_occurrence
from jepa_scale.theory.spectrum import (
    canonical_correlations,
    exact_moments,
    exact_risk,
    inverse_root,
    singular_values,
    spectral_gap,
    spectral_loss,
    spectral_tail,
    stacked_singular_values,
)
from tests.reference import worlds as reference

EXACT = 1e-10


def random_model(generator, world, k):
    return generator.normal(size=(world.states, k)), generator.normal(size=(world.actions, world.states, k))


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
@pytest.mark.parametrize("k", [1, 3, 6, 9])
def test_t1_risk_is_loss_plus_squared_norm(generator, negatives, k):
    world = reference.random_world(generator)
    encoder, predictor = random_model(generator, world, k)
    loss = reference.loss(world, encoder, predictor, negatives == "pooled")
    squared_norm = (normalised_co_occurrence(world, negatives) ** 2).sum((1, 2))
    np.testing.assert_allclose(exact_risk(world, encoder, predictor, negatives), loss + squared_norm, atol=EXACT)
    moments = exact_moments(world, encoder, predictor, negatives)
    np.testing.assert_allclose(spectral_loss(moments), loss, atol=EXACT)


@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_t2_the_truncated_svd_attains_the_tail(generator, k):
    world = reference.random_world(generator)
    values, law = singular_values(world), negative_law(world, "same_action")
    for action in range(world.actions):
        left, sigma, right = np.linalg.svd(normalised_co_occurrence(world)[action])
        encoder = (np.sqrt(sigma[:k, None]) * right[:k]).T / np.sqrt(law[action])[:, None]
        head = (left[:, :k] * np.sqrt(sigma[:k])) / np.sqrt(world.context_law)[:, None]
        predictor = np.repeat(head[None], world.actions, axis=0)
        risk = exact_risk(world, encoder, predictor)[action]
        assert risk == pytest.approx(spectral_tail(values, k)[action], abs=EXACT)
        # Any other factorisation of that rank is no better.
        for _ in range(20):
            other = encoder + 0.1 * generator.normal(size=encoder.shape)
            assert exact_risk(world, other, predictor)[action] >= risk - EXACT


@pytest.mark.parametrize("k", [1, 2, 5])
def test_b2_the_stacked_tail_is_attained_and_is_a_floor(generator, k):
    world = reference.random_world(generator)
    law = negative_law(world, "pooled")[0]
    matrices = normalised_co_occurrence(world, "pooled")
    stacked = (np.sqrt(world.policy)[:, None, None] * matrices).reshape(-1, world.states)
    right = np.linalg.svd(stacked)[2][:k]
    encoder = right.T / np.sqrt(law)[:, None]
    predictor = matrices @ right.T / np.sqrt(world.context_law)[None, :, None]
    floor = spectral_tail(stacked_singular_values(world, "pooled"), k)
    assert world.policy @ exact_risk(world, encoder, predictor, "pooled") == pytest.approx(floor, abs=EXACT)
    mean_tail = world.policy @ spectral_tail(singular_values(world, "pooled"), k)
    assert floor >= mean_tail - EXACT


def test_canonical_correlations_of_complete_features_are_the_singular_values(generator):
    world = reference.random_world(generator)
    complete = np.eye(world.states)
    moments = exact_moments(world, complete, np.repeat(complete[None], world.actions, axis=0))
    np.testing.assert_allclose(canonical_correlations(moments), singular_values(world), atol=EXACT)


def test_canonical_correlations_never_exceed_the_singular_values(generator):
    for _ in range(20):
        world = reference.random_world(generator)
        encoder, predictor = random_model(generator, world, 3)
        found = canonical_correlations(exact_moments(world, encoder, predictor))
        assert (found <= singular_values(world)[:, :3] + EXACT).all()


def test_canonical_correlations_ignore_linear_maps_of_the_features(generator):
    world = reference.random_world(generator)
    encoder, predictor = random_model(generator, world, 3)
    one, other = generator.normal(size=(2, 3, 3))
    plain = canonical_correlations(exact_moments(world, encoder, predictor))
    mapped = canonical_correlations(exact_moments(world, encoder @ one * 1e-4, predictor @ other * 1e3))
    np.testing.assert_allclose(mapped, plain, atol=1e-8)


def test_duplicated_features_change_nothing(generator):
    world = reference.random_world(generator)
    encoder, predictor = random_model(generator, world, 2)
    plain = canonical_correlations(exact_moments(world, encoder, predictor))
    doubled = canonical_correlations(exact_moments(world, np.hstack([encoder] * 2), np.dstack([predictor] * 2)))
    np.testing.assert_allclose(doubled[:, :2], plain, atol=1e-8)
    np.testing.assert_allclose(doubled[:, 2:], 0.0, atol=1e-8)


def test_inverse_root_whitens_and_drops_dead_directions():
    second = np.diag([4.0, 1e-6, 0.0])
    root = inverse_root(second)
    np.testing.assert_allclose(np.sort(np.diagonal(root.T @ second @ root)), [0.0, 1.0, 1.0], atol=1e-12)


def test_deterministic_worlds_have_unit_singular_values_only(generator):
    # E4 and worlds without noise: every nonzero singular value is 1, as often as the image has points.
    image = np.array([0, 0, 2, 3, 3, 5])
    world = FiniteWorld(np.eye(6)[image][None], generator.dirichlet(np.ones(6)), np.ones(1), np.arange(6))
    np.testing.assert_allclose(singular_values(world)[0], [1, 1, 1, 1, 0, 0], atol=1e-12)


def test_tail_and_gap_at_the_ends():
    values = np.array([1.0, 0.5, 0.25])
    assert spectral_tail(values, 0) == pytest.approx(1.3125)
    assert spectral_tail(values, 3) == 0.0
    assert spectral_tail(values, 99) == 0.0
    assert spectral_gap(values, 1) == pytest.approx(0.5)
    assert spectral_gap(values, 3) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="k=4"):
        spectral_gap(values, 4)
    with pytest.raises(ValueError, match="k=-1"):
        spectral_tail(values, -1)


def test_prewhitened_correlations_are_the_canonical_correlations(generator):
    """Of perturbed moments, by the roots of the unperturbed; with a duplicated feature, which both drop."""
    from jepa_scale.theory.spectrum import Moments, prewhitened_correlations

    world = reference.random_world(generator)
    encoder, predictor = random_model(generator, world, 3)
    encoder, predictor = np.hstack([encoder, encoder[:, :1]]), np.dstack([predictor, predictor[:, :, :1]])
    first = exact_moments(world, encoder, predictor)
    other = exact_moments(reference.random_world(generator), encoder, predictor)
    mixed = Moments(*(0.9 * a + 0.1 * b for a, b in zip(vars(first).values(), vars(other).values(), strict=True)))
    found = prewhitened_correlations(mixed, inverse_root(first.hh), inverse_root(first.ff))
    np.testing.assert_allclose(found, canonical_correlations(mixed), atol=1e-9)

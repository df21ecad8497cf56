import numpy as np
import pytest

from jepa_scale.theory.model import (
    TabularModel,
    clip_spectrum,
    least_squares_predictor,
    model_singular_values,
    truncated_svd,
)
from jepa_scale.theory.spectrum import exact_risk, singular_values, spectral_tail
from tests.reference import bounds as slow
from tests.reference import worlds as reference


def product(world, model, negatives="same_action"):
    """GᵀF, dense."""
    matrices, _, residual = slow.parts(world, model.encoder, model.predictor, negatives == "pooled")
    return matrices - residual


def risk_of(world, model, negatives="same_action"):
    return exact_risk(world, model.encoder, model.predictor, negatives)


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_one_action_reaches_its_tail(generator, k):
    world = reference.random_world(generator, states=6, actions=1)
    tail = spectral_tail(singular_values(world), k)
    np.testing.assert_allclose(risk_of(world, truncated_svd(world, k)), tail, atol=1e-10)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_pooled_negatives_reach_the_tail_of_the_stacked_matrix(generator, k):
    world = reference.random_world(generator, states=6, actions=3)
    matrices, _ = reference.normalised_co_occurrence(world, pooled=True)
    stacked = np.vstack([np.sqrt(world.policy[a]) * matrices[a] for a in range(3)])
    expected = (np.linalg.svd(stacked, compute_uv=False)[k:] ** 2).sum()
    model = truncated_svd(world, k, "pooled")
    assert world.policy @ risk_of(world, model, "pooled") == pytest.approx(expected, abs=1e-10)
    law = slow.parts(world, model.encoder, model.predictor, True)[1][0]
    np.testing.assert_allclose(model.encoder.T * law @ model.encoder, np.eye(k), atol=1e-10)


def test_the_least_squares_predictor_cannot_be_improved(generator):
    world = reference.random_world(generator)
    encoder = generator.normal(size=(6, 3))
    best = least_squares_predictor(world, encoder)
    risk = risk_of(world, TabularModel(encoder, best))
    for _ in range(20):
        other = TabularModel(encoder, best + 1e-3 * generator.normal(size=best.shape))
        assert (risk_of(world, other) >= risk).all()


def test_the_least_squares_predictor_of_repeated_and_zero_features(generator):
    """A rank-deficient encoder has many best predictors; the risk is that of the space it spans."""
    world = reference.random_world(generator)
    encoder = generator.normal(size=(6, 2))
    padded = np.hstack([encoder, encoder[:, :1], np.zeros((6, 1))])
    both = [risk_of(world, TabularModel(one, least_squares_predictor(world, one))) for one in (encoder, padded)]
    np.testing.assert_allclose(both[0], both[1], atol=1e-10)


@pytest.mark.parametrize("k", [2, 6, 9])
@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_singular_values_of_the_model_without_its_matrix(generator, k, negatives):
    world = reference.random_world(generator)
    model = TabularModel(generator.normal(size=(6, k)), generator.normal(size=(3, 6, k)))
    dense = np.linalg.svd(product(world, model, negatives), compute_uv=False)
    np.testing.assert_allclose(model_singular_values(world, model, negatives), dense[:, : min(k, 6)], atol=1e-10)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_clipping_is_the_projection_of_the_dense_matrix(generator, k):
    world = reference.random_world(generator)
    model = TabularModel(generator.normal(size=(6, k)), generator.normal(size=(3, 6, k)))
    clipped = clip_spectrum(world, model)
    left, values, right = np.linalg.svd(product(world, model))
    expected = left * np.minimum(values, 1.0)[:, None, :] @ right
    np.testing.assert_allclose(product(world, clipped), expected, atol=1e-10)
    assert values.max() > 1.1
    assert (risk_of(world, clipped) <= risk_of(world, model) + 1e-12).all()
    np.testing.assert_array_equal(clipped.encoder, model.encoder)


@pytest.mark.parametrize("k", [0, 7, -1])
def test_a_width_that_no_factorisation_needs_is_refused(generator, k):
    with pytest.raises(ValueError, match=f"1 ≤ k ≤ N = 6, got k={k}"):
        truncated_svd(reference.random_world(generator), k)


def test_clipping_can_cost_risk_with_pooled_negatives(generator):
    """‖M̄(a)‖ exceeds 1 there: the docstring promises nothing."""
    grown = 0.0
    for _ in range(100):
        world = reference.random_world(generator, states=4, actions=3)
        model = truncated_svd(world, 4, "pooled")
        before, after = (risk_of(world, one, "pooled") for one in (model, clip_spectrum(world, model, "pooled")))
        grown = max(grown, float((after - before).max()))
    assert grown > 0.001


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(bad):
    for encoder, predictor, maps in (
        (bad, 1.0, None),
        (1.0, bad, None),
        (1.0, 1.0, bad),
    ):
        with pytest.raises(ValueError, match="expected finite embeddings"):
            TabularModel(
                np.full((3, 2), encoder),
                np.full((2, 3, 2), predictor),
                None if maps is None else np.full((2, 2, 2), maps),
            )


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"expected encoder \(N, k\) with N ≥ 1 and k ≥ 1"):
        TabularModel(np.ones((3, 0)), np.ones((2, 3, 0)))
    with pytest.raises(ValueError, match=r"expected encoder \(N, k\)"):
        TabularModel(np.ones(3), np.ones((2, 3, 1)))
    with pytest.raises(ValueError, match="expected encoder"):
        TabularModel(np.ones((3, 2)), np.ones((2, 3, 1)))
    with pytest.raises(ValueError, match=r"expected maps \(A, k, k\) = \(2, 2, 2\)"):
        TabularModel(np.ones((3, 2)), np.ones((2, 3, 2)), np.ones((1, 2, 2)))

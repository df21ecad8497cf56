import numpy as np
import pytest

from jepa_scale.theory.graph import FiniteWorld, negative_law, normalised_co_occurrence
from jepa_scale.theory.learners import (
    empirical_co_occurrence,
    fit_per_action,
    fit_shared,
    risk_by_width,
    sample_counts,
)
from jepa_scale.theory.spectrum import exact_risk, singular_values, spectral_tail, stacked_singular_values
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.torus import Torus
from tests.reference import learners as slow
from tests.reference import worlds as reference

EXACT = 1e-10
LEARNERS = [(fit_per_action, slow.per_action_matrix, False), (fit_shared, slow.shared_matrix, True)]
IDS = ["per_action", "shared"]


def model_matrix(world, model):
    scaled = np.sqrt(world.context_law)[None, :, None] * model.predictor
    features = np.sqrt(negative_law(world, model.negatives))[:, :, None] * model.encoder
    return scaled @ features.swapaxes(1, 2)


def one_action_world(generator, states):
    kernel = generator.dirichlet(np.full(states, 0.7), size=(1, states))
    return FiniteWorld(kernel, generator.dirichlet(np.full(states, 2.0)), np.ones(1), np.arange(states))


@pytest.mark.parametrize(("learner", "expected", "pooled"), LEARNERS, ids=IDS)
@pytest.mark.parametrize("k", [1, 3, 6])
def test_fits_and_risks_match_the_slow_ones_at_every_width(generator, learner, expected, pooled, k):
    world = reference.random_world(generator)
    counts = sample_counts(world, 200, generator)
    model = learner(world, counts, 6)
    matrices = expected(world, counts, k)
    np.testing.assert_allclose(model_matrix(world, model.truncate(k)), matrices, atol=EXACT)
    np.testing.assert_allclose(model_matrix(world, learner(world, counts, k)), matrices, atol=EXACT)
    found = risk_by_width(world, model)
    assert found.shape == (world.actions, 6)
    np.testing.assert_allclose(found[:, k - 1], slow.risk(world, matrices, pooled), atol=EXACT)


def test_risk_by_width_is_the_exact_risk_of_the_tabulated_model(generator):
    world = reference.random_world(generator)
    model = fit_shared(world, sample_counts(world, 100, generator), 6)
    for k in range(1, 7):
        part = model.truncate(k)
        expected = exact_risk(world, part.encoder[0], part.predictor, "pooled")
        np.testing.assert_allclose(risk_by_width(world, model)[:, k - 1], expected, atol=EXACT)


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_empirical_matrix_is_the_slow_one(generator, negatives):
    world = reference.random_world(generator)
    counts = sample_counts(world, 50, generator)
    expected = slow.empirical_co_occurrence(world, counts, negatives == "pooled")
    np.testing.assert_allclose(empirical_co_occurrence(world, counts, negatives), expected, atol=EXACT)


def exact_counts(generator):
    """A world whose law p π P is counts / n to the last bit, so that a fit of the counts is a fit of the truth."""
    counts = generator.integers(1, 9, size=(3, 5, 5))
    # Equal row sums over x, the same for each action: then the policy does not look at x.
    counts[:, :, 0] += 60 - counts.sum(2)
    law = np.full(5, 1 / 5)
    return FiniteWorld(counts / 60, law, np.full(3, 1 / 3), np.arange(5)), counts


@pytest.mark.parametrize("k", [1, 2, 5])
def test_of_the_law_itself_both_learners_attain_their_tails(generator, k):
    world, counts = exact_counts(generator)
    alone = risk_by_width(world, fit_per_action(world, counts, k))[:, -1]
    np.testing.assert_allclose(alone, spectral_tail(singular_values(world), k), atol=EXACT)
    together = world.policy @ risk_by_width(world, fit_shared(world, counts, k))[:, -1]
    assert together == pytest.approx(spectral_tail(stacked_singular_values(world, "pooled"), k), abs=EXACT)


def test_noise_of_the_complete_fit_has_its_closed_form(generator):
    """E R at k = N is (Σ M/(p q) − ‖M̄‖²)/n; from 400 data sets, within 4 standard errors."""
    world, n = one_action_world(generator, 6), 50
    law, truth = negative_law(world, "same_action")[0], normalised_co_occurrence(world)[0]
    joint = world.context_law[:, None] * world.transition[0]
    expected = ((joint / np.outer(world.context_law, law)).sum() - (truth**2).sum()) / n
    risks = [
        risk_by_width(world, fit_per_action(world, sample_counts(world, n, generator), 6))[0, -1] for _ in range(400)
    ]
    assert abs(np.mean(risks) - expected) < 4 * np.std(risks) / 20


@pytest.mark.parametrize("learner", [fit_per_action, fit_shared], ids=IDS)
def test_excess_over_the_tail_falls_as_one_over_n(generator, learner):
    """With a gap after k the excess risk is second order in the noise, so a hundredfold n divides it by 100."""
    world = reference.random_world(generator)
    if learner is fit_per_action:
        floor = world.policy @ spectral_tail(singular_values(world), 3)
    else:
        floor = spectral_tail(stacked_singular_values(world, "pooled"), 3)
    excess = []
    for n in (10_000, 1_000_000):
        risks = [
            world.policy @ risk_by_width(world, learner(world, sample_counts(world, n, generator), 3))[:, -1]
            for _ in range(60)
        ]
        excess.append(np.mean(risks) - floor)
    assert min(excess) > 0
    # 60 data sets: the mean of a chi-square-like excess of some ten degrees of freedom has a relative error of about
    # 6 %, their quotient 8 %; rates of n^{-1/2} or none would give 10 or 1.
    assert 65 < excess[0] / excess[1] < 150


def test_sharing_the_encoder_lowers_the_sample_error(generator):
    """B2: five actions' data find 9 hidden directions better than one's; paired over 10 data sets."""
    world = Nuisance(Torus(3, 0.2, 0.0), 4).finite
    gains = []
    for _ in range(10):
        counts = sample_counts(world, 800, generator)
        alone = world.policy @ risk_by_width(world, fit_per_action(world, counts, 9))[:, -1]
        gains.append(alone - world.policy @ risk_by_width(world, fit_shared(world, counts, 9))[:, -1])
    assert np.mean(gains) > 4 * np.std(gains) / np.sqrt(10)


@pytest.mark.parametrize("learner", [fit_per_action, fit_shared], ids=IDS)
@pytest.mark.parametrize("k", [1, 6])
def test_one_transition_is_enough_for_a_finite_model(generator, learner, k):
    world = reference.random_world(generator)
    model = learner(world, sample_counts(world, 1, generator), k)
    assert np.isfinite(model.encoder).all()
    assert np.isfinite(model.predictor).all()
    assert np.isfinite(risk_by_width(world, model)).all()


@pytest.mark.parametrize("learner", [fit_per_action, fit_shared], ids=IDS)
def test_an_action_never_seen_is_a_model_of_nothing(generator, learner):
    world = reference.random_world(generator)
    counts = sample_counts(world, 300, generator)
    counts[1] = 0
    model = learner(world, counts, 4)
    assert not (model.predictor[1] @ model.encoder[1].T).any()
    total = (normalised_co_occurrence(world, model.negatives)[1] ** 2).sum()
    np.testing.assert_allclose(risk_by_width(world, model)[1], total, atol=EXACT)


def test_duplicated_transitions_change_nothing(generator):
    world = reference.random_world(generator)
    counts = sample_counts(world, 40, generator)
    once, thrice = fit_shared(world, counts, 4), fit_shared(world, 3 * counts, 4)
    np.testing.assert_allclose(model_matrix(world, once), model_matrix(world, thrice), atol=EXACT)


def test_observations_never_reached_have_no_embedding(generator):
    kernel = np.zeros((2, 4, 4))
    kernel[:, :, :3] = generator.dirichlet(np.ones(3), size=(2, 4))
    world = FiniteWorld(kernel, np.full(4, 0.25), np.full(2, 0.5), np.arange(4))
    for learner in (fit_per_action, fit_shared):
        model = learner(world, sample_counts(world, 100, generator), 4)
        assert not model.encoder[:, 3].any()
        assert np.isfinite(risk_by_width(world, model)).all()
    impossible = np.zeros((2, 4, 4), dtype=np.int64)
    impossible[1, 0, 3] = 1
    with pytest.raises(ValueError, match="observation 3"):
        fit_shared(world, impossible, 2)


def test_counts_follow_the_law_and_the_seed(generator):
    world = reference.random_world(generator)
    counts = sample_counts(world, 1_000_000, generator)
    law = world.policy[:, None, None] * world.context_law[None, :, None] * world.transition
    assert counts.sum() == 1_000_000
    # Each cell is binomial; 108 cells stay within 5 standard deviations.
    assert (np.abs(counts - 1e6 * law) <= 5 * np.sqrt(1e6 * law) + 1).all()
    again = [sample_counts(world, 100, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_impossible_fits_are_refused(generator):
    world = reference.random_world(generator)
    counts = sample_counts(world, 30, generator)
    for learner in (fit_per_action, fit_shared):
        with pytest.raises(ValueError, match=r"1 ≤ k ≤ N = 6, got k=7.*choose"):
            learner(world, counts, 7)
        with pytest.raises(ValueError, match="k=0"):
            learner(world, counts, 0)
        with pytest.raises(ValueError, match="at least one transition"):
            learner(world, 0 * counts, 2)
        with pytest.raises(ValueError, match="A, N, N"):
            learner(world, counts[:, :5, :5], 2)
    with pytest.raises(ValueError, match="n=0"):
        sample_counts(world, 0, generator)
    with pytest.raises(ValueError, match="k=5"):
        fit_shared(world, counts, 4).truncate(5)

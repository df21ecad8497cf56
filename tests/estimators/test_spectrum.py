import numpy as np
import pytest

from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.estimators.moments import grouped_moments
from jepa_scale.estimators.spectrum import estimate_spectrum
from jepa_scale.theory.graph import normalised_co_occurrence
from jepa_scale.theory.spectrum import (
    canonical_correlations,
    exact_moments,
    exact_risk,
    singular_values,
    spectral_loss,
)
from jepa_scale.worlds.lowrank import LowRank
from jepa_scale.worlds.torus import Torus
from tests.reference import estimators as reference


def sample_of(generator, n=400, k=3, actions=2):
    mixing = generator.normal(size=(k, k))
    predicted = generator.normal(size=(n, k)) + 0.5
    observed = predicted @ mixing + generator.normal(size=(n, k))
    return predicted, observed, generator.integers(actions, size=n), np.repeat(np.arange(n // 10), 10)


def test_loss_equals_the_double_sum(generator):
    predicted, observed, actions, trajectories = sample_of(generator, n=80)
    moments = grouped_moments(predicted, observed, actions, trajectories, 2)
    for negatives in ("same_action", "pooled"):
        found = estimate_spectrum(moments, negatives).loss.whole
        for action in range(2):
            rows = np.flatnonzero(actions == action)
            rivals = rows if negatives == "same_action" else np.arange(80)
            assert found[action] == pytest.approx(reference.unbiased_loss(predicted, observed, rows, rivals), rel=1e-10)


def test_singular_values_equal_those_by_qr(generator):
    predicted, observed, actions, trajectories = sample_of(generator)
    found = estimate_spectrum(grouped_moments(predicted, observed, actions, trajectories, 2), "same_action")
    for action in range(2):
        rows = actions == action
        expected = reference.canonical_correlations(predicted[rows], observed[rows])
        np.testing.assert_allclose(found.singular_values.whole[action], expected, atol=1e-10)
    np.testing.assert_allclose(found.total.whole, (found.singular_values.whole**2).sum(1), atol=1e-12)


def test_merging_shards_is_adding_rows(generator):
    predicted, observed, actions, trajectories = sample_of(generator)
    whole = grouped_moments(predicted, observed, actions, trajectories, 2)
    halves = [
        grouped_moments(predicted[part], observed[part], actions[part], trajectories[part], 2)
        for part in (slice(0, 130), slice(130, 400))
    ]
    merged = halves[0].merge(halves[1])
    np.testing.assert_allclose(merged.zy, whole.zy, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(merged.matched_square, whole.matched_square, rtol=1e-12)


def test_independent_embeddings_have_no_total_after_correction(generator):
    """Truth: T = 0 for centred independent h and f; the plug-in's bias is p q / n per action."""
    n, k = 4000, 10
    totals = []
    for _ in range(20):
        predicted, observed = generator.normal(size=(2, n, k))
        actions = generator.integers(2, size=n)
        moments = grouped_moments(predicted, observed, actions, np.arange(n) // 10, 2)
        totals.append(estimate_spectrum(moments, "same_action").total)
    plug_in = np.mean([total.whole for total in totals])
    corrected = np.mean([total.value for total in totals])
    error = np.std([total.value.mean() for total in totals], ddof=1) / np.sqrt(20)
    assert plug_in == pytest.approx(k * k / (n / 2), rel=0.3)
    assert abs(corrected) < 4 * error


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
@pytest.mark.parametrize("world", [Torus(4, 0.2, 0.8), LowRank(states=20, rank=4)], ids=["torus", "lowrank"])
def test_estimates_meet_the_exact_values_within_their_errors(world, negatives, generator):
    """L, T and L + ‖M̄‖² over repeated held-out sets: centred on the truth, and their errors are the spread."""
    finite, k, repeats = world.finite, 3, 40
    encoder = world.observations @ generator.normal(size=(finite.states, k))
    predictor = np.stack([kernel @ encoder for kernel in finite.transition])
    moments = exact_moments(finite, encoder, predictor, negatives)
    truth = {
        "loss": spectral_loss(moments),
        "total": (canonical_correlations(moments) ** 2).sum(-1),
        "singular_values": canonical_correlations(moments),
    }
    found = {name: ([], []) for name in truth}
    for repeat in range(repeats):
        sample = world.sample(300, 10, seed=repeat)
        starts, ends, actions = sample.states[:, :-1].ravel(), sample.states[:, 1:].ravel(), sample.actions.ravel()
        trajectories = np.repeat(np.arange(300), 10)
        grouped = grouped_moments(predictor[actions, starts], encoder[ends], actions, trajectories, finite.actions)
        estimate = estimate_spectrum(grouped, negatives)
        for name, (values, errors) in found.items():
            values.append(getattr(estimate, name).value)
            errors.append(getattr(estimate, name).standard_error)
    for name, (values, errors) in found.items():
        spread = np.std(values, axis=0, ddof=1)
        # 4 standard errors of a mean of 40; a residual bias of a fifth of one estimate's error is allowed for, which
        # is what the second-order terms of the jackknife leave at n/k = 200.
        off = np.abs(np.mean(values, axis=0) - truth[name])
        assert (off <= 4 * spread / np.sqrt(repeats) + 0.2 * spread).all(), name
        ratio = np.mean(errors, axis=0) / spread
        # The spread of 40 values is known to 11 %; 16 groups add 18 % / √40.
        assert (ratio > 0.6).all(), name
        assert (ratio < 1.6).all(), name
    # The identity that the logged risk rests on.
    squared_norm = (normalised_co_occurrence(finite, negatives) ** 2).sum((1, 2))
    np.testing.assert_allclose(
        truth["loss"] + squared_norm, exact_risk(finite, encoder, predictor, negatives), atol=1e-10
    )
    best = (singular_values(finite, negatives)[:, :k] ** 2).sum(-1)
    assert (truth["total"] <= best + 1e-10).all()


def test_loss_plus_total_is_the_calibration_deficit(generator):
    predicted, observed, actions, trajectories = sample_of(generator)
    estimate = estimate_spectrum(grouped_moments(predicted, observed, actions, trajectories, 2), "same_action")
    assert (estimate.calibration_deficit.whole > -1e-10).all(), "it is a squared norm"


def test_flags(generator):
    predicted, observed, actions, trajectories = sample_of(generator, n=80)
    small = estimate_spectrum(grouped_moments(predicted, observed, actions, trajectories, 2), "same_action")
    assert all(small.n_too_small)
    assert not any(small.rank_deficient)
    predicted[:, 0] = observed[:, 0] = 1.0
    constant = estimate_spectrum(grouped_moments(predicted, observed, actions, trajectories, 2), "same_action")
    assert all(constant.rank_deficient)
    assert np.allclose(constant.singular_values.whole[:, 0], 1.0)


def test_a_width_of_one(generator):
    predicted, observed, actions, trajectories = sample_of(generator, k=1)
    estimate = estimate_spectrum(grouped_moments(predicted, observed, actions, trajectories, 2), "pooled")
    assert estimate.singular_values.value.shape == (2, 1)
    assert np.isfinite(estimate.gap.value).all()


def test_an_action_never_seen_is_refused(generator):
    predicted, observed, actions, trajectories = sample_of(generator)
    moments = grouped_moments(predicted, observed, actions, trajectories, 3)
    with pytest.raises(ValueError, match=r"data\.heldout"):
        estimate_spectrum(moments, "same_action")


def test_embeddings_that_are_not_finite_are_refused(generator):
    predicted, observed, actions, trajectories = sample_of(generator)
    observed[3, 1] = np.nan
    with pytest.raises(ValueError, match="diverged"):
        grouped_moments(predicted, observed, actions, trajectories, 2)
    with pytest.raises(ValueError, match="expected actions in 0"):
        grouped_moments(predicted, np.nan_to_num(observed), actions + 1, trajectories, 2)


def test_jackknife_of_a_mean_is_the_mean_and_its_error(generator):
    groups = generator.normal(size=16)
    left_out = np.array([np.delete(groups, g).mean() for g in range(16)])
    found = Jackknifed(np.asarray(groups.mean()), left_out)
    assert found.value == pytest.approx(groups.mean(), abs=1e-12)
    assert found.standard_error == pytest.approx(groups.std(ddof=1) / 4, rel=1e-12)


def test_jackknife_removes_a_bias_of_order_one_over_n(generator):
    groups = generator.normal(size=16)
    whole = groups.mean() ** 2
    left_out = np.array([np.delete(groups, g).mean() ** 2 for g in range(16)])
    # E[mean²] = μ² + σ²/n; the jackknife of a square subtracts the sample variance of the mean exactly.
    expected = whole - groups.var(ddof=1) / 16
    assert Jackknifed(np.asarray(whole), left_out).value == pytest.approx(expected, abs=1e-12)

import numpy as np
import pytest

from jepa_scale.estimators.model import estimate_model
from jepa_scale.estimators.moments import grouped_moments
from jepa_scale.estimators.risk import subspace_deficit
from jepa_scale.estimators.spectrum import OperatorSums, leading_values, operator_spectrum
from jepa_scale.theory.graph import normalised_co_occurrence
from jepa_scale.theory.spectrum import (
    canonical_correlations,
    exact_moments,
    exact_risk,
    singular_values,
    spectral_loss,
    spectral_tail,
)
from jepa_scale.worlds.lowrank import LowRank
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.torus import Torus
from tests.reference import estimators as reference


def sample_of(generator, n=400, k=3, actions=2):
    mixing = generator.normal(size=(k, k))
    predicted = generator.normal(size=(n, k)) + 0.5
    observed = predicted @ mixing + generator.normal(size=(n, k))
    return predicted, observed, generator.integers(actions, size=n), np.repeat(np.arange(n // 10), 10)


def spectrum_of(predicted, observed, trajectories=None):
    """Of one operator."""
    trajectories = np.arange(len(predicted)) if trajectories is None else trajectories
    moments = grouped_moments(predicted, observed, np.zeros(len(predicted), dtype=np.int64), trajectories, 1)
    return operator_spectrum(OperatorSums.of(moments, 0, "same_action"))


def with_constant(features):
    return np.column_stack([np.ones(len(features)), features])


def test_loss_equals_the_double_sum(generator):
    predicted, observed, actions, trajectories = sample_of(generator, n=80)
    moments = grouped_moments(predicted, observed, actions, trajectories, 2)
    for negatives in ("same_action", "pooled"):
        found = estimate_model(moments, negatives)
        for action in range(2):
            rows = np.flatnonzero(actions == action)
            rivals = rows if negatives == "same_action" else np.arange(80)
            expected = reference.unbiased_loss(predicted, observed, rows, rivals)
            assert found.risks[action].loss.whole == pytest.approx(expected, rel=1e-10)


def test_singular_values_equal_those_by_qr(generator):
    predicted, observed, actions, trajectories = sample_of(generator)
    moments = grouped_moments(predicted, observed, actions, trajectories, 2)
    for action in range(2):
        rows = actions == action
        found = operator_spectrum(OperatorSums.of(moments, action, "same_action"))
        own = reference.canonical_correlations(predicted[rows], observed[rows])
        np.testing.assert_allclose(found.own.whole, own, atol=1e-10)
        augmented = reference.canonical_correlations(with_constant(predicted[rows]), with_constant(observed[rows]))
        np.testing.assert_allclose(found.singular_values.whole, augmented, atol=1e-10)
        assert found.singular_values.whole[0] == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_allclose(found.total.whole, (augmented**2).sum(), atol=1e-12)


def test_every_sample_with_a_group_left_out_equals_its_own_decomposition(generator):
    predicted, observed, _, trajectories = sample_of(generator)
    found = spectrum_of(predicted, observed, trajectories)
    for group in range(16):
        rows = trajectories % 16 != group
        own = reference.canonical_correlations(predicted[rows], observed[rows])
        np.testing.assert_allclose(found.own.left_out[group], own, atol=1e-10)
        augmented = reference.canonical_correlations(with_constant(predicted[rows]), with_constant(observed[rows]))
        np.testing.assert_allclose(found.singular_values.left_out[group], augmented, atol=1e-10)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (30.0, 0.01), (-1000.0, 1.0), (0.0, 1e6)])
def test_invertible_affine_maps_change_nothing(shift, scale, generator):
    predicted, observed, _, trajectories = sample_of(generator)
    before = spectrum_of(predicted, observed, trajectories)
    mixing = scale * generator.normal(size=(3, 3))
    after = spectrum_of(predicted @ mixing + shift, scale * observed - shift, trajectories)
    # Covariances lose (shift/scale)² of their digits in float64 if embeddings are that far off centre.
    tolerance = 1e-12 * max(1.0, abs(shift / scale))
    np.testing.assert_allclose(after.singular_values.value, before.singular_values.value, atol=tolerance * 100, rtol=0)


def test_deeptime_agrees(generator):
    covariance = pytest.importorskip("deeptime.covariance")
    decomposition = pytest.importorskip("deeptime.decomposition")
    left = generator.normal(size=(5000, 12)) * np.logspace(0, -2, 12) + 3
    right = left[:, :8] @ generator.normal(size=(8, 8)) + generator.normal(size=(5000, 8))
    model = covariance.Covariance(
        compute_c00=True, compute_c0t=True, compute_ctt=True, remove_data_mean=True, bessels_correction=False
    )
    model.partial_fit((left[:, :8], right))
    theirs = decomposition.VAMP(epsilon=1e-14).fit_from_covariances(model.fetch_model()).fetch_model().singular_values
    ours = spectrum_of(left[:, :8], right)
    # Centred there; here the constant is among the features, which is the same and a leading 1.
    np.testing.assert_allclose(ours.singular_values.whole[1:], theirs, atol=1e-9)


def test_independent_embeddings_have_no_total_after_correction(generator):
    """Truth: T = 1, the constant's; the plug-in's bias is p q / n."""
    n, k = 2000, 10
    totals = [spectrum_of(*generator.normal(size=(2, n, k)), np.arange(n) // 10).total for _ in range(20)]
    plug_in = np.mean([total.whole for total in totals])
    corrected = np.mean([total.value for total in totals])
    error = np.std([total.value for total in totals], ddof=1) / np.sqrt(20)
    assert plug_in - 1 == pytest.approx(k * k / n, rel=0.3)
    assert abs(corrected - 1) < 4 * error


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
@pytest.mark.parametrize("world", [Torus(4, 0.2, 0.8), LowRank(states=20, rank=4)], ids=["torus", "lowrank"])
def test_estimates_meet_the_exact_values_within_their_errors(world, negatives, generator):
    """L, T and L + ‖M̄‖² over repeated held-out sets: centred on the truth, and their errors are the spread."""
    finite, k, repeats = world.finite, 3, 40
    encoder = world.observations @ generator.normal(size=(finite.states, k))
    predictor = np.stack([kernel @ encoder for kernel in finite.transition])
    moments = exact_moments(finite, encoder, predictor, negatives)
    learned = canonical_correlations(moments)
    truth = {"loss": spectral_loss(moments), "total": (learned**2).sum(-1), "singular_values": learned}
    found = {name: ([], []) for name in truth}
    for repeat in range(repeats):
        sample = world.sample(300, 10, seed=repeat)
        starts, ends, actions = sample.states[:, :-1].ravel(), sample.states[:, 1:].ravel(), sample.actions.ravel()
        trajectories = np.repeat(np.arange(300), 10)
        grouped = grouped_moments(predictor[actions, starts], encoder[ends], actions, trajectories, finite.actions)
        estimate = estimate_model(grouped, negatives)
        statistics = {
            "loss": [risk.loss for risk in estimate.risks],
            "total": [one.own.map(lambda values: (values**2).sum(-1)) for one in estimate.spectra],
            "singular_values": [one.own for one in estimate.spectra],
        }
        for name, (values, errors) in found.items():
            values.append([one.value for one in statistics[name]])
            errors.append([one.standard_error for one in statistics[name]])
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


def test_loss_is_minus_the_best_plus_two_deficits(generator):
    """L = −Σ_{i≤k} σ_i² + subspace deficit + calibration deficit, in plain moments."""
    world = Torus(4, 0.2, 0.8)
    encoder = generator.normal(size=(16, 3))
    predictor = np.stack([kernel @ encoder for kernel in world.finite.transition])
    sample = world.sample(400, 10, seed=1)
    grouped = grouped_moments(
        predictor[sample.actions, sample.states[:, :-1]].reshape(-1, 3),
        encoder[sample.states[:, 1:]].reshape(-1, 3),
        sample.actions.ravel(),
        np.repeat(np.arange(400), 10),
        5,
    )
    estimate = estimate_model(grouped, "same_action")
    exact = singular_values(world.finite)
    loss = spectral_loss(exact_moments(world.finite, encoder, predictor))
    for action in range(5):
        best = spectral_tail(exact[action], 0) - spectral_tail(exact[action], 3)
        subspace = subspace_deficit(estimate.spectra[action], exact[action], 3)
        calibration = estimate.risks[action].calibration_deficit
        assert calibration.whole > -1e-10, "it is a squared norm"
        found, error = subspace.value + calibration.value - best, estimate.risks[action].loss.standard_error
        assert abs(found - loss[action]) < 5 * error


def counted(world, n, seed, action=1):
    """Counts of one action as one-hot embeddings: (x, x⁺) of n independent transitions."""
    generator = np.random.default_rng(seed)
    finite = world.finite
    starts = generator.choice(finite.states, size=n, p=finite.context_law)
    cumulative = np.cumsum(finite.transition[action], axis=1)
    ends = np.minimum((cumulative[starts] <= generator.random(n)[:, None]).sum(1), finite.states - 1)
    return np.eye(finite.states)[starts], np.eye(finite.states)[ends]


@pytest.mark.parametrize(
    "world", [Torus(8, 0.2, 0.8), LowRank(states=64, rank=6), Nuisance(Torus(4, 0.2, 0.6), 4)], ids=repr
)
@pytest.mark.parametrize("n", [10_000, 100_000])
def test_total_and_tail_of_an_exact_world(world, n):
    """From counts at n/N = 156 and 1562, where the plug-in total is high by (N − T)²/n."""
    states, k = world.finite.states, 4
    exact = singular_values(world.finite)[1]
    found = spectrum_of(*counted(world, n, seed=3))
    total, tail = (exact**2).sum(), spectral_tail(exact, k)
    for name, estimate, truth in (("total", found.total, total), ("tail", found.tail(k), tail)):
        allowed = max(0.02 * truth, 4 * float(estimate.standard_error))
        assert abs(estimate.value - truth) < allowed, name
    bias = (states - total) ** 2 / n
    assert found.total.whole - total == pytest.approx(bias, rel=0.5, abs=4 * float(found.total.standard_error))


def test_a_permutation_has_nothing_but_ones():
    permutation = np.random.default_rng(0).permutation(40)
    starts = np.random.default_rng(1).integers(40, size=4000)
    found = spectrum_of(np.eye(40)[starts], np.eye(40)[permutation[starts]])
    np.testing.assert_allclose(found.singular_values.value, 1.0, atol=1e-9)
    assert found.tail(16).value == pytest.approx(24.0)
    gap = found.gap(16)
    assert not gap.real
    assert not gap.significant
    assert gap.cluster == 40


@pytest.mark.parametrize(("n", "equal", "value"), [(2000, 2, 0.6), (4000, 8, 0.8)])
def test_equal_values_show_no_gap_and_are_one_cluster(n, equal, value, generator):
    """Forty samples: by three errors of pairs, 7 % of the gaps among eight were real and 61 % of the clusters small.

    What is asked lies above what was measured (2.4 %, 2 %) by three errors of 40 samples, and far below those.
    """
    truth = np.array([0.95, *[value] * equal, 0.2, 0.0])
    false, small, found = [], [], []
    for _ in range(40):
        left = generator.normal(size=(n, len(truth)))
        right = truth * left + np.sqrt(1 - truth**2) * generator.normal(size=left.shape)
        spectrum = spectrum_of(left, right)
        gaps = [spectrum.gap(k) for k in range(3, equal + 2)]
        false += [gap.significant for gap in gaps]
        small += [gap.cluster < equal for gap in gaps]
        found.append(spectrum.gap(equal + 2).real)
    assert np.mean(false) <= 0.05
    assert np.mean(small) <= 0.1
    assert all(found), "a gap of .4 and more is there"


def test_gaps_that_are_there_and_gaps_that_are_not(generator):
    n, truth = 20_000, np.array([0.9, 0.6, 0.6, 0.2, 0.0, 0.0])
    left = generator.normal(size=(n, 6))
    right = truth * left + np.sqrt(1 - truth**2) * generator.normal(size=(n, 6))
    found = spectrum_of(left, right)
    assert found.gap(2).real
    assert found.gap(2).difference.value == pytest.approx(0.3, abs=0.02)
    assert not found.gap(3).significant
    assert found.gap(3).cluster == 2
    assert found.gap(4).real
    assert found.gap(5).below_edge
    assert found.signal_rank == 5
    assert np.isnan(found.corrected[5:]).all()
    with pytest.raises(ValueError, match=r"expected 1 ≤ k ≤ 7"):
        found.gap(8)


def test_weights_are_repetitions(generator):
    """Two rows in place of one of weight 2, in the same group: the same spectrum and loss but for the pair i = j."""
    predicted, observed, _, trajectories = sample_of(generator)
    from torch import from_numpy

    from jepa_scale.estimators.moments import MomentAccumulator

    weights = generator.integers(1, 3, size=400)
    once, twice = MomentAccumulator(3, 3), MomentAccumulator(3, 3)
    once.update(
        *(from_numpy(part) for part in (predicted, observed)),
        None,
        *map(from_numpy, (trajectories, weights.astype(float))),
    )
    repeated = np.repeat(np.arange(400), weights)
    twice.update(
        *(from_numpy(part[repeated]) for part in (predicted, observed)), None, from_numpy(trajectories[repeated])
    )
    weighted, plain = (operator_spectrum(OperatorSums.of(one.compute(), 0, "same_action")) for one in (once, twice))
    np.testing.assert_allclose(weighted.own.value, plain.own.value, atol=1e-10)
    assert weighted.n == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert plain.n == weights.sum()


def test_flags(generator):
    predicted, observed, *_ = sample_of(generator, n=70)
    small = spectrum_of(predicted, observed)
    assert small.n_too_small
    assert not any([small.rank_deficient, small.spans_constant, small.degenerate])
    predicted[:, 0] = observed[:, 0] = 1.0
    constant = spectrum_of(predicted, observed)
    assert constant.spans_constant
    assert constant.rank_deficient
    assert constant.own.whole[0] == pytest.approx(1.0)
    predicted[:] = 2.0
    collapsed = spectrum_of(predicted, observed)
    assert collapsed.degenerate
    np.testing.assert_allclose(collapsed.singular_values.value, 1.0)
    assert collapsed.total.value == pytest.approx(1.0)


def test_coordinates_that_depend_on_each_other(generator):
    predicted, observed, *_ = sample_of(generator)
    before = spectrum_of(predicted, observed)
    doubled = spectrum_of(np.column_stack([predicted, predicted[:, 0] + 2 * predicted[:, 1]]), observed)
    assert doubled.rank_deficient
    assert not doubled.spans_constant
    np.testing.assert_allclose(doubled.singular_values.whole, before.singular_values.whole, atol=1e-9)
    shifted = spectrum_of(np.column_stack([predicted, predicted[:, 0] + 1]), observed)
    assert shifted.spans_constant
    np.testing.assert_allclose(shifted.singular_values.whole, before.singular_values.whole, atol=1e-9)


def test_a_width_of_one(generator):
    predicted, observed, actions, trajectories = sample_of(generator, k=1)
    moments = grouped_moments(predicted, observed, actions, trajectories, 2)
    for action in range(2):
        spectrum = operator_spectrum(OperatorSums.of(moments, action, "pooled"))
        assert spectrum.own.value.shape == (1,)
        assert np.isfinite(spectrum.gap(1).difference.value)


def test_one_trajectory_has_no_interval(generator):
    predicted, observed, *_ = sample_of(generator)
    found = spectrum_of(predicted, observed, np.zeros(400, dtype=np.int64))
    assert found.total.groups == 0
    assert np.isnan(found.total.interval()).all()
    assert np.isfinite(found.total.value)


def test_an_action_never_seen_is_refused(generator):
    predicted, observed, actions, trajectories = sample_of(generator)
    moments = grouped_moments(predicted, observed, actions, trajectories, 3)
    with pytest.raises(ValueError, match="none of action 2"):
        estimate_model(moments, "same_action")


@pytest.mark.parametrize("smallest", [1e-2, 1e-5, 1e-7, 0.0])
@pytest.mark.parametrize("shape", [(9, 9), (6, 9), (9, 6)])
def test_leading_values_are_singular_values(shape, smallest):
    """From squares an error of some ε is one of ε/2s: 10⁻⁹ at s = 10⁻⁶, below which matrices are decomposed."""
    rng = np.random.default_rng(0)
    size = min(shape)
    spectrum = np.append(np.geomspace(1, max(smallest, 1e-3), size - 1), smallest)
    left, right = (np.linalg.qr(rng.normal(size=(3, width, width)))[0] for width in shape)
    matrices = left[:, :, :size] * spectrum @ right[:, :size]
    for wanted in (size, size - 1):
        np.testing.assert_allclose(leading_values(matrices, wanted), np.tile(spectrum[:wanted], (3, 1)), atol=1e-9)
    assert leading_values(matrices, 0).shape == (3, 0)

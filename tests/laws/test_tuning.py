import numpy as np
import pytest

from jepa_scale.laws.tuning import loss_of_sharing, rate_means, tuned_gaps
from jepa_scale.records import TuningCheck, TuningRun


def check(values, shared=2.0):
    """``values``: {k: {rate: regrets by seed}}"""
    runs = [
        TuningRun(k, rate, seed, value, 10 * value)
        for k, row in values.items()
        for rate, column in row.items()
        for seed, value in enumerate(column)
    ]
    return TuningCheck("optimizer.lr", shared, 3000, tuple(runs), ())


PLANTED = {
    2: {1.0: (0.5, 0.7), 2.0: (0.4, 0.6), 4.0: (0.6, 0.6)},
    8: {1.0: (0.1, 0.3), 2.0: (0.2, 0.36), 4.0: (0.5, 0.6)},
}


def test_losses_are_paired_by_seed():
    narrow, wide = loss_of_sharing(check(PLANTED), "regret")
    assert (narrow.best_rate, narrow.loss, narrow.at_edge) == (2.0, 0.0, False)
    assert (wide.best_rate, wide.at_edge, wide.seeds) == (1.0, True, 2)
    assert wide.loss == pytest.approx(0.08)
    # Differences of 0.10 and 0.06: s = 0.02 √2, over √2. Unpaired, the seeds' own scatter would make it 0.13.
    assert wide.standard_error == pytest.approx(0.02)
    assert loss_of_sharing(check(PLANTED), "risk")[1].loss == pytest.approx(0.8)


def test_of_equal_rates_the_shared_one_is_best():
    (found,) = loss_of_sharing(check({2: {1.0: (0.3,), 2.0: (0.3,), 4.0: (0.3,)}}), "regret")
    assert (found.best_rate, found.loss) == (2.0, 0.0)
    assert np.isnan(found.standard_error)


def test_a_rate_with_a_lost_run_does_not_compete():
    (found,) = loss_of_sharing(check({2: {1.0: (0.1, np.nan), 2.0: (0.3, 0.3), 4.0: (0.2, 0.2)}}), "regret")
    assert (found.best_rate, found.best_mean) == (4.0, pytest.approx(0.2))
    (lost,) = loss_of_sharing(check({2: {1.0: (0.1, 0.2), 2.0: (np.nan, 0.3)}}), "regret")
    assert np.isnan(lost.loss)
    assert lost.best_rate == 1.0


def test_tuned_gaps_compare_widths_at_their_best_rates():
    narrow, wide = tuned_gaps(check(PLANTED), "regret")
    assert (narrow.k, narrow.best_k, wide.k, wide.gap) == (2, 8, 8, 0.0)
    assert narrow.gap == pytest.approx(0.3)
    assert narrow.standard_error == pytest.approx(0.0, abs=1e-12)
    assert tuned_gaps(check({**PLANTED, 4: {2.0: (np.nan, 0.1)}}), "regret") is None


def test_means_leave_lost_runs_out():
    found = rate_means(check({2: {1.0: (0.1, np.nan), 2.0: (0.3, 0.5), 4.0: (np.nan, np.nan)}}), "regret")
    assert found[2][1.0][0] == 0.1
    assert np.isnan(found[2][1.0][1])
    assert found[2][2.0] == pytest.approx((0.4, 0.1))
    assert 4.0 not in found[2]

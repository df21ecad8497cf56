from __future__ import annotations

import numpy as np
import pytest

from jepa_scale.laws.backtest import Track, beyond, learn_calibration
from jepa_scale.laws.fit import fit_table
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import HuberLog
from jepa_scale.laws.predictive import Predictive, band, error_ratio, stretched
from jepa_scale.laws.table import backtest_table, default_scale, forecast_table

LAW = Law("chinchilla", "loss = E + A N^-alpha + B D^-beta")
THETA = np.array([1.7, 400.0, 2000.0, 0.34, 0.37])


def runs(generator, count=80, sd=0.01):
    columns = {"N": np.exp(generator.uniform(16, 21, count)), "D": np.exp(generator.uniform(19, 24, count))}
    return {**columns, "loss": LAW.predict(THETA, columns) * np.exp(sd * generator.standard_normal(count))}


def track(*origins):
    """A track of origins, each a list of (distance, error)."""
    rows = [(distance, error, number) for number, origin in enumerate(origins) for distance, error in origin]
    distance, error, number = (np.array(part) for part in zip(*rows, strict=True))
    return Track(distance, np.abs(error), error, number)


def test_a_planted_drift_is_learned_and_taken_off(generator):
    # Errors of 0.1 (d + 0.2), seen from five origins with little noise.
    origins = [[(d, 0.1 * (d + 0.2) + 0.001 * generator.standard_normal()) for d in (0.3, 0.6, 1.0)] for _ in range(5)]
    found = learn_calibration(track(*origins))
    # The smallest of five slopes, which agree by chance once in 16 times.
    assert found.drift == pytest.approx(15 / 16 * 0.1, rel=0.03)
    assert found.spread == pytest.approx(0.1, rel=0.02)
    # W = 1 + 1/2 + … + 1/16.
    assert found.weight == pytest.approx(31 / 16)
    assert found.shift(1.0) == pytest.approx(-15 / 16 * 0.12, rel=0.03)
    assert (found.farthest, found.forecasts) == (1.0, 15)


def test_errors_of_either_sign_widen_and_do_not_shift():
    found = learn_calibration(track([(0.5, 0.08)], [(0.5, -0.04)], [(0.5, 0.01)], [(0.5, 0.005)]))
    # r = error/0.7; weights 1/8, 1/4, 1/2, 1.
    weights, slopes = np.array([1 / 8, 1 / 4, 1 / 2, 1]), np.array([0.08, -0.04, 0.01, 0.005]) / 0.7
    assert found.drift == 0.0
    assert found.spread == pytest.approx(np.sqrt(weights @ slopes**2 / weights.sum()))
    assert found.shift(0.5) == 0.0
    plain = np.array([0.001])
    assert found.half(plain, plain, 0.5, 0.9) == pytest.approx(5 * plain), "never more than five times as wide"
    plain = np.array([0.02])
    wide = found.half(plain, plain, np.array([0.1, 0.5, 1.0]), 0.9)
    assert (np.diff(wide) > 0).all()
    assert (wide > plain).all()


def test_one_back_test_counts_for_little():
    """An interval of [0.000271, 122] came of a quantile of few errors."""
    one, many = learn_calibration(track([(0.5, 3.0)])), learn_calibration(track(*[[(0.5, 3.0)]] * 6))
    assert one.trust == pytest.approx(1 / 3)
    assert one.drift == 0.0, "one sign agrees with itself"
    assert many.trust == pytest.approx(0.496, abs=0.001)
    assert one.half(np.array([0.01]), np.array([0.01]), 2.0, 0.9) == pytest.approx(0.05)


def test_without_forecasts_nothing_is_calibrated_and_the_reason_is_said():
    empty = Track(np.empty(0), np.empty(0), np.empty(0), np.empty(0, int), ("cut at 300: 1 level of n",))
    found = learn_calibration(empty)
    assert (found.shift(5.0), found.farthest, found.forecasts) == (0.0, 0.0, 0)
    assert found.half(np.array([0.1]), np.array([0.1]), 1.0, 0.9) == 0.1
    assert found.source == "not calibrated: cut at 300: 1 level of n"


def test_forecasts_that_are_no_numbers_teach_nothing():
    found = learn_calibration(track([(0.5, np.nan), (0.5, 0.07)], [(0.0, 0.5)]))
    assert (found.forecasts, found.spread) == (1, pytest.approx(0.1))


def test_a_forecast_beyond_what_was_checked_is_refused(generator):
    columns = runs(generator)
    scale = default_scale(LAW, columns)
    fitted = fit_table(LAW, columns, HuberLog(np.inf), draws=60)
    found = backtest_table(LAW, columns, scale, HuberLog(np.inf), draws=60)
    far = {"N": np.array([1e9, 1e13]), "D": np.array([2e10, 1e16])}
    seen = forecast_table(LAW, fitted, found, far, scale, default_scale(LAW, far), True, columns=columns)
    assert seen.refused.tolist() == [False, True]
    assert (seen.calibrated.low <= seen.plain.low * (1 + 1e-12)).all()
    assert (seen.calibrated.high >= seen.plain.high * (1 - 1e-12)).all()
    truth = LAW.predict(THETA, far)
    assert seen.calibrated.low[0] < truth[0] < seen.calibrated.high[0]
    # The share of draws below the forecast itself is about a half.
    assert 0.3 < (seen.draws[:, 0] <= seen.plain.predicted[0]).mean() < 0.7


def test_error_ratio_is_one_at_the_ends(generator):
    columns = runs(generator)
    model = Predictive(LAW, fit_table(LAW, columns, HuberLog(np.inf), draws=60), True)
    found = band(model, columns, 1.0, 0.9, 0)
    np.testing.assert_allclose(error_ratio(model, found, found.high), 1.0, rtol=1e-9)
    np.testing.assert_allclose(error_ratio(model, found, found.low), 1.0, rtol=1e-9)


def test_stretched_draws_have_the_calibrated_quantiles(generator):
    columns = runs(generator)
    model = Predictive(LAW, fit_table(LAW, columns, HuberLog(np.inf), draws=400), True)
    plain = band(model, columns, 1.0, 0.9, 0)
    wide = learn_calibration(track(*[[(0.5, 0.02)]] * 5)).applied(model, plain, 0.4, 0.9)
    draws = stretched(model, model.draws(columns, 1.0, 0), plain, wide)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(low, wide.low, rtol=2e-3)
    np.testing.assert_allclose(high, wide.high, rtol=2e-3)
    assert (wide.predicted < plain.predicted).all(), "forecasts were too high"


def test_distance_is_told_by_the_scale_and_by_each_column():
    seen = {"n": np.array([100.0, 10_000.0]), "k": np.array([2.0, 16.0]), "shift": np.array([-1.0, 0.0])}
    at = {"n": [10_000.0, 100.0, 1000.0, 10.0], "k": [16.0, 160.0, 8.0, 1.0], "shift": [-5.0, 0.0, 0.0, 0.0]}
    scale, at_scale = seen["n"] * seen["k"], np.array(at["n"]) * np.array(at["k"])
    # A wider latent at less data is no larger n k, and yet beyond the runs.
    found = beyond(seen, {name: np.array(values) for name, values in at.items()}, scale, at_scale)
    np.testing.assert_allclose(found, [0.0, 1.0, 0.0, 1.0])

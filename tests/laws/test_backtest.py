from __future__ import annotations

import numpy as np
import pytest

from jepa_scale.laws.backtest import Track, learn_inflation
from jepa_scale.laws.fit import fit_table
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import HuberLog
from jepa_scale.laws.predictive import Predictive, band, error_ratio, widen
from jepa_scale.laws.table import backtest_table, default_scale, forecast_table

LAW = Law("chinchilla", "loss = E + A N^-alpha + B D^-beta")
THETA = np.array([1.7, 400.0, 2000.0, 0.34, 0.37])


def runs(generator, count=80, sd=0.01):
    columns = {"N": np.exp(generator.uniform(16, 21, count)), "D": np.exp(generator.uniform(19, 24, count))}
    return {**columns, "loss": LAW.predict(THETA, columns) * np.exp(sd * generator.standard_normal(count))}


def track(distance, ratio):
    return Track(np.asarray(distance, float), np.asarray(ratio, float), np.zeros(len(ratio)), 1)


def test_a_planted_growth_of_errors_is_learned(generator):
    distance = generator.uniform(0.1, 2.0, 4000)
    # |error|/half-width = (1 + 1.5 d)|z|/1.645: nine tenths of them lie below 1 + 1.5 d.
    ratio = (1 + 1.5 * distance) * np.abs(generator.standard_normal(4000)) / 1.645
    line = learn_inflation([track(distance, ratio)], 0.9)
    # A quantile of 4000 is known to .9 ± .005, that is z ± .03: the line to about 3 %, its parts to a few times that.
    assert line.at(1.0) == pytest.approx(2.5, rel=0.1)
    assert line.farthest == distance.max()


def test_intervals_are_never_narrowed_and_few_forecasts_take_the_largest():
    assert learn_inflation([track([0.5] * 50, [0.2] * 50)], 0.9).at(3.0) == 1.0
    # 5 forecasts know no .9 quantile: ⌈.9 · 6⌉ = 6 > 5.
    assert learn_inflation([track([0.5] * 5, [0.2, 0.4, 4.0, 1.0, 2.0])], 0.9).at(0.5) == 4.0


def test_without_forecasts_nothing_is_calibrated_and_the_reason_is_said():
    empty = Track(np.empty(0), np.empty(0), np.empty(0), 0, ("cut at 300: 1 level of n",))
    found = learn_inflation([empty], 0.9)
    assert (found.at(5.0), found.farthest, found.forecasts) == (1.0, 0.0, 0)
    assert found.source == "not calibrated: cut at 300: 1 level of n"


def test_widening_covers_what_it_was_learned_from(generator):
    columns = runs(generator)
    scale = default_scale(LAW, columns)
    found = backtest_table(LAW, columns, scale, HuberLog(np.inf), draws=60)
    assert found.origins == 5
    line = learn_inflation([found], 0.9)
    assert (found.ratio <= line.at(found.distance) + 1e-9).mean() >= 0.9


def test_a_forecast_beyond_what_was_checked_is_refused(generator):
    columns = runs(generator)
    scale = default_scale(LAW, columns)
    fitted = fit_table(LAW, columns, HuberLog(np.inf), draws=60)
    found = backtest_table(LAW, columns, scale, HuberLog(np.inf), draws=60)
    far = {"N": np.array([1e9, 1e13]), "D": np.array([2e10, 1e16])}
    seen = forecast_table(LAW, fitted, found, far, scale, default_scale(LAW, far), True)
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
    twice = widen(model, found, 2.0)
    np.testing.assert_allclose(
        np.log(twice.high / found.predicted), 2 * np.log(found.high / found.predicted), rtol=1e-9
    )

"""Levels that wander against a filter written out, and trends that die away against their limit."""

import dataclasses

import numpy as np
import pytest

from jepa_scale.laws.forecasters.base import Seen
from jepa_scale.laws.forecasters.level import _PRIOR, Level, Walk
from jepa_scale.laws.forecasters.odds import deviation_of_odds, log_odds
from jepa_scale.laws.forecasters.simple import NoChange
from jepa_scale.laws.forecasters.trend import Trend
from tests.laws.forecasters.test_contract import dose, seen

SIZES = 300.0 * 3.0 ** np.arange(5)


def one_width(mean):
    count = len(mean)
    return Seen(SIZES[:count], np.full(count, 8.0), np.array(mean), np.full(count, 3), (0.02, 0.05), 1.0)


@pytest.mark.parametrize("settles", [1.0, 1e9])
def test_a_walk_is_what_a_kalman_filter_says(settles):
    cells = one_width([0.7, 0.5, 0.52, 0.41])
    walk = Walk(cells, unexplained=0.01, step=0.05, settles=settles)
    mean, variance, before = _PRIOR[0], _PRIOR[1] ** 2, 0.0
    for n, y, sd in zip(cells.n, log_odds(cells.mean), deviation_of_odds(cells), strict=True):
        u = settles * -np.expm1(-np.log(n / SIZES[0]) / settles)
        variance, before = variance + 0.05**2 * (u - before), u
        gain = variance / (variance + sd**2 + 0.01**2)
        mean, variance = mean + gain * (y - mean), variance * (1 - gain)
    ahead = settles * -np.expm1(-np.log(100.0) / settles) - before
    drawn = walk.draws(np.array([SIZES[0] * 100]), np.array([8.0]), 40_000, np.random.default_rng(0))[:, 0]
    drawn = log_odds(drawn)
    sd = np.sqrt(variance + 0.05**2 * ahead)
    assert drawn.mean() == pytest.approx(mean, abs=5 * sd / 200)
    assert drawn.std() == pytest.approx(sd, rel=0.02)


def test_where_nothing_changes_the_mean_beats_the_last_cell():
    errors = {"level": [], "last": []}
    for seed in range(60):
        generator = np.random.default_rng(seed)
        cells = one_width(0.6 + 0.03 * generator.standard_normal(5))
        at = (np.array([1e6]), np.array([8.0]))
        for name, forecaster in (("level", Level()), ("last", NoChange())):
            drawn = forecaster.fit(cells).draws(*at, 400, np.random.default_rng(1))
            errors[name].append(float(drawn.mean() - 0.6))
    # The mean of five cells against one: 1/√5 of its error, and something for not knowing that nothing changes.
    assert np.std(errors["level"]) < 0.75 * np.std(errors["last"])


def test_changes_that_have_settled_are_not_expected_again():
    early, late = one_width([0.9, 0.5, 0.5, 0.5, 0.5]), one_width([0.5, 0.5, 0.5, 0.5, 0.9])
    at = (np.array([SIZES[-1] * 10]), np.array([8.0]))
    spread = [Level().fit(cells).draws(*at, 4000, np.random.default_rng(0)).std() for cells in (early, late)]
    assert spread[0] < spread[1]


def test_a_trend_that_dies_away_has_a_limit():
    cells = seen(dose, sizes=(300.0, 900.0, 2700.0), widths=(8.0,))
    at = (np.array([1e5, 1e9, 1e11]), np.full(3, 8.0))
    settled = Trend(settles=(2.0,)).fit(cells).draws(*at, 4000, np.random.default_rng(0))
    assert np.abs(np.diff(np.median(settled, axis=0))[1:]).max() < 1e-3
    endless = Trend().fit(cells).draws(*at, 4000, np.random.default_rng(0))
    assert np.median(endless[:, -1]) < 0.5 * np.median(settled[:, -1]), "it goes on falling"


def test_without_an_end_a_trend_is_what_it_was():
    cells = seen(dose)
    at = (np.array([1e5]), np.array([8.0]))
    drawn = [
        Trend(settles=(settles,)).fit(cells).draws(*at, 500, np.random.default_rng(0)) for settles in (1e7, np.inf)
    ]
    np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-4)


@pytest.mark.parametrize("wrong", [{"steps": ()}, {"settles": (0.0,)}, {"unexplained": (-1.0,)}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Level(**wrong)
    assert dataclasses.replace(Level(), steps=(0.1,)).steps == (0.1,)


def test_a_trend_needs_a_positive_scale():
    with pytest.raises(ValueError, match="settles above 0"):
        Trend(settles=(0.0,))

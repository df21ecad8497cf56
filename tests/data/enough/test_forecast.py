"""What more data would gain: identities of the law, and intervals that hold what a known law does."""

import numpy as np
import pytest

from jepa_scale.data.enough.forecast import Draws, forecast
from jepa_scale.data.enough.ladder import FOLDS, Ladder


def ladder_of(floor, fall, slope, noise, seed, rungs=7):
    """Errors by a law, with noise that parts share over rungs and noise of each rung."""
    generator = np.random.default_rng(seed)
    n = 200.0 * 2.0 ** np.arange(rungs)
    exact = floor + fall * (n / n[0]) ** -slope
    common = np.exp(0.1 * generator.standard_normal(FOLDS))
    errors = exact[:, None] * common * np.exp(noise * generator.standard_normal((rungs, FOLDS)))
    return Ladder(
        1, n, np.arange(rungs), errors, np.full(FOLDS, 1 / FOLDS), 1.0, 1000, 1, False
    ), exact[-1]  # fmt: skip


@pytest.mark.parametrize(
    ("floor", "fall", "slope"), [(0.2, 0.3, 0.7), (0.0, 0.5, 0.5), (0.4, 0.1, 1.0), (0.3, 0.0, 1.0), (0.05, 0.9, 1.0)]
)
def test_intervals_hold_what_a_law_does(floor, fall, slope):
    inside = 0
    for seed in range(30):
        ladder, last = ladder_of(floor, fall, slope, 0.01, seed)
        truth = 1 - (floor + fall * (128.0) ** -slope) / last
        low, high = np.quantile(forecast(ladder).gain(2.0), [0.05, 0.95])
        inside += low - 0.005 <= truth <= high + 0.005
    assert inside >= 25


def test_a_flat_ladder_gains_nothing_and_a_steep_one_does():
    flat, _ = ladder_of(0.3, 0.0, 1.0, 0.003, seed=1)
    steep, _ = ladder_of(0.0, 0.5, 0.5, 0.003, seed=1)
    assert np.quantile(forecast(flat).gain(2.0), 0.95) < 0.05
    assert np.quantile(forecast(steep).gain(2.0), 0.05) > 0.1


def test_reach_is_where_the_share_is_explained():
    draws = Draws(1000.0, np.array([0.4, 0.5, 1.2]), np.array([0.5, 0.0, 0.9]), np.array([0.7, 0.3, 1.0]))
    n = draws.reach(0.95)
    limit = draws.level * draws.floor
    for place in range(2):
        explained = 1 - draws.errors(n[place])[place]
        np.testing.assert_allclose(explained, 0.95 * (1 - limit[place]))
    assert draws.errors(1000.0).tolist() == draws.level.tolist()
    np.testing.assert_allclose(draws.gain(2.0), 1 - draws.errors(2000.0) / draws.level)


def test_an_error_above_one_explains_nothing():
    assert np.isinf(Draws(1000.0, np.array([1.3]), np.array([0.9]), np.array([1.0])).reach(0.95)).all()


def test_it_is_the_same_for_the_same_seed():
    ladder, _ = ladder_of(0.2, 0.3, 0.7, 0.01, seed=4)
    np.testing.assert_array_equal(forecast(ladder).gain(2.0), forecast(ladder).gain(2.0))

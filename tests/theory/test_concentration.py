"""Coverage by simulation on distributions chosen to break bounds, and the bound against its definition."""

import numpy as np
import pytest
from scipy.stats import binom

from jepa_scale.theory.concentration import TRUNCATION, betting_upper
from tests.reference import concentration as reference

LAWS = {
    "rare": (lambda g, n: (g.random(n) < 0.01).astype(float), 0.01),
    "rarely_zero": (lambda g, n: (g.random(n) < 0.97).astype(float), 0.97),
    "two_ends": (lambda g, n: (g.random(n) < 0.5).astype(float), 0.5),
    "constant": (lambda g, n: np.full(n, 0.3), 0.3),
    "uniform": (lambda g, n: g.random(n), 0.5),
    "skewed": (lambda g, n: g.beta(0.1, 2.0, n), 0.1 / 2.1),
}


def allowed_misses(repeats, delta):
    """No more than this with probability 1 − 1e−6, if the bound misses with probability ≤ δ."""
    return int(binom.ppf(1 - 1e-6, repeats, delta))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [2, 100])
def test_coverage(generator, law, n):
    draw, mean = LAWS[law]
    repeats, delta = 200, 0.1
    misses = sum(betting_upper(draw(generator, n), 0.0, 1.0, delta) < mean for _ in range(repeats))
    assert misses <= allowed_misses(repeats, delta)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [2, 50, 1000])
def test_coverage_closely(generator, law, n):
    draw, mean = LAWS[law]
    repeats, delta = 1000, 0.05
    misses = sum(betting_upper(draw(generator, n), 0.0, 1.0, delta) < mean for _ in range(repeats))
    assert misses <= allowed_misses(repeats, delta)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [2, 5, 60])
def test_betting_equals_the_loops(generator, law, n):
    values = LAWS[law][0](generator, n)
    found = betting_upper(values, 0.0, 1.0, 0.05)
    # The reference knows the least refuted mean to one step of its grid, 1/400, from above.
    expected = reference.betting_upper(values, 0.05, TRUNCATION, steps=400)
    assert expected - 1 / 400 - 1e-9 <= found <= expected + 1e-9


def test_the_capital_grows_with_the_mean(generator):
    """What makes the means not refuted an interval, also where the bet is cut."""
    for _ in range(20):
        values = generator.beta(0.3, 0.3, size=12)
        paths = [reference.capital_path(values, m, 0.05, TRUNCATION, 12) for m in np.linspace(0, 0.999, 60)]
        assert (np.diff(np.array(paths), axis=0) >= -1e-9 * np.array(paths[1:])).all()


def test_bounds_follow_the_units(generator):
    values = generator.beta(2, 3, size=500)
    plain = betting_upper(values, 0.0, 1.0, 0.05)
    assert betting_upper(7 * values - 3, -3.0, 4.0, 0.05) == pytest.approx(7 * plain - 3, abs=1e-9)
    assert betting_upper(values, 0.0, 1.0, 0.01) > plain


def test_bounds_tighten_to_the_mean(generator):
    values = generator.beta(2, 3, size=20_000)
    # √(2 · 0.04 · ln(2/0.05) / 20 000) = 0.0038, twice over.
    assert 0 < betting_upper(values, 0.0, 1.0, 0.05) - values.mean() < 0.0077


def test_values_that_cannot_be_bounded_are_refused():
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got 1.5 at index 2 and 1 such"):
        betting_upper(np.array([0.0, 1.0, 1.5]), 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="NaN at index 1"):
        betting_upper(np.array([0.0, np.nan]), 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="at least one value"):
        betting_upper(np.array([]), 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match=r"delta=1\.0"):
        betting_upper(np.array([0.5]), 0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="low ≤ high"):
        betting_upper(np.array([0.5]), 1.0, 0.0, 0.05)


def test_one_value_and_equal_ends():
    assert betting_upper(np.array([0.0]), 0.0, 1.0, 0.05) <= 1.0
    assert betting_upper(np.array([2.0, 2.0]), 2.0, 2.0, 0.05) == 2.0

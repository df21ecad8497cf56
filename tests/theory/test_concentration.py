"""Coverage by simulation on distributions chosen to break bounds, and both bounds against their definitions."""

import numpy as np
import pytest
from scipy.stats import binom

from jepa_scale.theory.concentration import (
    TRUNCATION,
    betting_upper,
    betting_upper_sequence,
    empirical_bernstein_upper,
)
from tests.reference import concentration as reference

BOUNDS = [betting_upper, empirical_bernstein_upper]

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


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [2, 100])
def test_coverage(generator, bound, law, n):
    draw, mean = LAWS[law]
    repeats, delta = 200, 0.1
    misses = sum(bound(draw(generator, n), 0.0, 1.0, delta) < mean for _ in range(repeats))
    assert misses <= allowed_misses(repeats, delta)


@pytest.mark.slow
@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [2, 50, 1000])
def test_coverage_closely(generator, bound, law, n):
    draw, mean = LAWS[law]
    repeats, delta = 3000, 0.05
    misses = sum(bound(draw(generator, n), 0.0, 1.0, delta) < mean for _ in range(repeats))
    assert misses <= allowed_misses(repeats, delta)


@pytest.mark.parametrize("law", LAWS)
def test_the_sequence_covers_at_every_time_at_once(generator, law):
    draw, mean = LAWS[law]
    repeats, delta = 150, 0.1
    misses = 0
    for _ in range(repeats):
        sequence = betting_upper_sequence(draw(generator, 300), 0.0, 1.0, delta)
        assert (np.diff(sequence) <= 0).all()
        misses += bool((sequence < mean).any())
    assert misses <= allowed_misses(repeats, delta)


def test_a_bound_for_one_n_looked_at_all_the_time_would_fail_the_coverage_test(generator):
    """What the sequence is for, and that this file can see a broken bound: 1.28 standard errors, watched."""
    repeats, misses = 200, 0
    for _ in range(repeats):
        values = generator.random(300)
        place = np.arange(1, 301)
        running = np.cumsum(values) / place
        misses += bool((running + 1.28 * np.sqrt(1 / 12 / place) < 0.5).any())
    assert misses > allowed_misses(repeats, 0.1)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [2, 5, 60])
def test_betting_equals_the_loops(generator, law, n):
    values = LAWS[law][0](generator, n)
    found = betting_upper(values, 0.0, 1.0, 0.05)
    # The reference knows the least refuted mean to one step of its grid, 1/400, from above.
    expected = reference.betting_upper(values, 0.05, TRUNCATION, steps=400)
    assert expected - 1 / 400 - 1e-9 <= found <= expected + 1e-9


def test_the_sequence_equals_the_loops(generator):
    values = generator.beta(2, 5, size=80)
    sequence = betting_upper_sequence(values, 0.0, 1.0, 0.05)
    for place in (0, 10, 40, 79):
        mean = sequence[place]
        above = reference.capital_path(values[: place + 1], min(mean + 1e-9, 1.0), 0.05, TRUNCATION)
        assert max(above) >= 20 or mean == 1
        # Grid steps are 5.6 % of the distance from the end (256 points over six decades).
        inside = mean - 0.06 * (mean - sequence[-1]) - 1e-6
        assert max(reference.capital_path(values[: place + 1], inside, 0.05, TRUNCATION)) < 20


def test_the_capital_grows_with_the_mean(generator):
    """What makes the means not refuted an interval, also where the bet is cut."""
    for _ in range(20):
        values = generator.beta(0.3, 0.3, size=12)
        paths = [reference.capital_path(values, m, 0.05, TRUNCATION, 12) for m in np.linspace(0, 0.999, 60)]
        assert (np.diff(np.array(paths), axis=0) >= -1e-9 * np.array(paths[1:])).all()


@pytest.mark.parametrize("n", [2, 3, 40])
def test_empirical_bernstein_equals_the_loops(generator, n):
    values = generator.random(n)
    expected = min(1.0, reference.empirical_bernstein_upper(values, 0.2))
    assert empirical_bernstein_upper(values, 0.0, 1.0, 0.2) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bound", BOUNDS)
def test_bounds_follow_the_units(generator, bound):
    values = generator.beta(2, 3, size=500)
    plain = bound(values, 0.0, 1.0, 0.05)
    assert bound(7 * values - 3, -3.0, 4.0, 0.05) == pytest.approx(7 * plain - 3, abs=1e-9)
    assert bound(values, 0.0, 1.0, 0.01) > plain


@pytest.mark.parametrize("bound", BOUNDS)
def test_bounds_tighten_to_the_mean(generator, bound):
    values = generator.beta(2, 3, size=20_000)
    # √(2 · 0.04 · ln(2/0.05) / 20 000) = 0.0038, twice over.
    assert 0 < bound(values, 0.0, 1.0, 0.05) - values.mean() < 0.0077


def test_betting_beats_empirical_bernstein_where_the_variance_is_small(generator):
    values = (generator.random(2000) < 0.005).astype(float)
    assert betting_upper(values, 0.0, 1.0, 0.05) < empirical_bernstein_upper(values, 0.0, 1.0, 0.05)


@pytest.mark.parametrize("bound", [*BOUNDS, betting_upper_sequence])
def test_values_that_cannot_be_bounded_are_refused(bound):
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got 1.5 at index 2 and 1 such"):
        bound(np.array([0.0, 1.0, 1.5]), 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="NaN at index 1"):
        bound(np.array([0.0, np.nan]), 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="at least one value"):
        bound(np.array([]), 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match=r"delta=1\.0"):
        bound(np.array([0.5]), 0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="low ≤ high"):
        bound(np.array([0.5]), 1.0, 0.0, 0.05)


@pytest.mark.parametrize("bound", BOUNDS)
def test_one_value_and_equal_ends(bound):
    assert bound(np.array([0.0]), 0.0, 1.0, 0.05) <= 1.0
    assert bound(np.array([2.0, 2.0]), 2.0, 2.0, 0.05) == 2.0

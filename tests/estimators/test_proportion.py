"""Intervals of rates against the definition they solve, and by exact sums."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from jepa_scale.estimators.proportion import mcnemar, wilson


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (3, 50), (25, 50), (7.5, 20), (1, 1000)]
)
def test_wilson_is_the_root_of_the_score_equation(successes, n, level):
    z, rate = norm.ppf((1 + level) / 2), successes / n
    # (rate − p)² − z² p (1 − p) / n, by powers of p.
    score = [1 + z**2 / n, -2 * rate - z**2 / n, rate**2]
    assert wilson(successes, n, level) == pytest.approx(sorted(np.roots(score)), abs=1e-9)


@pytest.mark.parametrize("n", [20, 50, 300])
def test_wilson_covers_on_average_and_never_far_below(n):
    """By exact binomial sums over a fine grid of p: 95 % on average; at its worst for p of about 1/n."""
    intervals = [wilson(count, n) for count in range(n + 1)]
    grid = [(index + 0.5) / 400 for index in range(400)]

    def coverage(p):
        return sum(
            math.comb(n, count) * p**count * (1 - p) ** (n - count)
            for count, (low, high) in enumerate(intervals)
            if low <= p <= high
        )

    found = [coverage(p) for p in grid]
    assert sum(found) / len(found) == pytest.approx(0.95, abs=0.01)
    assert min(found) > 0.82


@pytest.mark.parametrize(("one", "other"), [(0, 0), (5, 5), (30, 7), (0, 9), (1, 0), (700, 650)])
def test_mcnemar_is_an_exact_binomial_test(one, other):
    expected = binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(other, one) == mcnemar(one, other)


@pytest.mark.parametrize(("successes", "n", "level"), [(1, 0, 0.9), (3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1.0)])
def test_impossible_counts_are_refused(successes, n, level):
    with pytest.raises(ValueError, match="expected 0 ≤ successes ≤ n"):
        wilson(successes, n, level)
    with pytest.raises(ValueError, match="counts ≥ 0"):
        mcnemar(-1, 2)

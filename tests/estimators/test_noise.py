import numpy as np
import pytest

from jepa_scale.estimators.noise import analytic_total, corrected, detection_limit, squared_edges
from tests.reference.estimators import canonical_correlations


@pytest.mark.parametrize(("p", "q"), [(100, 100), (150, 40)])
def test_independent_features_stop_at_the_edge(p, q, generator):
    n = 4000
    largest = []
    for _ in range(5):
        left, right = generator.normal(size=(n, p)), generator.normal(size=(n, q))
        values = canonical_correlations(left, right)
        largest.append(values[0])
        assert analytic_total(float((values**2).sum()), p, q, n) == pytest.approx(0.0, abs=0.15)
    # Fluctuations at the edge are of order p^{-2/3} in s²: a few per cent.
    assert np.mean(largest) == pytest.approx(np.sqrt(squared_edges(p, q, n)[1]), rel=0.05)


def test_correction_of_planted_correlations(generator):
    """Two correlations among 40 dimensions at n = 1000, where the plug-in is up to .06 too high."""
    n, p, truth = 1000, 40, np.array([0.8, 0.5])
    found, plain = [], []
    for _ in range(40):
        left = generator.normal(size=(n, p))
        right = generator.normal(size=(n, p))
        right[:, :2] = truth * left[:, :2] + np.sqrt(1 - truth**2) * right[:, :2]
        values = canonical_correlations(left, right)
        plain.append(values[:2])
        found.append(corrected(values, p, p, n))
    error = np.std([values[:2] for values in found], axis=0, ddof=1) / np.sqrt(40)
    assert (np.abs(np.mean([values[:2] for values in found], axis=0) - truth) < 4 * error + 0.002).all()
    assert (np.mean(plain, axis=0) - truth > [0.01, 0.03]).all()
    assert np.isnan([values[5:] for values in found]).all(), "below the edge there is no value"


def test_equal_widths_are_the_simple_form():
    n, k, values = 1000, 50, np.array([0.9, 0.6])
    c = k / n
    lower, upper = squared_edges(k, k, n)
    assert lower == pytest.approx(0.0, abs=1e-15)
    assert upper == pytest.approx(4 * c * (1 - c))
    expected = (values + np.sqrt(values**2 - 4 * c * (1 - c))) / (2 * (1 - c))
    np.testing.assert_allclose(corrected(values, k, k, n), expected)
    assert detection_limit(k, k, n) == pytest.approx(np.sqrt(c / (1 - c)))


def test_edges_of_too_few_rows():
    with pytest.raises(ValueError, match="n ≥ p"):
        squared_edges(10, 10, 15)
    assert np.isnan(analytic_total(2.0, 10, 10, 21.0)), "less than independence alone would show: no T explains it"

import numpy as np
import pytest
from scipy.stats import t as student

from jepa_scale.estimators.jackknife import Jackknifed, average, with_left_out


def of_mean(values, groups):
    """The jackknife of a mean over rows in groups."""
    parts = np.array([[values[groups == g].sum(), (groups == g).sum()] for g in np.unique(groups)])
    sums = with_left_out(parts, parts[:, 1])
    return Jackknifed.of(sums[:, 0] / sums[:, 1], parts[:, 1])


def test_of_a_mean_is_the_mean_and_its_error(generator):
    values = generator.normal(size=16)
    found = of_mean(values, np.arange(16))
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 4, rel=1e-12)
    half = student.ppf(0.975, 15) * values.std(ddof=1) / 4
    np.testing.assert_allclose(found.interval(), [values.mean() - half, values.mean() + half])


def test_of_a_mean_over_unequal_groups(generator):
    """A mean has no bias to remove; the plain form, which counts groups alike, would add one."""
    values, groups = generator.normal(size=500), np.repeat(np.arange(8), [10, 20, 30, 40, 50, 100, 100, 150])
    found = of_mean(values, groups)
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    # 8 groups: the error of an error is a quarter.
    assert found.standard_error == pytest.approx(values.std() / np.sqrt(500), rel=0.75)


def test_removes_a_bias_of_order_one_over_n(generator):
    groups = generator.normal(size=16)
    whole = groups.mean() ** 2
    left_out = np.array([np.delete(groups, g).mean() ** 2 for g in range(16)])
    # E[mean²] = μ² + σ²/n; the jackknife of a square subtracts the sample variance of the mean exactly.
    found = Jackknifed(np.asarray(whole), left_out, np.full(16, 1 / 16))
    assert found.value == pytest.approx(whole - groups.var(ddof=1) / 16, abs=1e-12)


def test_one_group_has_no_interval(generator):
    found = of_mean(generator.normal(size=5), np.zeros(5, dtype=int))
    assert found.groups == 0
    assert np.isnan(found.standard_error)
    assert np.isnan(found.interval()).all()
    assert np.isfinite(found.value)


def test_functions_and_averages_go_through(generator):
    one, other = (of_mean(generator.normal(size=32), np.arange(32) % 8) for _ in range(2))
    np.testing.assert_allclose(one.map(lambda v: 2 * v).value, 2 * one.value)
    both = average([one, other], [3.0, 1.0])
    np.testing.assert_allclose(both.value, 0.75 * one.value + 0.25 * other.value)


def test_a_group_without_weight_changes_nothing(generator):
    values, groups = generator.normal(size=32), np.arange(32) % 8
    parts = np.array([[values[groups == g].sum(), 4.0] for g in range(8)])
    padded = np.insert(parts, 3, 0.0, axis=0)
    found, plain = (
        Jackknifed.of((lambda sums: sums[:, 0] / sums[:, 1])(with_left_out(part, part[:, 1])), part[:, 1])
        for part in (padded, parts)
    )
    assert found.groups == plain.groups == 8
    assert found.value == pytest.approx(plain.value, abs=1e-12)
    assert found.standard_error == pytest.approx(plain.standard_error, rel=1e-12)
    np.testing.assert_allclose(found.interval(), plain.interval())
    both = average([found, of_mean(values, np.zeros(32, dtype=int))])
    assert np.isnan(both.standard_error), "one of them has no error, so the mean has none"

"""Relative errors row by row, and their standard errors against repeated sampling."""

import numpy as np
import pytest

from jepa_scale.estimators.horizon import relative_errors


def planted(generator, windows=240, groups=60, steps=3):
    """Windows of a group share half of what they are."""
    owner = np.repeat(np.arange(groups), windows // groups)
    shared = generator.exponential(size=(groups, steps))[owner]
    spread = 0.5 * shared + 0.5 * generator.exponential(size=(windows, steps))
    errors = np.array([0.1, 0.5, 1.0]) * (0.5 * shared + 0.5 * generator.exponential(size=(windows, steps)))
    return errors, spread, owner


def test_a_ratio_of_means(generator):
    errors, spread, owner = planted(generator)
    found = relative_errors(errors, spread, owner)
    for step in range(3):
        slow = sum(errors[:, step]) / sum(spread[:, step])
        assert found.value[step] == pytest.approx(slow, rel=1e-12)
        total = 0.0
        for group in range(60):
            rows = [row for row in range(240) if owner[row] == group]
            total += sum(errors[row, step] - slow * spread[row, step] for row in rows) ** 2
        expected = np.sqrt(60 / 59 * total) / sum(spread[:, step])
        assert found.standard_error[step] == pytest.approx(expected, rel=1e-12)
    assert (found.windows, found.groups) == (240, 60)
    labelled = relative_errors(errors, spread, 7 * owner + 3)
    np.testing.assert_array_equal(labelled.standard_error, found.standard_error)


def test_standard_errors_are_those_of_repeated_samples(generator):
    """Over 400 samples the deviation is known to 1/√800 = 3.5 %, and the linearised error is right to a few more."""
    values, errors = [], []
    for _ in range(400):
        found = relative_errors(*planted(generator))
        values.append(found.value)
        errors.append(found.standard_error)
    np.testing.assert_allclose(np.mean(errors, 0), np.std(values, 0, ddof=1), rtol=0.12)


def test_what_cannot_be_told_is_missing(generator):
    errors, spread, owner = planted(generator)
    spread[:, 1] = 0.0
    found = relative_errors(errors, spread, owner)
    assert np.isnan(found.value[1])
    assert np.isnan(found.standard_error[1])
    assert np.isfinite(found.value[[0, 2]]).all()
    alone = relative_errors(errors, errors, np.zeros(len(errors), dtype=np.int64))
    assert (alone.value == 1.0).all()
    assert np.isnan(alone.standard_error).all(), "one trajectory says nothing of others"
    with pytest.raises(ValueError, match="at least one"):
        relative_errors(errors[:0], spread[:0], owner[:0])

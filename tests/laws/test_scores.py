"""Scores against their closed forms and slow definitions."""

import numpy as np
import pytest
from scipy import stats

from jepa_scale.laws.scores import crps, score


def test_crps_is_the_mean_over_all_pairs(generator):
    draws, observed = generator.normal(size=(60, 3)), np.array([0.0, 2.0, -1.0])
    slow = np.abs(draws - observed).mean(0) - 0.5 * np.abs(draws[:, None] - draws[None]).mean((0, 1))
    np.testing.assert_allclose(crps(draws, observed), slow, rtol=1e-12)


def test_crps_of_a_normal_has_its_closed_form(generator):
    draws = generator.normal(size=(200_000, 1))
    for value in (0.0, 1.5):
        exact = value * (2 * stats.norm.cdf(value) - 1) + 2 * stats.norm.pdf(value) - 1 / np.sqrt(np.pi)
        # sd of |X − y| below 1: 200 000 draws know its mean to 0.0022.
        assert crps(draws, np.array([value]))[0] == pytest.approx(exact, abs=5 * 0.0022)


def test_the_truth_has_the_best_expected_score(generator):
    observed = generator.normal(size=4000)
    scores = {}
    for name, (shift, spread) in {"true": (0, 1), "shifted": (0.7, 1), "sure": (0, 0.3), "vague": (0, 3)}.items():
        draws = np.broadcast_to((shift + spread * generator.normal(size=(500, 1))), (500, 4000))
        found = score(draws, observed)
        scores[name] = [float(part.mean()) for part in (found.crps, found.interval, found.log)]
    for place in range(3):
        assert min(scores, key=lambda name: scores[name][place]) == "true"


def test_intervals_cover_and_what_lies_outside_costs():
    draws = np.linspace(0, 1, 1001)[:, None].repeat(2, 1)
    found = score(draws, np.array([0.5, 1.2]), level=0.9)
    assert found.covered.tolist() == [1.0, 0.0]
    assert found.width == pytest.approx([0.9, 0.9])
    assert found.interval[1] == pytest.approx(0.9 + 20 * 0.25)


def test_a_level_that_is_none_is_refused():
    with pytest.raises(ValueError, match="level inside"):
        score(np.zeros((3, 1)), np.zeros(1), level=1.0)

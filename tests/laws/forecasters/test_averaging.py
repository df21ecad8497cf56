"""Averages of quantiles: scores against draws, weights against a search, joint draws against their parts."""

import numpy as np
import pytest

from jepa_scale.laws.forecasters.averaging import LEVELS, Forecasts, averaged, joint_average, least_weights
from jepa_scale.laws.scores import crps


def test_scores_of_quantiles_are_those_of_the_draws(generator):
    drawn, observed = (
        generator.standard_normal((2, 4000, 6)) * np.array([1.0, 0.3])[:, None, None],
        np.linspace(-1, 1, 6),
    )
    found = Forecasts.of(drawn, observed).scores
    # Eight quantiles do not see the ends of a normal law, which are 4 % of its sd of its spread.
    for member, sd in enumerate((1.0, 0.3)):
        np.testing.assert_allclose(found[member], crps(drawn[member], observed), atol=0.045 * sd)


def test_the_objective_is_the_score_of_the_average(generator):
    drawn = np.stack([generator.normal(0.2, 0.1, (500, 4)), generator.gamma(2.0, 0.2, (500, 4))])
    weights, observed = np.array([0.3, 0.7]), generator.random(4)
    one = Forecasts.of(drawn, observed)
    missed = np.abs(np.tensordot(weights, one.quantiles, 1) - observed[:, None]).mean(axis=1)
    np.testing.assert_allclose(missed - weights @ one.half_spread, crps(averaged(drawn, weights), observed), atol=0.01)


def test_weights_are_those_of_a_search(generator):
    errors, widths = generator.normal(0.0, [[[0.3]], [[0.2]], [[0.4]]], (3, 1, 30)), np.array([0.6, 0.05, 0.3])
    drawn = generator.standard_normal((3, 200, 30)) * widths[:, None, None] + errors
    many = Forecasts.of(drawn, np.zeros(30))
    # A few forecasts of another kind, of which the third knew most.
    few = Forecasts.of(drawn[:, :, :3] + np.array([0.5, 0.5, 0.0])[:, None, None], np.zeros(3))

    def value(weights):
        # By draws: a mean over each part, so that many forecasts count no more than few.
        return sum(
            ratio * crps(averaged(np.moveaxis(part.quantiles, 2, 1), weights), part.observed).mean()
            for ratio, part in ((1.0, many), (2.0, few))
        )

    found = least_weights([many, few], [1.0, 2.0])
    grid = [np.array([i, j, 40 - i - j]) / 40 for i in range(41) for j in range(41 - i)]
    assert value(found) <= min(map(value, grid)) + 1e-4
    assert found.sum() == pytest.approx(1.0)
    assert (found > 0.1).sum() >= 2, "errors that differ are averaged"


def test_an_average_lies_between_and_is_as_wide_as_its_parts():
    drawn = np.stack([np.linspace(0, 1, 101)[:, None], np.linspace(2, 5, 101)[::-1, None]])
    found = averaged(drawn, np.array([0.5, 0.5]))
    np.testing.assert_allclose(found[[0, -1], 0], [1.0, 3.0])
    assert found[-1] - found[0] == pytest.approx(0.5 * 1 + 0.5 * 3)


def test_joint_draws_keep_what_members_say_of_two_points_together(generator):
    common = generator.standard_normal((2, 2000, 1))
    drawn = np.concatenate([common, common + 0.1 * generator.standard_normal((2, 2000, 1))], axis=2)
    weights = np.array([0.4, 0.6])
    found = joint_average(drawn, weights, generator)
    np.testing.assert_allclose(np.sort(found, axis=0), averaged(drawn, weights))
    assert np.corrcoef(found.T)[0, 1] > 0.95
    apart = joint_average(np.stack([drawn[0] - 3, drawn[1] + 3]), weights, generator)
    assert np.corrcoef(apart.T)[0, 1] > 0.95, "what members disagree on, they disagree on at both points"


def test_one_member_is_left_as_it_is(generator):
    drawn = generator.standard_normal((1, 50, 3))
    np.testing.assert_array_equal(joint_average(drawn, np.array([1.0]), generator), drawn[0])
    assert least_weights([Forecasts.of(drawn, np.zeros(3))], [1.0]).tolist() == [1.0]
    assert len(LEVELS) == Forecasts.of(drawn, np.zeros(3)).quantiles.shape[2]

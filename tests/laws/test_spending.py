"""Budgets: widths compared at equal cost, against the draws gone through one by one and against the truth."""

import numpy as np
import pytest

from jepa_scale.laws.allocation import Cost
from jepa_scale.laws.outlook import Outlook
from jepa_scale.laws.spending import spend
from jepa_scale.runs.instantiate import build_forecaster
from tests.laws.test_advice import made, truth

COST = Cost(2.0, ("n", "k"))


@pytest.fixture(scope="module")
def outlook():
    return Outlook.of(build_forecaster("stack"), made(truth))


def true_best(budget, widths):
    return min(widths, key=lambda k: truth(k, budget / (2 * k), 3.0 * k**-1.5))


@pytest.mark.parametrize("budget", [3e4, 3e5, 1e6])
def test_the_best_width_at_a_cost_is_found_and_the_budget_is_kept(outlook, budget):
    (found,) = spend(outlook, COST, [budget], target=0.25)
    assert 2 * found.n * found.k <= budget < 2 * (found.n + 1) * found.k
    best = true_best(budget, found.judged)
    assert found.k_ends[0] <= best <= found.k_ends[1]
    # At the width that is recommended next to nothing is lost against the true best.
    regret = truth(found.k, found.n, 3.0 * found.k**-1.5)
    assert regret < 1.05 * truth(best, budget / (2 * best), 3.0 * best**-1.5)
    assert found.regret_ends[0] <= found.regret <= found.regret_ends[1]
    assert found.n_ends[0] <= found.n <= found.n_ends[1]


def test_a_larger_budget_buys_a_wider_latent_and_less_regret(outlook):
    small, large = spend(outlook, COST, [1e4, 1e6], target=0.05)
    assert large.k > small.k
    assert large.regret < small.regret
    assert large.probability > small.probability


def test_intervals_are_those_of_the_draws(outlook):
    (found,) = spend(outlook, COST, [3e5], target=0.25, level=0.8, seed=4)
    k = np.array(found.judged, float)
    n = np.floor(3e5 / (2 * k))
    draws = outlook.draws(k, n, 4)
    best = [int(found.judged[int(np.argmin(row))]) for row in draws]
    low, high = sorted(best)[int(0.1 * len(best))], sorted(best)[int(0.9 * len(best))]
    assert found.k_ends == (min(low, found.k), max(high, found.k))
    assert found.k == found.judged[int(np.argmin([np.mean(column) for column in draws.T]))]


def test_what_lies_too_far_is_judged_by_the_data_that_was_checked(outlook):
    (found,) = spend(outlook, COST, [2e7], target=0.25)
    most = np.floor(outlook.cells.n.max() * 10 ** outlook.checked[0])
    sizes = {k: np.floor(2e7 / (2 * k)) for k in found.judged}
    assert set(found.beyond) == {k for k, n in sizes.items() if n > most}
    assert 0 < len(found.beyond) < len(found.judged)
    k, n = np.array(list(sizes), float), np.minimum(list(sizes.values()), most)
    predicted = outlook.draws(k, n, 0).mean(axis=0)
    assert found.k == found.judged[int(predicted.argmin())]
    assert found.regret == pytest.approx(predicted.min())
    # Where that holds of every width, or too few have data enough, nothing is said.
    assert spend(outlook, COST, [1e12, 1.0], target=0.25) == (None, None)


def test_a_narrow_width_that_is_best_everywhere_is_not_passed_over_for_being_far():
    flat = Outlook.of(build_forecaster("stack"), made(lambda k, n, tail: 0.05 if k <= 4 else 0.5))
    (found,) = spend(flat, COST, [4e7], target=0.25)
    assert found.k <= 5
    assert found.k in found.beyond


def test_wrong_questions_are_refused(outlook):
    with pytest.raises(ValueError, match="expected a cost in n and k"):
        spend(outlook, Cost(1.0, ("N", "D")), [1e5], target=0.25)
    with pytest.raises(ValueError, match="budgets above 0, got 0"):
        spend(outlook, COST, [0.0], target=0.25)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.laws.adaptive import DesignSettings, Runs, propose
from jepa_scale.laws.design import deviations, greedy, variance_gain
from jepa_scale.laws.forecasters.trend import Trend


def test_gain_is_the_drop_of_the_posterior_variance(generator):
    # Bayesian linear regression, unit prior: observing j_x with noise s changes jᵀ C j by what the formula says.
    target, candidates = generator.standard_normal((4, 2)), generator.standard_normal((4, 6))
    noise = generator.uniform(0.2, 2.0, 6)
    gains = variance_gain(target, candidates, noise)
    for index in range(6):
        one = candidates[:, [index]]
        after = np.linalg.inv(np.eye(4) + one @ one.T / noise[index] ** 2)
        drop = np.trace(target.T @ target) - np.trace(target.T @ after @ target)
        assert gains[index] == pytest.approx(drop, rel=1e-10)


def test_greedy_is_sequential_bayes(generator):
    target, candidates = generator.standard_normal((4, 1)), generator.standard_normal((4, 6))
    noise, cost = np.full(6, 0.7), generator.uniform(1, 3, 6)
    chosen = greedy(target, candidates, noise, cost, 5, cap=2)
    precision = np.eye(4)
    for index, remaining in zip(chosen.order, chosen.remaining, strict=True):
        covariance = np.linalg.inv(precision)
        drops = [
            (target.T @ covariance @ candidates[:, [i]]).item() ** 2
            / (0.49 + (candidates[:, [i]].T @ covariance @ candidates[:, [i]]).item())
            for i in range(6)
        ]
        allowed = [i for i in range(6) if chosen.order[: chosen.order.index(index)].count(i) < 2]
        assert drops[index] / cost[index] == pytest.approx(max(drops[i] / cost[i] for i in allowed), rel=1e-9) or (
            chosen.order.count(index) == 2
        )
        precision = precision + candidates[:, [index]] @ candidates[:, [index]].T / 0.49
        left = (target.T @ np.linalg.inv(precision) @ target).item() / (target.T @ target).item()
        assert remaining == pytest.approx(left, rel=1e-9)
    assert max(chosen.order.count(i) for i in range(6)) <= 2


def test_one_lost_draw_does_not_correlate_everything(generator):
    draws = generator.standard_normal((500, 3))
    draws[0] = 1e6
    covariance = deviations(draws).T @ deviations(draws)
    assert np.abs(np.corrcoef(draws.T)[0, 1]) > 0.99
    # 500 independent draws: 0 ± 1/√500.
    assert np.abs(covariance[0, 1]) < 4 / np.sqrt(500)


SETTINGS = DesignSettings((2, 4, 8, 16, 32, 64), (300, 1000, 3000, 10000, 30000), 16, 100_000)
QUICK = replace(SETTINGS, forecaster=Trend())
"""With a forecaster that is fitted at once, where it does not matter which."""


def truth(k, n):
    return np.sqrt(0.6 * k**-1.5 + 2.5e-5 * k**2 * n**-0.5)


def play(count, settings=SETTINGS, cost=None, running=()):
    cost = np.ones(len(settings.cells[0])) if cost is None else cost
    chosen = []
    for _ in range(count):
        seen = np.array(chosen).reshape(-1, 2)
        value = truth(*seen.T) if len(seen) else np.empty(0)
        value = np.where([index in running for index in range(len(seen))], np.nan, value)
        proposal = propose(settings, Runs(seen[:, 0], seen[:, 1], value), cost)
        if proposal is None:
            break
        chosen.append((float(proposal.k), float(proposal.n)))
    return chosen


def test_a_design_begins_with_a_factorial_over_both_dials():
    chosen = play(12)
    start = chosen[:8]
    assert len({k for k, _ in start}) == 4
    assert len({n for _, n in start}) == 2
    assert len(set(start)) == 8
    assert all(k in SETTINGS.widths and n in SETTINGS.sizes for k, n in chosen)


def test_no_cell_is_run_more_often_than_the_cap_and_all_may_be_run():
    settings = DesignSettings((2, 8, 32), (300, 3000), 8, 30_000, cap=2, forecaster=Trend())
    chosen = play(50, settings)
    assert len(chosen) == 12
    assert max(chosen.count(cell) for cell in chosen) == 2


def test_what_cannot_be_paid_is_not_chosen():
    chosen = play(20, QUICK, cost=np.where(SETTINGS.cells[1] <= 3000, 1.0, np.inf))
    assert len(chosen) == 20
    assert max(n for _, n in chosen) <= 3000


def test_runs_on_their_way_count():
    # The same state but for the last two runs, which are still going: their cells must not be chosen as if unknown.
    without = play(14)
    seen = np.array(without[:12])
    value = truth(*seen.T)
    waiting = np.append(value[:10], [np.nan, np.nan])
    known = propose(SETTINGS, Runs(seen[:10, 0], seen[:10, 1], value[:10]), np.ones(30))
    counted = propose(SETTINGS, Runs(seen[:, 0], seen[:, 1], waiting), np.ones(30))
    assert known is not None
    assert counted is not None
    assert counted.forecast_sd < known.forecast_sd


def test_the_next_run_is_the_one_that_narrows_the_answer_for_its_cost():
    # By hand: covariances of the same draws, each candidate observed alone.
    settings, cost = QUICK, SETTINGS.cells[1]
    start = np.array(play(10, settings))
    runs = Runs(start[:, 0], start[:, 1], truth(*start.T))
    k, n = settings.cells
    seen = runs.seen(np.inf)
    drawn = Trend().fit(seen).draws(np.append(n, 100_000.0), np.append(k, 16.0), 800, np.random.default_rng(0))
    covariance = np.cov(np.clip(drawn, *np.quantile(drawn, [0.025, 0.975], axis=0)).T, bias=True)
    noise = seen.deviation(drawn.mean(axis=0)[:-1], 1.0) ** 2
    gain = covariance[:-1, -1] ** 2 / (np.diag(covariance)[:-1] + noise)
    assert gain.argmax() != (gain / cost).argmax(), "or the cost would not be seen"
    gain /= cost
    proposal = propose(settings, runs, cost)
    assert (proposal.k, proposal.n) == (k[gain.argmax()], n[gain.argmax()])


def test_cells_of_runs_are_their_means():
    runs = Runs(np.array([2.0, 4, 2, 2]), np.array([100.0, 100, 100, 300]), np.array([0.3, 0.2, 0.5, np.nan]))
    seen = runs.seen(0.8)
    assert (seen.n.tolist(), seen.k.tolist(), seen.seeds.tolist()) == ([100, 100], [2, 4], [2, 1])
    assert seen.mean == pytest.approx([0.5, 0.25])
    assert runs.seen(np.inf).mean == pytest.approx([0.8, 0.4])


def test_values_that_are_all_zero_leave_no_doubt():
    runs = Runs(np.repeat([2.0, 8, 64], 2), np.tile([300.0, 3000.0], 3), np.zeros(6))
    settings = DesignSettings((2, 8, 64), (300, 3000), 8, 30_000, forecaster=Trend())
    proposal = propose(settings, Runs(np.append(runs.k, runs.k), np.append(runs.n, runs.n), np.zeros(12)), np.ones(6))
    assert proposal is not None


def test_a_design_stops_when_the_forecast_is_sure_enough():
    sure = DesignSettings(SETTINGS.widths, SETTINGS.sizes, 16, 100_000, tolerance=0.5)
    assert 8 <= len(play(60, sure)) < 60

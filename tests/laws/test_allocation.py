from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.laws.allocation import Cost, allocate
from jepa_scale.laws.fit import fit_table
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import HuberLog

LAW = Law("chinchilla", "loss = E + A N^-alpha + B D^-beta")
E, A, B, ALPHA, BETA = THETA = np.array([1.7, 400.0, 2000.0, 0.34, 0.37])
COST = Cost(6.0, ("N", "D"))


def table(generator, sd):
    columns = {"N": np.exp(generator.uniform(16, 21, 120)), "D": np.exp(generator.uniform(19, 24, 120))}
    return {**columns, "loss": LAW.predict(THETA, columns) * np.exp(sd * generator.standard_normal(120))}


def closed_form(budget):
    return (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (budget / 6) ** (BETA / (ALPHA + BETA))


def test_the_best_split_of_a_noiseless_table_is_the_closed_form(generator):
    columns = table(generator, 1e-9)
    found = allocate(LAW, fit_table(LAW, columns, HuberLog(np.inf), draws=40), COST, [1e22, 1e20], columns)
    assert [split.budget for split in found.splits] == [1e20, 1e22], "by size"
    for split in found.splits:
        assert split.inside
        assert split.best[0] == pytest.approx(closed_form(split.budget), rel=1e-3)
        assert 6 * split.best[0] * split.best[1] == pytest.approx(split.budget)
        at = {name: np.array([value]) for name, value in zip(("N", "D"), split.best, strict=True)}
        assert split.target == pytest.approx(LAW.predict(THETA, at)[0], rel=1e-6)
    assert found.exponents[0][0] == pytest.approx(BETA / (ALPHA + BETA), abs=2e-3)
    assert found.exponents[1][0] == pytest.approx(ALPHA / (ALPHA + BETA), abs=2e-3)


def test_intervals_hold_the_true_split(generator):
    inside = 0
    for _ in range(12):
        columns = table(generator, 0.01)
        fitted = fit_table(LAW, columns, HuberLog(np.inf), draws=100)
        (split,) = allocate(LAW, fitted, COST, [1e21], columns).splits
        inside += split.low[0] <= closed_form(1e21) <= split.high[0]
        assert split.low[0] <= split.best[0] <= split.high[0]
    assert inside >= 8, "of 12 at 90 %"


def test_decades_outside_the_runs_are_counted(generator):
    columns = table(generator, 1e-9)
    fitted = fit_table(LAW, columns, HuberLog(np.inf), draws=40)
    near, far = allocate(LAW, fitted, COST, [1e19, 1e25], columns).splits
    assert near.decades == 0
    expected = max(np.log10(far.best[0] / columns["N"].max()), np.log10(far.best[1] / columns["D"].max()))
    assert far.decades == pytest.approx(expected)


def test_a_cost_in_other_columns_is_refused(generator):
    columns = table(generator, 0.01)
    flat = Law("flat", "loss = E + A N^-alpha")
    fitted = fit_table(flat, columns, HuberLog(np.inf), draws=40)
    with pytest.raises(ValueError, match="expected a cost in the columns of the law, N, got 6"):
        allocate(flat, fitted, COST, [1e21], columns)


def test_the_end_of_the_search_is_no_best_split(generator):
    columns = table(generator, 0.001)
    fitted = fit_table(LAW, columns, HuberLog(np.inf), draws=40)
    # Without a term of D more N never hurts.
    parameters = tuple(replace(item, value=0.0) if item.name == "B" else item for item in fitted.parameters)
    draws = fitted.bootstrap_draws.copy()
    draws[:, [item.name for item in fitted.parameters].index("B")] = 0.0
    free = replace(fitted, parameters=parameters, bootstrap_draws=draws)
    low, high = allocate(LAW, free, COST, [1e20, 1e21], columns).splits
    assert not low.inside
    assert not high.inside
    assert allocate(LAW, free, COST, [1e20, 1e21], columns).exponents is None


def test_without_an_interval_there_is_no_split(generator):
    columns = table(generator, 0.01)
    with pytest.raises(ValueError, match="no draws"):
        allocate(LAW, fit_table(LAW, columns, HuberLog(np.inf), draws=0), COST, [1e21], columns)

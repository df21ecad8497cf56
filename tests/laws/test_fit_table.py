from __future__ import annotations

import numpy as np
import pytest

from jepa_scale.laws.fit import fit_table
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import Absolute, Binomial, HuberLog, Squares
from jepa_scale.laws.newton import minimise
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.rows import Rows
from jepa_scale.records import Finding

LAW = Law("nested", "R = c + (A k^-g + B k^p n^-q)^0.5")
THETA = (1.5, 0.02, 0.05, 1.5, 1.8, 0.5)


def surface(law=LAW, theta=THETA, widths=(2, 4, 8, 16, 32, 64), samples=(300, 1e3, 3e3, 1e4, 3e4, 1e5)):
    k, n = (axis.ravel() for axis in np.meshgrid(widths, samples))
    columns = {"k": k.astype(float), "n": n.astype(float)}
    return {**columns, "R": law.predict(np.array(theta), columns)}


LOSSES = [HuberLog(1e-3), HuberLog(np.inf), Squares(), Absolute(), Absolute(1, 5, logarithmic=False)]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_noise_free_surfaces_are_recovered(loss):
    fit = fit_table(LAW, surface(), loss, draws=0)
    values = {one.name: one.value for one in fit.parameters}
    np.testing.assert_allclose([values[name] for name in LAW.names], THETA, rtol=1e-8)


def test_three_columns_and_a_tied_exponent_are_recovered(generator):
    law = Law("three", "L = E + A w^-a d^-a + B t^-b")
    columns = {name: np.exp(generator.uniform(0, 5, 60)) for name in ("w", "d", "t")}
    theta = (0.7, 3.0, 5.0, 0.4, 0.8)
    fit = fit_table(law, columns | {"L": law.predict(np.array(theta), columns)}, HuberLog(1e-2), draws=0)
    np.testing.assert_allclose([one.value for one in fit.parameters], theta, rtol=1e-8)


def test_counts_of_failures_are_fitted_by_their_likelihood(generator):
    law = Law("bounded", "R = saturating(A k^-g + B n^-b, 1)")
    theta, episodes = (1.2, 60.0, 1.0, 0.7), 2_000
    columns = surface(law, theta)
    failures = generator.binomial(episodes, columns["R"])
    noisy = {**columns, "R": failures / episodes}
    fit = fit_table(law, noisy, Binomial(), episodes=np.full(len(failures), float(episodes)), draws=200, level=0.95)
    for one, truth in zip(fit.parameters, theta, strict=True):
        # Four intervals of one data set: all contain the truth in about 4/5 of data sets, so twice the width is asked.
        assert one.value - 2 * (one.value - one.low) < truth < one.value + 2 * (one.high - one.value)
    # Half the deviance of 36 cells with 4 parameters: χ²_32 / 2 = 16 ± 4.
    assert 16 - 12 < fit.objective < 16 + 16


def test_absolute_loss_passes_through_as_many_rows_as_parameters(generator):
    columns = surface(theta=(1.5, 0.02, 0.05, 1.5, 1.8, 0.5))
    noisy = {**columns, "R": columns["R"] * np.exp(0.05 * generator.standard_normal(36))}
    law = Law("simple", "R = A k^-g + B k^p n^-q")
    fit = fit_table(law, noisy, Absolute(), draws=0)
    predicted = law.predict(np.array([one.value for one in fit.parameters]), noisy)
    residual = np.abs(np.log(predicted) - np.log(noisy["R"]))
    # A vertex: at least as many rows as free parameters to rounding; kinks rounded over 1e-9 alone leave 1e-10.
    assert (residual < 1e-13).sum() >= 5


def test_a_plane_of_copies_is_said_and_a_line_of_cells_refused():
    columns = surface()
    twice = {name: np.concatenate([column, column]) for name, column in columns.items()}
    assert "copied_rows" in {one.code for one in fit_table(LAW, twice, draws=0).warnings}
    k = np.geomspace(2, 128, 12)
    diagonal = {"k": k, "n": 100 * k**2, "R": k**-0.5}
    refused = fit_table(Law("two", "R = E + A k^-a + B n^-b"), diagonal, draws=0)
    assert refused.status == "not_identified"
    assert (refused.reason.code, refused.reason.subject) == ("columns_move_together", "k")
    assert "run cells with large k and small n" in str(refused.reason)


def test_fewer_rows_than_parameters_says_what_to_run():
    columns = {name: values[:5] for name, values in surface().items()}
    fit = fit_table(LAW, columns, draws=0)
    assert fit.status == "not_identified"
    assert (fit.reason.code, fit.reason.subject) == ("too_few_levels", "n")
    few = {name: values[[0, 1, 6, 7, 12]] for name, values in surface().items()}
    reason = fit_table(LAW, few).reason
    assert (reason.code, reason.values["cells"], reason.values["least"]) == ("too_few_cells", 5, 8)


@pytest.mark.parametrize(("levels", "status"), [(2, "not_identified"), (3, "converged")])
def test_two_levels_cannot_hold_a_constant_a_coefficient_and_an_exponent(levels, status):
    law = Law("chinchilla", "loss = E + A N^-alpha + B D^-beta")
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(100, 12800, 8), 100.0 * 3.0 ** np.arange(levels)))
    columns = {"N": n, "D": d}
    columns["loss"] = law.predict(np.array([1.0, 5.0, 4.0, 0.5, 0.4])[: len(law.names)], columns)
    fit = fit_table(law, columns, draws=0)
    assert fit.status == status
    if levels == 2:
        assert (fit.reason.code, fit.reason.subject) == ("two_levels", "D")
        # Without a constant, or with the exponent known, two levels suffice.
        for formula in ("loss = A N^-alpha D^-beta", "loss = E + A N^-alpha + B D^-0.4"):
            assert fit_table(Law("other", formula), columns, draws=0).status == "converged"


def test_a_column_with_hardly_anything_in_it_hides_no_parameter():
    law = Law("risk", "R = A tail + B k^p n^-q")
    k, n = (axis.ravel() for axis in np.meshgrid([2.0, 4.0, 8.0, 16.0, 64.0], [1000.0, 3000.0, 10000.0]))
    tail = np.where(k == 64.0, 2e-61, 20.0 / k)
    columns = {"k": k, "n": n, "tail": tail}
    columns["R"] = law.predict(np.array([1.0, 3.0, 0.9, 0.6]), columns)
    assert fit_table(law, columns, draws=0).status == "converged"
    assert fit_table(law, {**columns, "tail": np.where(k == 64.0, 0.0, tail)}, draws=0).status == "converged"


def test_the_order_and_the_units_of_rows_do_not_matter(generator):
    columns = surface()
    noisy = {**columns, "R": columns["R"] * np.exp(0.05 * generator.standard_normal(36))}
    one = fit_table(LAW, noisy, draws=0)
    order = generator.permutation(36)
    other = fit_table(LAW, {name: values[order] for name, values in noisy.items()} | {}, draws=0)
    scaled = fit_table(LAW, {**noisy, "n": noisy["n"] * 1000}, draws=0)
    assert other.objective == pytest.approx(one.objective, rel=1e-10)
    assert scaled.objective == pytest.approx(one.objective, rel=1e-10)


def test_a_row_that_is_met_exactly_is_no_infinite_curvature(generator):
    law = Law("simple", "R = A k^-g + B n^-b")
    for seed in range(6):
        columns = surface(law, (1.2, 8.0, 0.8, 0.5))
        noisy = {**columns, "R": columns["R"] * np.exp(0.05 * np.random.default_rng(seed).standard_t(2, 36))}
        for loss in (Absolute(), Absolute(10, 1, logarithmic=False)):
            fit = fit_table(law, noisy, loss, draws=0)
            assert np.isfinite(fit.condition)


def test_nothing_to_explain_and_nothing_to_reach_are_said():
    columns = surface()
    flat = fit_table(LAW, {**columns, "R": np.full(36, 0.97)}, draws=0)
    assert flat.reason == Finding("constant_target", "R", {"value": 0.97})
    law = Law("low", "R = saturating(A k^-g + B n^-b, 0.1)")
    low = fit_table(law, columns, HuberLog(np.inf), draws=0)
    assert low.status != "converged" or "above_ceiling" in {one.code for one in low.warnings}
    one = np.where(np.arange(36) < 6, 1.0, 0.0)
    with pytest.raises(ValueError, match="some above 0"):
        fit_table(LAW, columns, draws=0, weight=np.zeros(36))
    assert fit_table(LAW, columns, draws=0, weight=one).reason.code == "too_few_levels"


def test_another_basin_is_found_where_least_squares_misleads():
    # Few rows with outliers: the best grid points by squares and by the loss lie in different basins.
    generator = np.random.default_rng(11)
    law = Law("plain", "R = (A k^-g + B n^-b)^m")
    columns = {name: values[::3] for name, values in surface(law, (1.0, 30.0, 0.7, 0.6, 0.5)).items()}
    noisy = {**columns, "R": columns["R"] * np.exp(0.3 * generator.standard_t(1.5, 12))}
    loss = HuberLog(0.05)
    fit = fit_table(law, noisy, loss, draws=0)
    problem = Problem(law, Rows.of(law, noisy), loss)
    low, high = problem.low, np.where(np.isfinite(problem.high), problem.high, 3.0)
    starts = generator.uniform(low, high, (300, len(low)))
    many = minimise(problem, problem.rows.weight[None], starts)
    assert fit.objective <= many.objective[many.converged].min() * (1 + 1e-9)

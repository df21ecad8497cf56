from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from jepa_scale.laws.base import cells_from_table
from jepa_scale.laws.levenberg import polish
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.varpro import grid_starts, nonnegative_least_squares
from tests.reference import laws as reference


def test_nonnegative_least_squares_is_scipys(generator):
    basis = generator.uniform(size=(50, 9, 3))
    target = generator.standard_normal((50, 9)) + 0.5
    gram = np.einsum("gci,gcj->gij", basis, basis)
    moment = np.einsum("gci,gc->gi", basis, target)
    found, gain = nonnegative_least_squares(gram[None], moment[None])
    zeros = 0
    for i in range(50):
        expected, norm = nnls(basis[i], target[i])
        zeros += int((expected == 0).any())
        # Condition of these Gram matrices is below 1e4; the relative ridge is 1e-12.
        np.testing.assert_allclose(found[0, i], expected, atol=1e-7)
        assert (target[i] ** 2).sum() - gain[0, i] == pytest.approx(norm**2, abs=1e-9)
    assert zeros > 10


def test_proportional_terms_do_not_break_it():
    found, gain = nonnegative_least_squares(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2)))
    # Any split of 1 between two equal columns is a solution; the ridge of 1e-12 and rounding over it enter.
    assert found.sum() == pytest.approx(1.0, abs=1e-3)
    assert gain[0, 0] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("target", ["risk", "regret"])
@pytest.mark.parametrize("name", ["generic", "theory_free", "theory_fixed"])
def test_polish_never_rises_and_stays_within_bounds(name, target, request, generator):
    cells = cells_from_table(reference.observed_table(target, generator), target)
    problem = Problem(request.getfixturevalue(name), cells)
    weights = generator.multinomial(len(cells), np.full(len(cells), 1 / len(cells)), size=15) / 0.05**2
    starts = grid_starts(problem, weights, 1)[:, 0]
    minima = polish(problem, weights, starts)
    before = (weights * (problem.predict(starts) - cells.mean) ** 2).sum(axis=1)
    assert (minima.objective <= before * (1 + 1e-12)).all()
    assert (minima.theta >= problem.low).all()
    assert (minima.theta <= problem.high).all()


def test_jacobian_is_the_derivative(theory_free, generator):
    cells = cells_from_table(reference.observed_table("regret", generator), "regret")
    problem = Problem(theory_free, cells)
    theta = np.array([[0.04, 0.02, 1.3, 0.7]])
    step = 1e-6
    for column in range(4):
        shift = step * np.eye(4)[column]
        slope = (problem.predict(theta + shift) - problem.predict(theta - shift)) / (2 * step)
        # Central differences: h² φ''' ~ 1e-9 at the steepest cell, and rounding 1e-16/1e-6.
        np.testing.assert_allclose(problem.jacobian(theta)[..., column], slope, rtol=1e-6, atol=1e-8)


def test_natural_parameters_predict_the_same(generic, theory_free, generator):
    planted = ((generic, "risk", [0.5, 2.0, 3.0, 0.9, 0.4]), (theory_free, "regret", [0.1, 0.2, 1.5, 0.6]))
    for law, target, theta in planted:
        cells = cells_from_table(reference.observed_table(target, generator), target)
        problem = Problem(law, cells)
        natural = problem.natural(np.array([theta]))
        np.testing.assert_allclose(
            law.predict(natural, cells.k, cells.n, cells.tail, target), problem.predict(np.array([theta])), rtol=1e-12
        )

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.fit import rows_of_cells
from jepa_scale.laws.losses import Squares
from jepa_scale.laws.newton import minimise
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.varpro import Grid, nonnegative_least_squares
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
def test_newton_never_rises_and_stays_within_bounds(name, target, request, generator):
    cells = cells_from_table(reference.observed_table(target, generator), target)
    law = request.getfixturevalue(name).on(target)
    problem = Problem(law, rows_of_cells(law, cells), Squares())
    weights = generator.multinomial(len(cells), np.full(len(cells), 1 / len(cells)), size=15) / 0.05**2
    starts = Grid(problem, 256).starts(weights, problem.rows.target[None], 1)[:, 0]
    minima = minimise(problem, weights, starts)
    before = problem.objective(problem.state(starts), weights, problem.rows.target[None])
    assert (minima.objective <= before * (1 + 1e-12)).all()
    assert (minima.theta >= problem.low).all()
    assert (minima.theta <= problem.high).all()


def test_starts_of_one_fit_are_no_neighbours(generic, generator):
    cells = cells_from_table(reference.observed_table("risk", generator), "risk")
    law = generic.on("risk")
    problem = Problem(law, rows_of_cells(law, cells), Squares())
    starts = Grid(problem, 4096).starts(np.ones((1, len(cells))), cells.mean[None], 8)[0]
    shapes = starts[:, 3:] / np.ptp(Grid(problem, 4096).shapes, axis=0)
    apart = np.abs(shapes[:, None] - shapes[None]).max(axis=-1)[~np.eye(8, dtype=bool)]
    assert apart.min() > 0.06


def test_natural_parameters_predict_the_same(generic, theory_free, generator):
    planted = ((generic, "risk", [0.5, 2.0, 3.0, 0.9, 0.4]), (theory_free, "regret", [0.1, 0.2, 1.5, 0.6]))
    for family, target, theta in planted:
        cells = cells_from_table(reference.observed_table(target, generator), target)
        law = family.on(target)
        problem = Problem(law, rows_of_cells(law, cells), Squares())
        natural = problem.natural(np.array([theta]))
        np.testing.assert_allclose(
            law.predict(natural, cells.columns), np.exp(problem.state(np.array([theta])).y), rtol=1e-12
        )
        np.testing.assert_allclose(problem.centred(natural)[0], theta, rtol=1e-12)

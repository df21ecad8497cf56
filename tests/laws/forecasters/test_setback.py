"""Runs that learnt late are set back as those of other studies were, and nothing else is touched."""

import dataclasses

import numpy as np
import pytest

from jepa_scale.laws.forecasters.library import Learnt, Library, shipped
from jepa_scale.laws.forecasters.setback import Setback
from jepa_scale.laws.forecasters.stack import Stack
from tests.laws.forecasters.test_contract import dose, seen

KNOWN = Setback(np.array([0.0, 0.1, 0.8, 0.9, 1.0]), np.array([0.0, 0.0, 0.7, 0.0, 0.9]))
LATE = np.tile([0.0, 0.9, np.nan], 4)
"""Of widths 2, 8 and 32, at each of four sizes."""


def cells(late=LATE):
    return dataclasses.replace(seen(dose), late=late)


def applied(n, k, late=LATE, known=KNOWN, count=20_000):
    n, k = np.array(n, float), np.array(k, float)
    drawn = np.full((count, len(n)), 0.1)
    return known.applied(drawn, cells(late), n, k, np.random.default_rng(0))


def test_the_probability_is_that_of_curves_that_learnt_as_late():
    kernel = np.exp(-0.5 * ((0.9 - KNOWN.late) / 0.25) ** 2)
    probability, weights = KNOWN.probability(0.9)
    assert probability == pytest.approx((kernel[2] + kernel[4]) / (2 + kernel.sum()))
    assert weights == pytest.approx(kernel * [0, 0, 1, 0, 1])
    assert KNOWN.probability(0.39)[0] == 0.0


def test_draws_beyond_the_runs_of_a_late_width_are_raised_and_no_others():
    here = cells().curve(8.0).mean[-1]
    drawn = applied([30_000, 100_000, 10_000, 30_000, 30_000], [8, 8, 8, 2, 32])
    probability, _ = KNOWN.probability(0.9)
    # Three times as many transitions are just short of half a decade.
    near = np.log10(3) / 0.5
    for point, share in ((0, near), (1, 1.0)):
        assert (drawn[:, point] > 0.1).mean() == pytest.approx(
            probability * near if point == 0 else share * probability, abs=0.02
        )
    back = np.unique(drawn[:, 1].round(9))
    assert back == pytest.approx([0.1, here + (1 - here) * 0.7, here + (1 - here) * 0.9])
    assert (drawn[:, 2:] == 0.1).all(), "seen sizes, an early width, an unknown one"


def test_widths_are_set_back_together():
    late = np.tile([0.9, 0.9, 0.9], 4)
    drawn = applied([100_000, 100_000], [2, 32], late) > 0.1
    assert (drawn[:, 0] == drawn[:, 1]).all()


def test_a_draw_is_never_lowered():
    known = Setback(np.array([0.9]), np.array([0.01]))
    n, k = np.array([1e5]), np.array([8.0])
    drawn = np.full((1000, 1), 0.99)
    np.testing.assert_array_equal(known.applied(drawn, cells(), n, k, np.random.default_rng(0)), drawn)


@pytest.mark.parametrize("late", [None, np.full(12, np.nan)], ids=["no column", "not known"])
def test_without_epochs_nothing_changes(late):
    drawn = np.full((10, 1), 0.1)
    found = KNOWN.applied(drawn, cells(late), np.array([1e5]), np.array([8.0]), np.random.default_rng(0))
    assert found is drawn
    plain, told = (Stack().fit(dataclasses.replace(seen(dose), late=late)) for _ in range(2))
    points = np.array([3e4, 1e5]), np.array([8.0, 8.0]), 200
    np.testing.assert_array_equal(*(one.draws(*points, np.random.default_rng(1)) for one in (plain, told)))


def test_a_stack_expects_the_worse_of_what_learnt_late():
    curves = (Learnt("other", np.linspace(0.7, 1, 9), np.full(9, 0.8)), Learnt("good", np.zeros(9), np.zeros(9)))
    library = dataclasses.replace(shipped(), curves=curves)
    points = np.array([1e5]), np.array([8.0]), 2000
    means = []
    for late in (0.0, 0.95):
        fitted = Stack().fit_with(cells(np.full(12, late)), library)
        means.append(fitted.draws(*points, np.random.default_rng(0)).mean())
    early, late = means
    assert late > early + 0.3
    # And knows nothing of the study that it is judged on.
    fitted = Stack().fit_with(cells(np.full(12, 0.95)), library.without("other"))
    assert fitted.draws(*points, np.random.default_rng(0)).mean() == pytest.approx(early, abs=0.05)


def test_the_shipped_library_knows_late_and_early_curves():
    known = Setback.of(shipped())
    assert known.probability(0.9)[0] > 0.4
    assert 0.05 < known.probability(0.5)[0] < 0.3
    assert known.probability(0.0)[0] == 0.0
    assert Setback.of(Library((), ())).probability(0.9)[0] == 0.0

from __future__ import annotations

import numpy as np
import pytest

from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import Absolute, Binomial, HuberLog, Squares
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.rows import Rows

CASES = [
    ("R = E + A N^-alpha + B D^-beta", HuberLog(0.3)),
    ("R = c + (A N^-g + B N^p D^-q)^m", Squares()),
    ("R = saturating(c + (A N^-g + B N^p D^-q)^m, 3.0)", HuberLog(np.inf)),
    ("R = saturating(A N^-g + B N^p D^-q, 0.9)", Binomial()),
    ("R = saturating(A N^-g + B N^p D^-q, 0.9)", Binomial(0.1)),
    ("R = (A T + B N^p D^-q)^0.5", Absolute(1, 10, logarithmic=False, smoothing=0.1)),
    ("R = A N^-a D^-a + B D^-a", Absolute(2, 1, smoothing=0.2)),
]


@pytest.mark.parametrize(("text", "loss"), CASES, ids=lambda value: str(getattr(value, "name", value)))
def test_gradient_and_hessian_are_the_derivatives(text, loss, generator):
    law, rows = Law("one", text), 30
    columns = {
        "N": generator.uniform(1, 50, rows),
        "D": generator.uniform(10, 1000, rows),
        "T": generator.uniform(0, 3, rows),
        "R": generator.uniform(0.1, 0.8, rows),
    }
    problem = Problem(law, Rows.of(law, columns, episodes=np.full(rows, 20.0)), loss)
    theta = 0.1 + 0.3 * np.abs(generator.standard_normal((2, len(law.names))))
    weights, exact = generator.uniform(0.5, 2, (2, rows)), np.array([True, True])
    target = problem.rows.target[None]

    def at(point):
        return problem.curvature(problem.state(point), weights, target, exact)

    gradient, hessian, _ = at(theta)
    step = 1e-5
    for column in range(len(law.names)):
        shift = step * np.eye(len(law.names))[column]
        up, down = (problem.objective(problem.state(theta + sign * shift), weights, target) for sign in (1, -1))
        # Central differences: truncation h² = 1e-10 of third derivatives, rounding 1e-16/1e-5.
        np.testing.assert_allclose(gradient[:, column], (up - down) / (2 * step), atol=1e-7 * np.abs(gradient).max())
        slope = (at(theta + shift)[0] - at(theta - shift)[0]) / (2 * step)
        np.testing.assert_allclose(hessian[:, column], slope, atol=1e-7 * np.abs(hessian).max())


def test_majorant_is_never_below_the_loss(generator):
    # ℓ(y) ≤ ℓ(y0) + ℓ'(y0)(y − y0) + κ (y − y0)²/2 for Huber, with κ taken at y0: what makes such a step descend.
    law = Law("one", "R = A N^-a")
    rows = Rows.of(law, {"N": np.arange(1.0, 41), "R": np.exp(generator.standard_normal(40))})
    loss, target = HuberLog(0.05), rows.target[None]
    start, end = generator.standard_normal((2, 1, 40))
    slopes = loss.slopes(start, rows, target)
    above = slopes.value + slopes.first * (end - start) + 0.5 * slopes.majorant * (end - start) ** 2
    assert (above >= loss.value(end, rows, target) - 1e-12).all()


def test_binomial_losses_are_scipys_likelihoods(generator):
    from scipy import stats

    rows = Rows.of(
        Law("one", "R = A N^-a"), {"N": np.arange(1.0, 6), "R": np.array([0, 3, 10, 19, 20]) / 20},
        episodes=np.full(5, 20.0),
    )  # fmt: skip
    rate = generator.uniform(0.05, 0.95, (1, 5))
    failures = np.round(rows.target * 20)
    found = Binomial().value(np.log(rate), rows, rows.target[None])[0]
    best = stats.binom.logpmf(failures, 20, rows.target)
    np.testing.assert_allclose(found, best - stats.binom.logpmf(failures, 20, rate[0]), atol=1e-10)
    size = (1 - 0.2) / 0.2
    mixed = Binomial(0.2).value(np.log(rate), rows, rows.target[None])[0]
    # Up to the binomial coefficient, which no parameter enters.
    likelihood = stats.betabinom.logpmf(failures, 20, rate[0] * size, (1 - rate[0]) * size)
    from scipy.special import gammaln

    coefficient = gammaln(21) - gammaln(failures + 1) - gammaln(21 - failures)
    np.testing.assert_allclose(mixed, coefficient - likelihood, atol=1e-10)


@pytest.mark.parametrize(
    ("loss", "rows", "says"),
    [
        (HuberLog(), {"R": [0.0, 1.0]}, "takes the logarithm of the target, which is 0 in row 0"),
        (Binomial(), {"R": [0.5, 1.0]}, "number of episodes"),
        (Binomial(), {"R": [0.5, 1.5], "episodes": [10.0, 10.0]}, "rates in \\[0, 1\\]"),
    ],
)
def test_targets_without_a_meaning_are_refused(loss, rows, says):
    rows = dict(rows)
    episodes = rows.pop("episodes", None)
    found = Rows.of(Law("one", "R = A N^-a"), {"N": [1.0, 2.0], **rows}, episodes=episodes)
    with pytest.raises(ValueError, match=says):
        loss.check(found)

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from jepa_scale.laws.fit import solve
from jepa_scale.laws.law import Law
from jepa_scale.laws.likelihood import akaike, bayes, scaled_deviance
from jepa_scale.laws.losses import Absolute, HuberLog
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.profile import profile
from jepa_scale.laws.rows import Rows

LINE = Law("line", "y = A x^-g", bounds={"g": (-4, 4)})


def line(generator, count=15):
    x = np.exp(generator.uniform(0, 3, count))
    return Rows.of(LINE, {"x": x, "y": 2.0 * x**-0.5 * np.exp(0.1 * generator.standard_normal(count))})


def test_the_profile_of_a_linear_model_is_its_t_interval(generator):
    # ln y = a − g ln x with squared residuals: the profile is the parabola whose F limit is the t interval.
    rows = line(generator)
    problem = Problem(LINE, rows, HuberLog(np.inf))
    best = solve(problem, rows.weight)
    found = profile(problem, rows.weight, best.theta, "g", level=0.95, points=201)
    least = stats.linregress(np.log(rows.columns["x"]), np.log(rows.target))
    half = stats.t.ppf(0.975, len(rows) - 2) * least.stderr
    # Crossings are read off a grid of 201 points over 12 standard errors by lines between neighbours.
    assert found.low == pytest.approx(-least.slope - half, abs=0.01 * half)
    assert found.high == pytest.approx(-least.slope + half, abs=0.01 * half)
    assert found.open_ends == (False, False)
    assert found.rise.min() == pytest.approx(0.0, abs=1e-9)


def test_an_interval_that_runs_into_a_bound_is_open(generator):
    law = Law("floor", "y = E + A x^-g")
    x = np.geomspace(1, 20, 30)
    rows = Rows.of(law, {"x": x, "y": 2.0 * x**-0.5 * np.exp(0.1 * generator.standard_normal(30))})
    problem = Problem(law, rows, HuberLog(np.inf))
    best = solve(problem, rows.weight)
    assert profile(problem, rows.weight, best.theta, "E").open_ends[0]


@pytest.mark.parametrize(
    "loss", [HuberLog(0.05), HuberLog(np.inf), Absolute(), Absolute(10, 1)], ids=lambda one: one.name
)
def test_the_deviance_is_that_of_a_density(loss, generator):
    rows = line(generator, 40)
    target = rows.target[None]
    # Residuals around a fixed prediction; −2 ln of Π exp(−ℓ/s)/Z(s) at the s that maximises it, by brute force.
    y = np.log(rows.target)[None] + 0.1 * generator.standard_t(3, (1, 40))
    values = loss.value(y, rows, target)[0]
    single = Rows.of(LINE, {"x": [1.0], "y": [1.0]})

    def deviance(log_scale):
        s = np.exp(log_scale)
        density = lambda r: float(np.exp(-loss.value(np.array([[r]]), single, single.target[None])[0, 0] / s))  # noqa: E731
        area = sum(integrate.quad(density, *ends, limit=200)[0] for ends in ((-60 * s - 3, 0), (0, 60 * s + 3)))
        return 2 * values.sum() / s + 2 * 40 * np.log(area)

    grid = np.log(values.mean()) + np.linspace(-3, 3, 121)
    brute = min(deviance(point) for point in grid)
    # A grid of 0.05 in ln s is within 40 · 0.025²/2 of the maximum.
    assert scaled_deviance(loss, float(values.sum()), rows) == pytest.approx(brute, abs=0.05)


def test_bayes_undoes_the_akaike_penalty():
    assert bayes(akaike(10.0, 30, 4), 30, 4) == pytest.approx(10.0 + 5 * np.log(30))
    assert akaike(10.0, 6, 5) == np.inf

"""The spectrum of jointly normal vectors, and the regulator, against slow references."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from jepa_scale.theory.gaussian import LinearGaussian, linear_total, product_tail, product_total, product_values
from jepa_scale.theory.lqr import regulator

ROTATION = np.array([[0.8, -0.3], [0.3, 0.6]])
MODEL = LinearGaussian(ROTATION, np.array([[0.5], [0.2]]), np.array([[0.7]]), np.array([[0.2, 0.05], [0.05, 0.1]]))


def test_the_operator_of_two_normal_numbers_has_the_powers_of_their_correlation():
    """The normalised joint density on a fine grid, decomposed."""
    rho, grid = 0.7, np.linspace(-10, 10, 601)
    weight = grid[1] - grid[0]
    conditional = norm.pdf(grid[None, :], rho * grid[:, None], np.sqrt(1 - rho**2))
    density = norm.pdf(grid)
    matrix = np.sqrt(density)[:, None] * conditional / np.sqrt(density)[None, :] * weight
    # The eighth Hermite function is below 10⁻⁹ beyond ±10.
    np.testing.assert_allclose(np.linalg.svd(matrix)[1][:8], rho ** np.arange(8), atol=1e-8)
    np.testing.assert_allclose(product_values(np.array([rho]), 8), rho ** np.arange(8), atol=1e-12)


@pytest.mark.parametrize("correlations", [[0.9], [0.5, 0.8], [0.7, 0.7, 0.2], [0.6, 0.0, 0.3]], ids=str)
def test_products_are_those_of_all_exponents(correlations):
    values = np.array(correlations)
    every = [np.prod(values**exponents) for exponents in itertools.product(range(24), repeat=len(values))]
    expected = np.sort(every)[::-1][:60]
    # No product of an exponent of 24 or more is among the leading ones.
    assert values.max() ** 24 < expected[20]
    np.testing.assert_allclose(product_values(values, 21), expected[:21], atol=1e-12)
    assert product_total(values) == pytest.approx((np.array(every) ** 2).sum(), rel=2 * values.max() ** 48 + 1e-12)
    assert product_tail(values, 5) == pytest.approx(product_total(values) - (expected[:5] ** 2).sum(), abs=1e-10)
    assert product_tail(values, 0) == product_total(values)


def test_nothing_beyond_the_constant_where_nothing_is_correlated():
    assert product_values(np.zeros(3), 4).tolist() == [1, 0, 0, 0]
    assert product_total(np.zeros(3)) == 1
    assert product_tail(np.zeros(3), 1) == 0


def test_correlations_are_those_of_the_covariance():
    """Written out: whiten both sides of the covariance of (x, a) and x⁺, and of (x, x⁺) given a."""
    a, b, c, sigma = MODEL.transition, MODEL.control, MODEL.action_covariance, MODEL.stationary
    np.testing.assert_allclose(a @ sigma @ a.T + b @ c @ b.T + MODEL.noise_covariance, sigma, atol=1e-12)
    context = np.block([[sigma, np.zeros((2, 1))], [np.zeros((1, 2)), c]])
    cross = np.hstack([a @ sigma, b @ c])

    def roots(whole):
        return np.linalg.inv(np.linalg.cholesky(whole))

    expected = np.linalg.svd(roots(sigma) @ cross @ roots(context).T)[1]
    np.testing.assert_allclose(MODEL.joint_correlations, expected, atol=1e-12)
    given = a @ sigma @ a.T + MODEL.noise_covariance
    expected = np.linalg.svd(roots(given) @ a @ sigma @ roots(sigma).T)[1]
    np.testing.assert_allclose(MODEL.fixed_action_correlations, expected, atol=1e-12)
    assert linear_total(MODEL.joint_correlations) == pytest.approx(1 + (MODEL.joint_correlations**2).sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition": np.eye(2)}, "spectral radius of A below 1"),
        ({"noise_covariance": np.diag([1.0, 0.0])}, "positive definite W"),
    ],
    ids=["unstable", "noiseless"],
)
def test_laws_that_are_none(change, message):
    with pytest.raises(ValueError, match=message):
        replace(MODEL, **change)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.3), (0.0, 1.0, 0.1), (2.0, 0.5, 1.0)], ids=str)
def test_without_noise_the_regulator_is_the_least_squares_plan(steps, weights):
    """The whole plan at once: minimise |L a − t|² with all states written as functions of the actions."""
    final, path, effort = weights
    start, goal = np.array([1.0, -0.5]), np.array([0.2, 0.7])
    rows, target = [], []
    power = [np.linalg.matrix_power(ROTATION, i) for i in range(steps + 1)]
    for t in range(1, steps + 1):
        weight = np.sqrt(path + final * (t == steps))
        rows.append(weight * np.hstack([power[t - 1 - i] @ MODEL.control if i < t else np.zeros((2, 1))
                                        for i in range(steps)]))  # fmt: skip
        target.append(weight * (goal - power[t] @ start))
    rows.append(np.sqrt(effort) * np.eye(steps))
    target.append(np.zeros(steps))
    stacked, wanted = np.concatenate(rows), np.concatenate(target)
    plan = np.linalg.lstsq(stacked, wanted)[0]
    best = regulator(MODEL, steps, final, path, effort)
    assert best.action(0, start[None], goal[None])[0] == pytest.approx(plan[:1], abs=1e-10)
    least = ((stacked @ plan - wanted) ** 2).sum()
    assert best.cost(start[None], goal[None])[0] - best.noise_costs[0] == pytest.approx(least, abs=1e-10)


def test_with_noise_the_regulator_is_dynamic_programming_on_a_grid():
    """One dimension, three steps, values interpolated on a grid and the noise by Gauss–Hermite quadrature."""
    model = LinearGaussian(np.array([[0.8]]), np.array([[0.5]]), np.eye(1), np.array([[0.09]]))
    nodes, mass = np.polynomial.hermite_e.hermegauss(9)
    mass = mass / mass.sum()
    grid, actions, goal = np.linspace(-6, 6, 1201), np.linspace(-3, 3, 1201), 0.6
    ahead = np.zeros_like(grid)
    for t in reversed(range(3)):
        cost = 0.3 * actions[None, :] ** 2 + np.zeros((len(grid), 1))
        for node, share in zip(nodes, mass, strict=True):
            following = 0.8 * grid[:, None] + 0.5 * actions[None, :] + 0.3 * node
            paid = (1.0 + 2.0 * (t == 2)) * (following - goal) ** 2
            cost = cost + share * (paid + np.interp(following, grid, ahead))
        chosen, ahead = actions[cost.argmin(1)], cost.min(1)
    best = regulator(model, 3, final=2.0, path=1.0, effort=0.3)
    inside = np.abs(grid) < 2
    states = grid[inside, None]
    # Half a step of the grid of actions; values by its square and by linear interpolation.
    np.testing.assert_allclose(best.action(0, states, np.full_like(states, goal))[:, 0], chosen[inside], atol=0.006)
    np.testing.assert_allclose(best.cost(states, np.full_like(states, goal)), ahead[inside], atol=1e-3)


def test_a_cost_without_one_best_action_is_refused():
    wide = LinearGaussian(ROTATION, np.ones((2, 2)), np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="flat cost"):
        regulator(wide, 3)
    with pytest.raises(ValueError, match="steps ≥ 1"):
        regulator(MODEL, 0)

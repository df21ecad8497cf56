"""The Gaussian process against its definition, written out slowly, and where simple forecasters fail."""

import numpy as np
import pytest

from jepa_scale.laws.forecasters.simple import Linear, NoChange, PowerLaw
from jepa_scale.laws.forecasters.trend import Kernel, Trend
from tests.laws.forecasters.test_contract import dose, draws, seen


def slow(kernel, cells, n, k):
    """Mean and variance of the log odds by the textbook's inverse, the walk's covariance by summing its steps."""
    u, v = np.log(cells.n / cells.n.min()), np.log(cells.k)

    def walk(a, b, steps=4000):
        # f(u) = ∫ (u − s) dW(s): the covariance is ∫ (a − s)₊ (b − s)₊ ds.
        s = (np.arange(steps) + 0.5) / steps * min(a, b)
        return float(((a - s) * (b - s)).mean() * min(a, b))

    def covariance(a, w, b, x):
        alike = np.exp(-((w - x) ** 2) / (2 * kernel.length**2))
        common = kernel.shared + (1 - kernel.shared) * alike
        return common * (kernel.offset_sd**2 + kernel.slope_sd**2 * a * b + kernel.bend**2 * walk(a, b))

    share = (np.clip(cells.mean, 0, 1) + 0.007) / 1.057
    sd = np.sqrt((0.01**2 + (0.05 * np.clip(cells.mean, 0, 1)) ** 2) / 3) / 1.057 / (share * (1 - share))
    whole = np.array([[covariance(a, w, b, x) for b, x in zip(u, v, strict=True)] for a, w in zip(u, v, strict=True)])
    whole += np.diag(sd**2 + kernel.unexplained**2)
    at, width = np.log(n / cells.n.min()), np.log(k)
    cross = np.array([covariance(at, width, b, x) for b, x in zip(u, v, strict=True)])
    residual = np.log(share / (1 - share)) - kernel.start - kernel.slope * u
    inverse = np.linalg.inv(whole)
    mean = kernel.start + kernel.slope * at + cross @ inverse @ residual
    likelihood = -0.5 * (residual @ inverse @ residual + np.linalg.slogdet(whole)[1])
    return mean, covariance(at, width, at, width) - cross @ inverse @ cross, likelihood


@pytest.mark.parametrize(("n", "k"), [(50000.0, 8.0), (5000.0, 5.0)])
def test_draws_have_the_mean_and_variance_of_the_definition(n, k):
    cells = seen(dose)
    kernel = Kernel(cells, 0.1, 3.0, -0.5, 0.4, 0.7, 0.4, 0.5, 1.0)
    mean, variance, likelihood = slow(kernel, cells, n, k)
    found = kernel.draws(np.array([n]), np.array([k]), 40000, np.random.default_rng(0))[:, 0]
    odds = np.log((found + 0.007) / (1.05 - found))
    # 40 000 draws know these quantiles to 1/140 of the sd; the lower half is cut where y is 0.
    middle, high = np.quantile(odds, [0.5, 0.84134])
    sd = np.sqrt(variance)
    assert middle == pytest.approx(mean, abs=5 * sd / 140)
    assert high == pytest.approx(mean + sd, abs=5 * sd / 140)
    assert kernel.log_likelihood == pytest.approx(likelihood, abs=1e-4)


def test_what_falls_faster_and_faster_is_forecast_better_than_by_any_ruler():
    truth = float(dose(np.array([1e5]), np.array([8.0]))[0])
    cells = seen(dose)
    error = {
        type(one).__name__: float(np.abs(draws(one, cells, [1e5], [8.0], count=2000) - truth).mean())
        for one in (NoChange(), PowerLaw(), Linear(), Trend())
    }
    assert min(error, key=error.get) in ("Trend", "Linear")
    assert error["Trend"] < 0.6 * error["PowerLaw"] < error["NoChange"]


def test_between_widths_that_were_run_it_is_surer_than_beyond():
    between, beyond = draws(Trend(), seen(dose), [10000.0, 10000.0], [4.0, 2048.0], count=4000).T
    assert between.std() < beyond.std()


def test_settings_that_leave_no_choice_are_refused():
    with pytest.raises(ValueError, match="no empty list"):
        Trend(regimes=())
    with pytest.raises(ValueError, match="bend above 0"):
        Trend(regimes=((-0.5, 0.4, 0.0),))

"""Every forecaster of conf/forecaster keeps its promises."""

import numpy as np
import pytest
import yaml

from jepa_scale.laws.forecasters.base import Forecaster, Seen
from jepa_scale.runs.config import conf_dir
from jepa_scale.runs.instantiate import instantiate

NAMES = sorted(path.stem for path in (conf_dir() / "forecaster").glob("*.yaml"))
SIZES = (300.0, 1000.0, 3000.0, 10000.0)
WIDTHS = (2.0, 8.0, 32.0)


def built(name):
    leaf = yaml.safe_load((conf_dir() / "forecaster" / f"{name}.yaml").read_text())
    return instantiate(f"forecaster.{name}", leaf)


def seen(values, sizes=SIZES, widths=WIDTHS, noise=(0.01, 0.05)):
    n, k = (axis.ravel() for axis in np.meshgrid(sizes, widths, indexing="ij"))
    mean = values(n, k) if callable(values) else np.full(len(n), float(values))
    return Seen(n, k, mean, np.full(len(n), 3), noise, 0.4)


def dose(n, k):
    return 1 / (1 + np.exp(1.2 * (np.log(n) - 8.0 - 0.2 * np.log(k))))


@pytest.fixture(params=NAMES)
def forecaster(request):
    return built(request.param)


def draws(forecaster, cells, n, k, seed=0, count=400):
    at = np.broadcast_arrays(np.asarray(n, float), np.asarray(k, float))
    return forecaster.fit(cells).draws(at[0].ravel(), at[1].ravel(), count, np.random.default_rng(seed))


def test_a_leaf_is_a_forecaster(forecaster):
    assert isinstance(forecaster, Forecaster)
    hash(forecaster)


def test_the_same_generator_gives_the_same_draws(forecaster):
    first, again = (draws(forecaster, seen(dose), [30000.0, 1e5], [8.0, 2.0]) for _ in range(2))
    assert first.shape == (400, 2)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    "cells",
    [
        seen(0.0), seen(1.0), seen(1.08), seen(dose, sizes=(1000.0,)), seen(dose, widths=(8.0,)),
        seen(dose, sizes=(1000.0,), widths=(8.0,)), seen(dose, noise=(0.003, 1e-4)),
    ],
    ids=["solved", "random", "worse than random", "one size", "one width", "one cell", "hardly any noise"],
)  # fmt: skip
def test_draws_are_finite_and_never_negative(forecaster, cells):
    found = draws(forecaster, cells, [1000.0, 3e4, 1e7], [8.0, 5.0, 64.0])
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_what_is_far_is_not_surer_than_what_is_near(forecaster):
    found = draws(forecaster, seen(dose), [20000.0, 40000.0], [8.0, 8.0], count=4000)
    middle = [np.quantile(column, [0.05, 0.95]) for column in found.T]
    # A fifth for what saturates at 0.
    assert np.ptp(middle[1]) >= 0.8 * np.ptp(middle[0])


def test_solved_cells_stay_solved(forecaster):
    def solved(n, k):
        return np.where(n >= 3000, 0.0, 0.5)

    found = draws(forecaster, seen(solved), [30000.0], [8.0])
    assert np.median(found) < 0.03


def test_no_cells_and_nothing_to_lose_are_refused():
    from jepa_scale.laws.cells import cells_from_table
    from tests.reference.laws import make_table

    table = make_table(
        lambda k, n, tail: 0.1 + 0 * k, target="regret", widths=(2, 4), samples=(100, 300), tails={2: 1.0, 4: 1.0}
    )
    cells = cells_from_table(table, "regret", np.inf)
    assert Seen.of(cells).mean == pytest.approx(
        cells.mean / np.nanmean(cells.ceiling) if np.isfinite(cells.ceiling).any() else cells.mean
    )
    with pytest.raises(ValueError, match="expected cells with a regret, got none"):
        Seen.of(cells_from_table(table.where(table["n"] < 0), "regret", np.inf))

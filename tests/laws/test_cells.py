from __future__ import annotations

import numpy as np
import pytest

from jepa_scale.laws.cells import cells_from_table
from tests.reference import laws as reference


def test_cells_are_groups_of_runs_by_k_and_n():
    table = reference.make_table(lambda k, n, tail: k + n, samples=(100, 200), widths=(2, 4), seeds=3)
    cells = cells_from_table(with_values(table, [1, 2, 3] + [5] * 9), "risk")
    assert list(zip(cells.n, cells.k, strict=True)) == [(100, 2), (100, 4), (200, 2), (200, 4)]
    np.testing.assert_allclose(cells.mean, [2, 5, 5, 5])
    np.testing.assert_allclose(cells.sd, [1, 0, 0, 0])
    assert cells.seeds.tolist() == [3, 3, 3, 3]
    assert cells.runs == 12
    np.testing.assert_allclose(cells.tail, [9.256, 7.922, 9.256, 7.922])


def with_values(table, values, target="risk"):
    return reference.with_column(table, target, np.asarray(values, dtype=float))


def test_one_seed_has_no_sd():
    cells = cells_from_table(reference.make_table(lambda k, n, tail: 1.0, seeds=1), "risk")
    assert np.isnan(cells.sd).all()


def test_diverged_and_missing_runs_are_left_out_with_a_sentence():
    table = reference.make_table(lambda k, n, tail: 1.0, samples=(100, 200), widths=(2, 4), seeds=2)
    status, reason = table["status"].copy(), table["reason"].copy()
    values = table["risk"].copy()
    status[0], reason[0], values[0] = "diverged", "loss is NaN at step 12", np.nan
    values[3] = np.nan
    table = reference.with_column(reference.with_column(table, "status", status), "reason", reason)
    cells = cells_from_table(with_values(table, values), "risk")
    assert cells.excluded == (
        "k=2, n=100, seed=0: diverged: loss is NaN at step 12",
        "k=4, n=100, seed=1: finished without a finite risk",
    )
    assert cells.seeds.tolist() == [1, 1, 2, 2]


def test_saturated_regret_is_excluded_and_said(generator):
    exact = reference.make_table(
        lambda k, n, tail: reference.OBSERVED_REGRET[int(n)][reference.WIDTHS.index(int(k))],
        target="regret",
        regret_random=0.44,
    )
    cells = cells_from_table(exact, "regret")
    # .391 and .389 are 89 % and 88 % of .44: below the limit of 90 %.
    assert cells.excluded == (
        "k=2, n=300: mean regret 0.43 is 98 % of the random floor 0.44 (saturated)",
        "k=4, n=300: mean regret 0.41 is 93 % of the random floor 0.44 (saturated)",
    )
    assert len(cells) == 28
    kept = cells_from_table(reference.observed_table("regret", generator), "regret", saturation=np.inf)
    assert len(kept) == 30


def test_risk_has_no_ceiling():
    table = reference.make_table(lambda k, n, tail: 50.0, regret_random=0.44)
    assert cells_from_table(table, "risk").excluded == ()


def test_regret_without_a_random_floor_is_kept():
    table = reference.make_table(lambda k, n, tail: 0.9, target="regret", regret_random=float("nan"))
    assert cells_from_table(table, "regret").excluded == ()


def test_refusals():
    table = reference.make_table(lambda k, n, tail: 1.0)
    with pytest.raises(ValueError, match="'loss'"):
        cells_from_table(table, "loss")
    with pytest.raises(ValueError, match=r"saturation=0\.0"):
        cells_from_table(table, "risk", saturation=0.0)

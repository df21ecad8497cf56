from __future__ import annotations

import numpy as np
import pytest

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.u_turn import established_u_turns, u_turn
from tests.reference import laws as reference


def test_u_turn_on_a_hand_made_table():
    table = reference.make_table(lambda k, n, tail: 0.0, widths=(2, 4, 8), samples=(100, 200), seeds=2)
    # n = 100: seeds (3, 5), (1, 2), (2, 4). n = 200: falling.
    table = reference.with_column(table, "risk", np.array([3, 5, 1, 2, 2, 4, 9, 9, 5, 5, 1, 1], dtype=float))
    first, second = u_turn(table, "risk")
    assert (first.n, first.best_k, first.best_mean, first.interior) == (100, 4, 1.5, True)
    assert first.narrowest.k == 2
    assert first.narrowest.mean == pytest.approx(2.5)
    # Differences by seed 2 and 3: mean 2.5, sd √.5, SE .5. Variances 2 and .5 over 2 seeds: √(1 + .25).
    assert first.narrowest.paired_mean == pytest.approx(2.5)
    assert first.narrowest.paired_standard_error == pytest.approx(0.5)
    assert first.narrowest.welch_standard_error == pytest.approx(np.sqrt(1.25))
    assert first.narrowest.pairs == 2
    assert first.widest.paired_mean == pytest.approx(1.5)
    assert (second.best_k, second.interior, second.widest) == (8, False, None)
    assert second.narrowest.mean == pytest.approx(8.0)


def test_pairs_are_the_common_seeds_only():
    table = reference.make_table(lambda k, n, tail: k, widths=(2, 4), samples=(100,), seeds=3)
    table = reference.with_column(table, "seed", [0, 1, 2, 2, 3, 4])
    (row,) = u_turn(table, "risk")
    assert row.widest.pairs == 1
    assert row.widest.paired_mean == 2.0
    assert np.isnan(row.widest.paired_standard_error)


def test_a_flat_floor_is_no_optimum(generator):
    rows = {row.n: row for row in u_turn(reference.observed_table("regret", generator), "regret")}
    assert rows[1000].interior
    assert rows[3000].interior
    # Zero regret from k = 16 on: nothing rises.
    assert not rows[10000].interior
    assert not rows[30000].interior


def test_noise_alone_establishes_no_u_turn():
    # A flat row has its lowest of six means inside in 4 of 6 cases; beyond chance in at most 5 % of grids.
    found = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        table = reference.make_table(lambda k, n, tail: 1.0, noise=(0.05, 0.0), generator=generator)
        found += bool(established_u_turns(cells_from_table(table, "risk")))
    # Binomial(40, .05): above 6 by a chance of .003.
    assert found <= 6


def test_a_planted_u_turn_is_established_where_it_is():
    table = reference.make_table(
        lambda k, n, tail: 2.0 / k + 0.02 * k * (300 / n),
        noise=(0.03, 0.0),
        generator=np.random.default_rng(1),
    )
    # At n = 300 the ends are 1.04 and 1.31 against .41; at 30 000 the widest is the best.
    turns = established_u_turns(cells_from_table(table, "risk"))
    assert 300 in turns
    assert 30000 not in turns


def test_without_replicates_nothing_is_established():
    table = reference.make_table(lambda k, n, tail: 2.0 / k + 0.02 * k, seeds=1)
    assert established_u_turns(cells_from_table(table, "risk")) == ()

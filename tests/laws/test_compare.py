from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.laws.compare import akaike_weights
from jepa_scale.laws.fit import fit
from jepa_scale.laws.u_turn import u_turn
from tests.reference import laws as reference


def test_weights_choose_the_planted_law(generic, theory_free, theory_fixed):
    laws = (generic, theory_free, theory_fixed)
    noisy = {"noise": (0.0, 0.05), "generator": np.random.default_rng(2)}
    truth = {
        "generic": lambda k, n, tail: 0.2 + 1.3 * k**-0.8 + 60 * n**-0.45,
        "theory_free": lambda k, n, tail: tail + 20.0 * k**0.8 * n**-0.9,
        "theory_fixed": lambda k, n, tail: tail + 0.05 * k**2 * n**-0.5,
    }
    for name, formula in truth.items():
        table = reference.make_table(formula, **noisy)
        weights = akaike_weights([fit(law, table, "risk", draws=5) for law in laws])
        assert sum(weights.values()) == pytest.approx(1.0)
        if name == "theory_fixed":
            # The free law holds too and pays about 6 in AICc for two parameters, which chance can halve.
            assert weights["generic"] < 1e-3
        else:
            assert max(weights, key=weights.get) == name


def test_weights_refuse_what_cannot_be_compared(generic, theory_fixed, generator):
    table = reference.observed_table("regret", generator)
    one, other = fit(generic, table, "regret", draws=2), fit(theory_fixed, table, "regret", draws=2)
    assert akaike_weights([one, replace(other, status="failed")]) == {"generic": 1.0}
    with pytest.raises(ValueError, match="same cells"):
        akaike_weights([one, replace(other, cells=12)])
    with pytest.raises(ValueError, match="one fit per law"):
        akaike_weights([one, one])
    with pytest.raises(ValueError, match="at least one converged"):
        akaike_weights([replace(one, status="failed")])


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

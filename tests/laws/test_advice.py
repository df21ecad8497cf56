from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.laws.advice import advise, score
from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.corrected import Corrected
from jepa_scale.laws.fit import fit
from jepa_scale.laws.mixture import mix
from jepa_scale.records import Ask
from tests.reference import laws as reference

TAILS = {k: 3.0 * k**-1.5 for k in reference.WIDTHS}


def truth(k, n, tail):
    return float(np.sqrt(0.1 * tail + 2e-4 * k**1.5 * n**-0.6))


@pytest.fixture(scope="module")
def table():
    made = reference.make_table(
        truth, target="regret", tails=TAILS, noise=(0.002, 0.03), generator=np.random.default_rng(3)
    )
    return reference.with_column(made, "wall_seconds", 10.0 * (made["k"] / 8.0) ** 0.5)


@pytest.fixture
def families(generic, theory_free, theory_fixed):
    return generic, theory_free, theory_fixed


def test_a_measured_cell_answers_for_itself(table, families):
    above = advise(families, table, Ask(0.5, n=30000, k=16), draws=50).verdict
    assert (above.status, above.basis) == ("sufficient", "measured, 3 runs")
    below = advise(families, table, Ask(0.01, n=30000, k=16), draws=50).verdict
    assert below.status == "insufficient"
    assert below.low < truth(16, 30000, TAILS[16]) < below.high


def test_a_cell_between_and_beyond_is_forecast(table, families):
    for n, k in ((5000, 8), (60000, 16)):
        tail = 3.0 * k**-1.5
        for target, status in ((3 * truth(k, n, tail), "sufficient"), (truth(k, n, tail) / 3, "insufficient")):
            found = advise(families, table, Ask(min(target, 0.9), n=n, k=k), draws=80).verdict
            assert (found.basis, found.status) == ("forecast", status)
            assert found.low < truth(k, n, tail) < found.high


def test_beyond_what_was_checked_nothing_is_said(table, families):
    far = advise(families, table, Ask(0.1, n=10**9, k=16), draws=50)
    assert far.verdict.status == "cannot say"
    assert "forecasts were checked up to" in far.verdict.basis
    assert far.verdict.probability is None
    wide = advise(families, table, Ask(0.1, n=30000, k=10**6), draws=50)
    assert wide.verdict.status == "cannot say"


def test_the_cheapest_is_sufficient_in_truth_and_limits_add_up(table, families):
    target = 0.25
    found = advise(families, table, Ask(target), draws=80)
    assert found.cheapest is not None
    assert found.cheapest.status == "sufficient"
    # The truth between grid widths, by the power law behind the tails; the noise of one run is 3 %.
    assert truth(found.cheapest.k, found.cheapest.n, 3.0 * found.cheapest.k**-1.5) < target * 1.06
    assert sum(found.limits.values()) == pytest.approx(1.0)
    assert sum(found.laws.values()) == pytest.approx(1.0)
    assert found.tolerated_k[0] <= found.best_k[0] <= found.tolerated_k[1]
    best = min(range(2, 65), key=lambda k: truth(k, 30000, 3.0 * k**-1.5))
    assert found.best_k[1] <= best <= found.best_k[2]


def test_the_least_n_is_not_that_of_a_lucky_width(table, families):
    # At n = 300 and 1000 every cell is far above the target; a least over many noisy widths said 300.
    target = 0.15
    found = advise(families, table, Ask(target), draws=80)
    above = [n for n in reference.SAMPLES if min(truth(k, n, TAILS[k]) for k in reference.WIDTHS) > 1.3 * target]
    assert found.cheapest_n[1] > max(above, default=0)


def test_runs_that_failed_and_targets_of_chance_are_mentioned(table, families):
    status = np.where((table["n"] == 300) & (table["seed"] == 0), "diverged", table["status"])
    found = advise(families, reference.with_column(table, "status", status), Ask(0.2), draws=50)
    assert any("runs left out" in warning for warning in found.warnings)
    easy = advise(families, reference.with_column(table, "regret_random", np.full(len(table), 0.8)), Ask(0.9), draws=50)
    assert any("asks for nothing" in warning for warning in easy.warnings)


def test_a_budget_excludes_what_it_does_not_pay(table, families):
    # Hours grow with √k: 10 s at k = 8.
    free = advise(families, table, Ask(0.15), draws=50)
    poor = advise(families, table, Ask(0.15, budget_hours=10 / 3600), draws=50)
    assert all(run.hours <= 10 / 3600 * 1.001 for run in poor.next_runs)
    # A cell that was run has been paid.
    assert poor.cheapest is None or poor.cheapest.k <= 8 or poor.cheapest.basis.startswith("measured")
    assert free.next_runs
    assert all(0 < run.shrinkage <= 1 for run in free.next_runs)


def test_next_runs_narrow_a_forecast_more_and_more(table, families):
    found = advise(families, table, Ask(0.1, n=100_000, k=16), draws=100)
    shares = [run.shrinkage for run in found.next_runs]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 1.0


def test_advice_from_half_of_the_sizes_is_judged_by_the_rest(table, families):
    judged = score(families, table, 0.25, draws=50)
    assert [(one.n, one.k) for one, _ in judged] == [(n, k) for n in (10000, 30000) for k in reference.WIDTHS]
    for one, came in judged:
        if one.status in ("sufficient", "insufficient"):
            # Within the noise of a run of the target either word is right.
            assert (one.status == "sufficient") == (came <= 0.25) or abs(came - 0.25) < 0.02
    with pytest.raises(ValueError, match="at least four sizes"):
        score(families, table.where(table["n"] < 10000), 0.25)


def test_near_a_run_the_run_is_the_forecast(table, families):
    # generic cannot turn up again; corrected by its cells it agrees with them to their own error.
    cells = cells_from_table(table, "regret", np.inf)
    model = Corrected(families[0].on("regret"), fit(families[0], table, "regret", draws=30), False, cells)
    error = cells.sd / np.sqrt(3)
    plain = np.abs(super(Corrected, model).predicted(cells.columns) - cells.mean)
    close = np.abs(model.predicted(cells.columns) - cells.mean)
    assert plain.max() > 5 * np.median(error)
    # What is left at a cell is a share v/(τ² + v) of what the law missed, v the variance of its mean.
    assert np.median(close) < 0.5 * np.median(plain)
    assert close.max() < 0.5 * plain.max()
    far = {"k": np.array([16.0]), "n": np.array([1e40])}
    np.testing.assert_allclose(model.predicted(far), super(Corrected, model).predicted(far), atol=1e-6)


def test_what_cannot_be_advised_on_says_what_to_run(table, families):
    with pytest.raises(ValueError, match="run other values of n"):
        advise(families, table.where(table["n"] == 300), Ask(0.1))
    with pytest.raises(ValueError, match="expected values in \\[0, 1\\]"):
        mix(families, reference.with_column(table, "regret", table["regret"] - 0.5), "regret")
    saturated = reference.with_column(table, "regret_random", np.full(len(table), 0.01))
    with pytest.raises(ValueError, match="no law can be fitted"):
        advise(families, saturated, Ask(0.1))
    none = reference.with_column(table, "status", np.full(len(table), "diverged"))
    with pytest.raises(ValueError, match="no finished run has a regret"):
        advise(families, none, Ask(0.1))
    with pytest.raises(ValueError, match="target regret inside"):
        advise(families, table, replace(Ask(0.1), target_regret=1.5))

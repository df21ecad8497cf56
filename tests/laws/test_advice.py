from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.laws.advice import advise, score
from jepa_scale.laws.outlook import Outlook
from jepa_scale.records import Ask
from jepa_scale.report.advice import advice_lines
from jepa_scale.runs.instantiate import build_forecaster
from tests.reference import laws as reference

TAILS = {k: 3.0 * k**-1.5 for k in reference.WIDTHS}


def truth(k, n, tail):
    return float(np.sqrt(0.1 * tail + 2e-4 * k**1.5 * n**-0.6))


def made(function, noise=(0.002, 0.03), seed=3, **columns):
    table = reference.make_table(
        function, target="regret", tails=TAILS, noise=noise, generator=np.random.default_rng(seed)
    )
    for name, values in columns.items():
        table = reference.with_column(table, name, values)
    return table


@pytest.fixture(scope="module")
def table():
    runs = made(truth)
    return reference.with_column(runs, "wall_seconds", 10.0 * (runs["k"] / 8.0) ** 0.5)


@pytest.fixture(scope="module")
def stack():
    return build_forecaster("stack")


def test_a_measured_cell_answers_for_itself(table, stack):
    above = advise(stack, table, Ask(0.5, n=30000, k=16))
    assert (above.verdict.status, above.verdict.basis) == ("sufficient", "measured, 3 runs")
    # What is solved asks for no more runs, and nothing binds.
    assert not above.next_runs
    assert not above.limits
    below = advise(stack, table, Ask(0.01, n=30000, k=16)).verdict
    assert below.status == "insufficient"
    assert below.low < truth(16, 30000, TAILS[16]) < below.high


def test_a_cell_between_and_beyond_is_forecast(table, stack):
    for n, k in ((5000, 8), (60000, 16)):
        tail = 3.0 * k**-1.5
        for target, status in ((3 * truth(k, n, tail), "sufficient"), (truth(k, n, tail) / 3, "insufficient")):
            verdict = advise(stack, table, Ask(min(target, 0.9), n=n, k=k)).verdict
            assert (verdict.basis, verdict.status) == ("forecast", status)
            assert verdict.low < truth(k, n, tail) < verdict.high


def test_beyond_what_was_checked_nothing_is_said(table, stack):
    far = advise(stack, table, Ask(0.1, n=10**9, k=16))
    assert far.verdict.status == "cannot say"
    assert "forecasts were checked up to" in far.verdict.basis
    assert far.verdict.probability is None
    wide = advise(stack, table, Ask(0.1, n=30000, k=10**6))
    assert wide.verdict.status == "cannot say"


def test_the_cheapest_is_sufficient_in_truth_and_limits_add_up(table, stack):
    target = 0.25
    advice = advise(stack, table, Ask(target))
    assert advice.cheapest is not None
    assert advice.cheapest.status == "sufficient"
    # The truth between grid widths, by the power law behind the tails; the noise of one run is 3 %.
    assert truth(advice.cheapest.k, advice.cheapest.n, 3.0 * advice.cheapest.k**-1.5) < target * 1.06
    limits = advise(stack, table, Ask(0.05, n=3000, k=2)).limits
    assert sum(limits.values()) == pytest.approx(1.0)
    assert min(limits.values()) >= 0
    assert sum(advice.weights.values()) == pytest.approx(1.0)
    assert advice.tolerated_k[0] <= advice.best_k[0] <= advice.tolerated_k[1]


def test_the_best_width_is_found(table, stack):
    advice = advise(stack, table, Ask(0.25))
    best = min(reference.WIDTHS, key=lambda k: truth(k, 30000, TAILS[k]))
    assert advice.best_k[1] <= best <= advice.best_k[2]


@pytest.mark.parametrize("target", [0.03, 0.1, 0.15, 0.25, 0.5])
def test_no_line_contradicts_another(table, stack, target):
    advice = advise(stack, table, Ask(target))
    median, low, high = advice.cheapest_n
    assert low <= median <= high
    # One rule: the last end is the least data that suffices, or neither exists.
    assert high == (advice.cheapest.n if advice.cheapest else np.inf)
    if advice.verdict.status == "sufficient":
        assert advice.cheapest.n <= advice.verdict.n
    widths = {*np.unique(table["k"]).tolist()}
    assert advice.best_k[0] in widths
    assert advice.cheapest is None or advice.cheapest.k in widths


def test_zero_regret_at_smaller_n_answers_for_larger(stack):
    solved = made(lambda k, n, tail: 0.0 if n >= 3000 and k >= 8 else 0.3, noise=(0.0, 0.03))
    verdict = advise(stack, solved, Ask(0.02, n=100_000, k=16)).verdict
    assert verdict.status == "sufficient"
    assert verdict.basis == "forecast"
    # A cell that its own runs have settled asks for nothing, though less data is forecast to suffice.
    settled = advise(stack, solved, Ask(0.02, n=30000, k=16))
    assert settled.verdict.basis.startswith("measured")
    assert settled.cheapest.n < 30000
    assert settled.next_runs == ()


def test_a_best_width_at_the_edge_is_told(stack):
    falling = made(lambda k, n, tail: 0.9 * k**-0.4 * (n / 300) ** -0.1)
    assert any(one.code == "edge_of_widths" for one in advise(stack, falling, Ask(0.1)).warnings)
    # The widest is better by less than one run scatters.
    level = made(lambda k, n, tail: 0.3 * n**-0.1 * k**-0.05, noise=(1e-4, 1e-4))
    level = reference.with_column(level, "regret", level["regret"] + 0.02 * (-1.0) ** level["seed"])
    assert advise(stack, level, Ask(0.1)).best_k[0] == max(reference.WIDTHS)
    assert not any(one.code == "edge_of_widths" for one in advise(stack, level, Ask(0.1)).warnings)


def test_a_study_that_learned_nothing_is_called_untrained(stack):
    level = made(lambda k, n, tail: 0.44, noise=(0.01, 0.0), regret_random=np.full(90, 0.44))
    advice = advise(stack, level, Ask(0.05))
    assert advice.verdict.status == "insufficient"
    assert advice.warnings[0].code == "untrained"
    trained = made(lambda k, n, tail: 0.44 if n < 10_000 else 0.2, noise=(0.01, 0.0), regret_random=np.full(90, 0.44))
    assert "untrained" not in {one.code for one in advise(stack, trained, Ask(0.05)).warnings}


def test_runs_that_failed_and_targets_of_chance_are_mentioned(table, stack):
    status = np.where((table["n"] == 300) & (table["seed"] == 0), "diverged", table["status"])
    advice = advise(stack, reference.with_column(table, "status", status), Ask(0.2))
    assert any(one.code == "runs_left_out" for one in advice.warnings)
    easy = advise(stack, reference.with_column(table, "regret_random", np.full(len(table), 0.8)), Ask(0.9))
    assert any(one.code == "target_above_random" for one in easy.warnings)


def test_a_budget_excludes_what_it_does_not_pay(table, stack):
    # Hours grow with √k: 10 s at k = 8.
    free = advise(stack, table, Ask(0.15, n=100_000, k=16))
    poor = advise(stack, table, Ask(0.15, n=100_000, k=16, budget_hours=10 / 3600))
    assert all(run.hours <= 10 / 3600 * 1.001 for run in poor.next_runs)
    # A cell that was run has been paid.
    assert poor.cheapest is None or poor.cheapest.k <= 8 or poor.cheapest.basis.startswith("measured")
    assert free.next_runs
    assert all(0 < run.shrinkage <= 1 for run in free.next_runs)


def test_next_runs_narrow_a_forecast_more_and_more(table, stack):
    advice = advise(stack, table, Ask(0.1, n=100_000, k=16))
    shares = [run.shrinkage for run in advice.next_runs]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 1.0


def test_seeds_of_one_cell_are_one_line(table, stack):
    runs = advise(stack, table, Ask(0.1, n=100_000, k=16)).next_runs
    assert len({(run.n, run.k) for run in runs}) == len(runs)
    assert sum(run.seeds for run in runs) == 3


def test_what_twice_the_data_would_change(stack):
    falling = made(lambda k, n, tail: 0.6 * (n / 300) ** -0.5)
    advice = advise(stack, falling, Ask(0.05, n=30000, k=8))
    for more, factor in zip(advice.more_data, (2, 10), strict=True):
        assert more.factor == pytest.approx(factor)
        assert more.low < factor**-0.5 - 1 < more.high < 0
        assert more.low < more.change < more.high
        assert more.helps > 0.95
    assert any("with twice the data, n = 60\u202f000, by" in line for line in advice_lines(advice))
    # Nothing is left to gain where a tenth of the target is reached, and nothing is said far beyond the runs.
    assert advise(stack, falling, Ask(0.9, n=30000, k=8)).more_data == ()
    assert advise(stack, falling, Ask(0.05, n=10**9, k=8)).more_data == ()


@pytest.mark.parametrize("n", [3000, 30000, 200_000])
def test_more_data_never_helps_less(n, stack):
    """Where regret goes up and down with n, draws do too: what is said of it agrees all the same."""
    wavy = made(lambda k, n, tail: 0.3 + 0.05 * np.cos(2 * np.log(n)), noise=(0.02, 0.05))
    advice = advise(stack, wavy, Ask(0.05, n=n, k=8))
    twice, most = advice.more_data
    assert most.factor == pytest.approx(min(10, 30000 * 10 ** advice.checked[0] / n))
    assert most.factor < 10 or n < 200_000
    assert 0 < twice.helps <= most.helps
    assert most.change <= twice.change
    assert advice.limits["samples"] == pytest.approx(max(-most.change, 0.0))
    assert sum(advice.limits.values()) == pytest.approx(1.0)
    assert min(advice.limits.values()) >= 0


def test_what_does_not_suffice_is_sent_to_the_least_data_that_does(stack):
    # 0.6, 0.33, 0.19, 0.1 and 0.06 at the five sizes.
    falling = made(lambda k, n, tail: 0.6 * (n / 300) ** -0.5)
    advice = advise(stack, falling, Ask(0.05, n=30000, k=8))
    assert advice.verdict.status == "insufficient"
    assert advice.cheapest is not None
    (run,) = advice.next_runs
    assert (run.n, run.k, run.shrinkage) == (advice.cheapest.n, advice.cheapest.k, None)
    assert any(f"k = {run.k} (the least data that is forecast to suffice" in line for line in advice_lines(advice))


def test_advice_from_half_of_the_sizes_is_judged_by_the_rest(table, stack):
    judged = score(stack, table, 0.25)
    assert [(one.n, one.k) for one, _ in judged] == [(n, k) for n in (10000, 30000) for k in reference.WIDTHS]
    for one, came in judged:
        if one.status in ("sufficient", "insufficient"):
            # Within the noise of a run of the target either word is right.
            assert (one.status == "sufficient") == (came <= 0.25) or abs(came - 0.25) < 0.02
    with pytest.raises(ValueError, match="at least four sizes"):
        score(stack, table.where(table["n"] < 10000), 0.25)


def test_any_forecaster_can_be_asked(table):
    advice = advise(build_forecaster("no_change"), table, Ask(0.1, n=30000, k=16))
    assert advice.weights == {}
    # Nobody has checked it at any distance.
    assert advise(build_forecaster("no_change"), table, Ask(0.1, n=10**5, k=16)).verdict.status == "cannot say"


def test_one_size_is_enough_to_judge_its_own_cells(table, stack):
    advice = advise(stack, table.where(table["n"] == 300), Ask(0.1))
    assert advice.verdict.basis == "measured, 3 runs"
    assert any(one.code == "few_sizes" for one in advice.warnings)


def test_what_cannot_be_advised_on_says_what_to_run(table, stack):
    with pytest.raises(ValueError, match="expected values in \\[0, 1\\]"):
        Outlook.of(stack, reference.with_column(table, "regret", table["regret"] - 0.5))
    none = reference.with_column(table, "status", np.full(len(table), "diverged"))
    with pytest.raises(ValueError, match="no finished run has a regret"):
        advise(stack, none, Ask(0.1))
    with pytest.raises(ValueError, match="target regret inside"):
        advise(stack, table, replace(Ask(0.1), target_regret=1.5))


def test_a_single_run_answers_for_its_cell(stack):
    table = made(truth)
    alone = table.where(table["seed"] == table["seed"].min())
    verdict = advise(stack, alone, Ask(0.5, n=30000, k=16)).verdict
    assert (verdict.status, verdict.basis) == ("sufficient", "measured, 1 run")
    assert verdict.predicted == alone.where((alone["n"] == 30000) & (alone["k"] == 16))["regret"][0]
    # The width of the lowest mean measured is asked about, of single runs too.
    lowest = alone.where(alone["n"] == 30000)
    assert advise(stack, alone, Ask(0.5)).ask.k == lowest["k"][lowest["regret"].argmin()]


def test_what_binds_names_the_side_that_was_not_tried(stack):
    falling = made(lambda k, n, tail: 0.9 * k**-0.5, noise=(0.001, 0.01))
    (line,) = [line for line in advice_lines(advise(stack, falling, Ask(0.02))) if line.startswith("What binds")]
    assert line.endswith("; a wider latent was not tried.")


def test_no_percentage_of_nothing_is_told(stack):
    solved = made(lambda k, n, tail: 0.0 if k >= 8 else 0.3, noise=(0.0, 0.03))
    assert advise(stack, solved, Ask(0.02, n=30000, k=16)).more_data == ()


def test_runs_that_learnt_late_are_told_and_doubted(table, stack):
    """With the same steps more data are learnt from later: what was late at the largest n may be too late beyond."""
    question = Ask(0.2, n=100_000, k=16)
    floor = table["regret_random"].astype(float)
    learnt = floor - table["regret"].astype(float)
    early, late = (
        advise(stack, reference.with_column(table, "regret_halfway", table["regret"] + share * learnt), question)
        for share in (0.0, 0.95)
    )
    assert [one.code for one in early.warnings if one.code == "learns_late"] == []
    (caution,) = (one for one in late.warnings if one.code == "learns_late")
    assert caution.values["share"] == pytest.approx(0.95)
    assert (early.verdict.status, late.verdict.status) == ("sufficient", "undecided")
    assert late.verdict.predicted > early.verdict.predicted

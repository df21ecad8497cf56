"""A study whose steps were the limit is called so before anything is said of n and k."""

from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.report.conclusions import budget, conclusions
from jepa_scale.report.conclusions.answer import answer
from jepa_scale.report.html import write_report
from tests.report.planted import REGRET, SIZES, WIDTHS, study_result

OUT_OF_REACH = {n: tuple(max(value, 0.1) for value in row) for n, row in REGRET.items()}


def logged(risks, error=0.01):
    return [
        {"name": "spectrum/risk", "value": value, "standard_error": error, "epoch": epoch, "flag": ""}
        for epoch, value in enumerate(risks)
    ]


def trained(late, regret=REGRET, widths=WIDTHS, seeds=(0, 1, 2), scatter=0.0, n=30000):
    """A study in which a share ``late`` of the fall of the risk from 10 to 2 is of the last quarter of 9 epochs."""
    result = study_result(regret)
    histories = {}
    for identity, record in result.records.items():
        if record.dials["n"] == n and record.dials["k"] in widths and record.dials["seed"] in seeds:
            early, end = np.linspace(10, 2 + 8 * late, 7), 2 + scatter * (record.dials["seed"] - 1)
            histories[identity] = logged([*early, 2 + 4 * late, end])
    return replace(result, histories=histories)


def test_a_risk_that_still_falls_is_measured_in_its_own_fall():
    falls = budget.late_falls(trained(0.25))
    assert [fall.k for fall in falls] == list(WIDTHS)
    for fall in falls:
        assert fall.value == pytest.approx(2.0)
        assert fall.share == pytest.approx(0.25)
        assert fall.seeds == 3
        assert fall.goes_on


@pytest.mark.parametrize(("late", "scatter"), [(0.0, 0.0), (0.05, 0.0), (0.12, 3.0)])
def test_the_end_of_a_decaying_rate_or_noise_is_no_limit(late, scatter):
    assert budget.conclude(trained(late, scatter=scatter)) == []


def test_a_minority_of_widths_is_no_limit_of_the_study():
    some = trained(0.25, widths=WIDTHS[:2])
    rest = trained(0.0, widths=WIDTHS[2:])
    assert budget.conclude(replace(some, histories={**some.histories, **rest.histories})) == []
    (one,) = budget.conclude(some)
    assert "k = 1 and 4 (2 of 2 widths)" in one.text


def test_other_sizes_and_short_histories_say_nothing():
    assert budget.conclude(trained(0.25, n=SIZES[0])) == []
    short = {identity: rows[-3:] for identity, rows in trained(0.25).histories.items()}
    assert budget.conclude(replace(trained(0.25), histories=short)) == []
    assert budget.conclude(replace(trained(0.25), histories={})) == []


def test_one_seed_has_the_error_of_its_estimates():
    (fall, *_) = budget.late_falls(trained(0.25, seeds=(0,)))
    assert fall.standard_error == pytest.approx(0.01 * 2**0.5)


def test_the_limit_leads_where_the_target_is_not_reached():
    first, second, *_ = answer(trained(0.25, OUT_OF_REACH))
    assert first.startswith("Budget-bound: at n = 30\u202f000")
    assert "25 % of its whole fall" in first
    assert second.startswith("Not enough")
    first, second, *_ = answer(trained(0.25))
    assert first.startswith("Enough"), "what was reached stays reached"
    assert second.startswith("Budget-bound")
    assert not any("Budget-bound" in line for line in answer(trained(0.0)))


def test_an_untrained_study_is_called_so_first():
    lost = {n: (0.44,) * len(WIDTHS) for n in SIZES}
    first, second, *_ = answer(trained(0.25, lost))
    assert first.startswith(("Untrained", "Barely trained"))
    assert second.startswith("Budget-bound")


def test_the_page_says_it_above_the_figure_and_in_its_section(tmp_path):
    page = write_report(trained(0.25, OUT_OF_REACH), tmp_path).read_text()
    assert page.index("Budget-bound") < page.index("<figure")
    assert page.count("Budget-bound") >= 2
    assert "Budget" not in conclusions(trained(0.0))

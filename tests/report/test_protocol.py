"""What a report says of how success was measured."""

from dataclasses import replace

import numpy as np

from jepa_scale.records import SAMPLED, RunTable
from jepa_scale.report.conclusions.success import conclude
from jepa_scale.report.parts.arms import _cell
from jepa_scale.report.parts.protocol import interval_of, rate, sentence, sentence_of
from jepa_scale.report.summary import Mean
from tests.report.planted import study_result

PROTOCOL = {
    "kind": "tasks", "success": "any_time", "stop_at_goal": False, "keep_solved": False, "tolerance": 0.08,
    "goal_law": "goals somewhere", "goal_noise": 0.4, "required_steps": [1, 5], "budget_rule": "2 T + 5",
    "episodes": 50, "removed": {"1": 50, "5": 0},
}  # fmt: skip


def test_the_sentence_names_all_that_a_rate_depends_on():
    said = sentence(PROTOCOL)
    for part in (
        "the goal is reached at any step of the budget, 2 T + 5 steps where T are required, T = 1 and 5, within 0.08",
        "run on to the budget", "50 tasks for each T: goals somewhere", "noise of deviation 0.4",
        "50 of 100 tasks removed because they start at their goal",
    ):  # fmt: skip
        assert part in said
    assert "the last step of the budget ends at the goal" in sentence({**PROTOCOL, "success": "final"})
    assert "end at their goal" in sentence({**PROTOCOL, "stop_at_goal": True})
    assert "are kept" in sentence({**PROTOCOL, "keep_solved": True})
    assert sentence({"kind": "none"}) == sentence({}) == ""


def test_rates_carry_intervals_and_missing_ones_are_dashes():
    assert rate(1.0, 20) == "1.00 [0.84, 1.00]"
    assert rate(0.0, 20) == "0.00 [0.00, 0.16]"
    assert rate(None, 20) == rate(float("nan"), 20) == "–"
    assert interval_of(0.5, None) == ""


def sampled(protocols):
    """The planted study as one of sampled tasks, its runs with these protocols in turn."""
    result = study_result()
    columns = dict(result.table.columns)
    count = len(result.table)
    lost = columns["status"] != "finished"
    columns |= {"success": np.where(lost, np.nan, 0.62), "success_oracle": np.ones(count)}
    columns |= {"success_random": np.full(count, 0.2), "success_do_nothing": np.zeros(count)}
    records = {
        name: replace(
            record,
            protocol=protocols[place % len(protocols)],
            final_n={f"success/{policy}": 50 for policy in ("model", "oracle", "random", "do_nothing")},
        )
        for place, (name, record) in enumerate(result.records.items())
    }
    return replace(result, table=RunTable(columns), records=records, goal_law=SAMPLED)


def test_the_conclusion_shows_floors_and_intervals_and_the_protocol():
    first, second, *_ = conclude(sampled([PROTOCOL]))
    for part in (
        "a success of 0.62 in all 3 seeds", "[0.48, 0.74]", "oracle solves 1.00 [0.93, 1.00]",
        "random actions 0.20 [0.11, 0.33]",
        "doing nothing 0.00 [0.00, 0.07]", "over 50 tasks",
    ):  # fmt: skip
        assert part in first.text
    assert second.text == sentence(PROTOCOL)


def test_runs_that_differ_in_protocol_are_told_apart():
    other = {**PROTOCOL, "goal_noise": 0.0}
    records = list(sampled([PROTOCOL, other]).records.values())
    assert "Runs differ in goal noise" in sentence_of(records)
    assert sentence_of(list(study_result().records.values())) == ""


def test_a_cell_of_an_arm_has_its_interval_over_tasks():
    result = sampled([PROTOCOL])
    assert _cell(result, "success", Mean(0.5, 0.1, 2)) == "0.50 ± 0.10 [0.37, 0.63]"
    assert _cell(result, "success_oracle", Mean(1.0, 0.0, 2)) == "1 [0.93, 1.00]"
    assert _cell(result, "regret", Mean(0.5, 0.1, 2)) == "0.50 ± 0.10"
    assert _cell(result, "success", None) == "–"

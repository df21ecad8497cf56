"""The budget rule: steps by n, resolved before anything runs."""

import json
import math

import pytest
import yaml

from jepa_scale.runs.errors import UserError
from jepa_scale.studies.collect import collect
from jepa_scale.studies.design import design, pilots
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.specification.budget import (
    BudgetRule,
    choose,
    describe,
    steps_of,
    steps_of_passes,
    trainer_values,
)
from jepa_scale.studies.specification.spec import parse_spec
from jepa_scale.studies.sweep import _same_runs
from jepa_scale.studies.worker import work
from tests.study.test_tuning import GOOD

EPOCHS = {"rule": "fixed_epochs", "passes": 2, "most_steps": 15}
TUNED = {"rule": "tuned", "steps": [5, 10], "seeds": [100], "widths": [2]}
FREE = [item for item in GOOD["overrides"] if "steps_per_epoch" not in item]
"""Overrides that leave the steps to the budget."""


def spec(budget, **change):
    return parse_spec(GOOD | {"budget": budget} | change, "file.yaml")


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("fixed", r"budget: expected a mapping with rule: fixed_steps \| fixed_epochs \| tuned, got 'fixed'"),
        ({"rule": "fixed"}, r"budget: expected a mapping with rule: .*, got {'rule': 'fixed'}"),
        ({"rule": "fixed_steps", "passes": 3}, r"unknown key 'budget\.passes'"),
        ({"rule": "fixed_epochs", "passes": 3}, r"budget: the field 'most_steps' is missing"),
        ({"rule": "fixed_epochs", "passes": 0, "most_steps": 9}, r"budget\.passes: expected a number above 0, got 0"),
        ({"rule": "fixed_epochs", "passes": 1, "most_steps": 1.5}, r"budget\.most_steps: expected a whole number"),
        (TUNED | {"steps": [5]}, r"budget\.steps: expected at least 2 numbers"),
        (TUNED | {"seeds": [0]}, r"budget\.seeds: expected seeds that are not among the study's, got \[0\]"),
        (TUNED | {"widths": [3]}, r"budget\.widths: expected widths of dials\.model\.k"),
    ],
)
def test_mistakes_are_named(budget, message):
    with pytest.raises(UserError, match=message):
        spec(budget)


def test_passes_become_steps():
    assert [steps_of_passes(n, 256, 4, 1000) for n in (256, 300, 64000, 10**6)] == [4, 5, 1000, 1000]


@pytest.mark.parametrize(("steps", "expected"), [(1000, (4, 250)), (1001, (4, 251)), (3, (3, 1))])
def test_steps_become_epochs(steps, expected):
    assert tuple(trainer_values(steps, 4).values()) == expected


def test_without_a_rule_runs_are_what_they_were():
    one, other = design(parse_spec(GOOD, "file.yaml")), design(spec({"rule": "fixed_steps"}))
    assert [point.run_id for point in one] == [point.run_id for point in other]
    assert {steps_of(point.config) for point in one} == {5}


def test_fixed_epochs_is_in_every_configuration():
    points = design(spec(EPOCHS, overrides=FREE))
    assert {(point.n, steps_of(point.config)) for point in points} == {(300, 10), (600, 15)}
    budget = describe(BudgetRule("fixed_epochs", 2.0, 15), {300: 10, 600: 15})
    assert budget.sentence == "fixed_epochs: 2 passes over the data at every n, at most 15 steps: 10 to 15 steps."


def test_a_rule_and_an_override_cannot_both_set_the_steps():
    with pytest.raises(UserError, match=r"sets trainer\.steps_per_epoch by n; drop the override"):
        design(spec(EPOCHS))


def test_the_least_mean_score_is_chosen_and_lost_runs_are_not():
    rule = BudgetRule("tuned", steps=(5, 10, 20), seeds=(7, 8), widths=(2,))
    scores = {
        (300, 5): [2.0, 2.0], (300, 10): [1.0, 2.0], (300, 20): [0.1, math.nan],
        (600, 5): [3.0, 3.0], (600, 10): [3.0, 3.0], (600, 20): [4.0, 3.0],
    }  # fmt: skip
    assert choose(rule, (300, 600), scores) == {300: 10, 600: 5}
    with pytest.raises(UserError, match="at n=300 every step count"):
        choose(rule, (300,), {key: [math.nan] for key in scores})


def test_another_budget_is_another_study():
    one, other = spec({"rule": "fixed_steps"}), spec(TUNED)
    assert not _same_runs(one, other)
    assert _same_runs(other, parse_spec(yaml.safe_load(yaml.safe_dump(other.to_dict())), "again"))


def test_a_tuned_budget_is_decided_by_its_own_runs(tmp_path):
    study = spec(TUNED, overrides=FREE)
    with pytest.raises(UserError, match=r"the budget is tuned by runs of its own .* has no record"):
        design(study, tmp_path)
    first = pilots(study)
    assert {(point.n, point.k, point.seed, steps_of(point.config)) for point in first} == {
        (n, 2, 100, steps) for n in (300, 600) for steps in (5, 10)
    }
    queue = Queue(tmp_path, study.name)
    queue.plan(first, {})
    work(tmp_path, queue, {point.run_id: point for point in first}, "me")
    points = design(study, tmp_path)
    chosen = {point.n: steps_of(point.config) for point in points}
    scores = {
        (point.n, steps_of(point.config)): point.folder(tmp_path).read_record().final["spectrum/risk"]
        for point in first
    }
    assert chosen == {n: min((5, 10), key=lambda steps: scores[n, steps]) for n in (300, 600)}
    assert len(points) == 12
    result = collect(study, points, tmp_path, tmp_path)
    assert result.budget.steps == chosen
    assert json.loads((tmp_path / "budget.json").read_text())["steps"] == {str(n): steps for n, steps in chosen.items()}
    assert len(result.table) == 0, "what decided the budget is no cell"

"""The tuning check in a study file, in the design, in the queue and in what is collected."""

import json

import pytest
import yaml

from jepa_scale.runs.errors import UserError
from jepa_scale.studies.collect import collect
from jepa_scale.studies.design import design
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.specification.spec import parse_spec
from jepa_scale.studies.worker import work

GOOD = {
    "name": "small",
    "question": "?",
    "dials": {"data.n": [300, 600], "model.k": [2, 4, 8]},
    "seeds": [0, 1],
    "overrides": [
        "logger=none", "trainer.epochs=1", "trainer.steps_per_epoch=5", "data.heldout=640", "data.test=640",
        "data.batch_size=64", "model.hidden=16", "data.length=20",
    ],
    "bootstrap_draws": 20,
}  # fmt: skip
CHECK = {"optimizer.lr": [0.00175, 0.0035], "n": 600, "seeds": [100], "widths": [2, 8]}


def spec(**check):
    return parse_spec(GOOD | {"tuning": CHECK | check}, "file.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 100]}, r"tuning\.seeds: expected seeds that are not among the study's, got \[1\] in both"),
        ({"n": 1000}, r"tuning\.n: expected one of dials\.data\.n \[300, 600\], got 1000"),
        ({"widths": [2, 4]}, r"tuning\.widths: expected widths of dials\.model\.k with its ends \[2, 8\]"),
        ({"widths": [2, 5, 8]}, r"tuning\.widths: expected widths of dials\.model\.k"),
        ({"seeds": []}, r"tuning\.seeds: expected a list"),
        ({"optimizer.lr": [0.0035]}, r"tuning\.optimizer\.lr: expected at least two different numbers above 0"),
        ({"optimizer.lr": [0.0035, "fast"]}, r"tuning\.optimizer\.lr: expected at least two"),
        ({"optimizer.lr": [0.0035, -1]}, r"tuning\.optimizer\.lr: expected at least two"),
        ({"optimizer.weight_decay": [0.1]}, r"tuning: expected one list of values"),
        ({"seed": [3]}, r"unknown key 'tuning\.seed': did you mean 'tuning\.seeds'"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(UserError, match=message):
        spec(**change)


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ([1], r"tuning: expected a mapping"),
        ({"optimizer.lr": [0.1, 0.2]}, r"'n' is missing; .*'seeds' is missing"),
    ],
)
def test_what_is_no_check(tuning, message):
    with pytest.raises(UserError, match=message):
        parse_spec(GOOD | {"tuning": tuning}, "file.yaml")


def test_the_shared_rate_must_be_among_those_tried():
    with pytest.raises(UserError, match=r"expected the study's own optimizer\.lr=0\.0035 among the values"):
        design(spec(**{"optimizer.lr": [0.001, 0.002]}))
    with pytest.raises(UserError, match=r"did you mean 'optimizer\.lr'"):
        design(parse_spec(GOOD | {"tuning": {"optimizer.lrr": [0.1, 0.2], "n": 600, "seeds": [9]}}, "file.yaml"))


def test_runs_of_the_check_are_marked_and_come_last():
    points = design(spec())
    assert [point.purpose for point in points] == ["cell"] * 12 + ["tuning"] * 4
    assert {(point.k, point.seed, point.config["optimizer"]["lr"]) for point in points[12:]} == {
        (k, 100, rate) for k in (2, 8) for rate in (0.00175, 0.0035)
    }
    assert str(points[-1]) == "tuning: n=600, k=2, seed=100, optimizer.lr=0.0035"
    assert len({point.run_id for point in points}) == 16


def test_without_widths_all_are_checked():
    check = {name: value for name, value in CHECK.items() if name != "widths"}
    assert parse_spec(GOOD | {"tuning": check}, "file.yaml").tuning.widths == (2, 4, 8)


def test_a_study_with_a_check_survives_its_own_file():
    again = parse_spec(yaml.safe_load(yaml.safe_dump(spec().to_dict())), "again")
    assert again == spec()


def test_the_check_enters_neither_table_nor_laws(tmp_path):
    study, plain = spec(), parse_spec(GOOD, "file.yaml")
    points = design(study)
    queue = Queue(tmp_path, study.name)
    queue.plan(points, {})
    work(tmp_path, queue, {point.run_id: point for point in points}, "me")
    marked = [trial for trial in queue.trials() if trial.user_attrs.get("purpose") == "tuning"]
    assert (
        sorted(trial.user_attrs["label"] for trial in marked)
        == ["optimizer.lr=0.00175"] * 2 + ["optimizer.lr=0.0035"] * 2
    )

    result = collect(study, points, tmp_path, tmp_path)
    assert len(result.table) == 12
    assert 100 not in result.table["seed"]
    assert {(run.k, run.rate, run.seed) for run in result.tuning.runs} == {
        (k, rate, 100) for k in (2, 8) for rate in (0.00175, 0.0035)
    }
    assert result.tuning.shared == 0.0035
    with_check = (tmp_path / "fit.json").read_text()
    written = json.loads((tmp_path / "tuning.json").read_text())
    assert [loss["k"] for loss in written["losses"]["regret"]] == [2, 8]
    assert written["losses"]["regret"][0]["standard_error"] is None, (
        "one seed has no standard error, and NaN is no JSON"
    )

    # The same runs without the check: the same laws, and no file that speaks of a check.
    assert collect(plain, design(plain), tmp_path, tmp_path).tuning is None
    assert (tmp_path / "fit.json").read_text() == with_check
    assert not (tmp_path / "tuning.json").exists()

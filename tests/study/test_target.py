"""The value of a trial is the study's target, and its learning curve that of the target."""

import json

import pytest
from optuna.study import StudyDirection

from jepa_scale.records.quantities import Target, read_target
from jepa_scale.runs.folder import RunFolder, header
from jepa_scale.studies.queue import storage, target
from jepa_scale.studies.queue.storage import Queue
from tests.study.test_queue import point, record, states


def final(run_id, status="finished", **estimates):
    from dataclasses import replace

    named = {name.replace("__", "/"): value for name, value in estimates.items()}
    return replace(record(run_id, status=status), final={"regret/density": 0.25, **named})


def written(folder, run_id, name, values):
    """A run's metrics file with an estimate after every epoch."""
    place = folder / "runs" / run_id
    place.mkdir(parents=True)
    rows = [
        {"name": name, "value": value, "standard_error": None, "n": 1, "epoch": epoch, "step": 10 * epoch, "flag": ""}
        for epoch, value in enumerate(values, start=1)
    ]
    (place / "metrics.jsonl").write_text(header(run_id) + "\n" + "".join(f"{json.dumps([row])}\n" for row in rows))


def done(queue, result):
    queue.plan([point(0)], {})
    queue.finish(queue.claim("me").trial_id, result)
    (trial,) = Queue(queue.folder, "study").trials()
    return trial


@pytest.mark.parametrize(
    ("written_target", "estimates", "direction", "value"),
    [
        ("regret", {}, "MINIMIZE", 0.25),
        ("success", {"success__model": 0.6}, "MAXIMIZE", 0.6),
        ("risk", {"exact__risk": 1.5}, "MINIMIZE", 1.5),
        ({"quantity": "prediction/horizon_5", "better": "lower"}, {"prediction__horizon_5": 0.4}, "MINIMIZE", 0.4),
    ],
)
def test_the_value_is_the_target_and_the_direction_its_better_end(
    written_target, estimates, direction, value, tmp_path
):
    queue = Queue(tmp_path, "study", target=read_target(written_target))
    trial = done(queue, final("run-000", **estimates))
    assert trial.value == value
    assert queue.study.direction == StudyDirection[direction]
    again = Queue(tmp_path, "study")
    assert again.target == read_target(written_target)


def test_a_finished_run_without_its_target_has_no_value_and_says_so(tmp_path):
    trial = done(Queue(tmp_path, "study", target=Target("success", "higher")), final("run-000"))
    assert trial.state.name == "FAIL"
    assert trial.user_attrs["reason"] == "the study's target is not among its estimates"


def test_a_study_that_was_begun_keeps_its_target(tmp_path):
    Queue(tmp_path, "study")
    changed = Queue(tmp_path, "study", target=Target("success", "higher"))
    assert changed.target == Target()
    assert done(changed, final("run-000", success__model=0.6)).value == 0.25


def test_a_run_reports_the_target_after_every_epoch(tmp_path):
    queue = Queue(tmp_path, "study", target=Target("success", "higher"))
    written(tmp_path, "run-000", "success/model", [0.1, 0.4, None, 0.6])
    trial = done(queue, final("run-000", success__model=0.6))
    assert trial.intermediate_values == {10: 0.1, 20: 0.4, 40: 0.6}


def test_a_diverged_run_shows_how_far_it_came(tmp_path):
    written(tmp_path, "run-000", "regret/density", [0.4, 0.3])
    trial = done(Queue(tmp_path, "study"), final("run-000", status="diverged"))
    assert (trial.state.name, trial.intermediate_values) == ("FAIL", {10: 0.4, 20: 0.3})


def test_runs_found_on_disk_have_curves_too(tmp_path):
    written(tmp_path, "run-000", "regret/density", [0.4, 0.3, 0.25])
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {"run-000": record("run-000")})
    (trial,) = queue.trials()
    assert trial.intermediate_values == {10: 0.4, 20: 0.3, 30: 0.25}


def test_the_points_of_all_curves_are_limited_so_that_a_journal_stays_readable(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "MOST_POINTS", 6)
    queue = Queue(tmp_path, "study")
    queue.plan([point(0), point(1)], {})
    for run in ("run-000", "run-001"):
        written(tmp_path, run, "regret/density", [0.9, 0.8, 0.7, 0.6, 0.25])
        queue.finish(queue.claim("me").trial_id, record(run))
    assert [trial.intermediate_values for trial in queue.trials()] == [{10: 0.9, 30: 0.7, 50: 0.25}] * 2
    # Where not even two points are left to each, there are none.
    queue.plan([point(place) for place in range(5)], {name: record(name) for name in ("run-000", "run-001")})
    written(tmp_path, "run-002", "regret/density", [0.9, 0.8])
    lines = (tmp_path / "journal.log").read_text().count("\n")
    claim = queue.claim("me")
    taken = (tmp_path / "journal.log").read_text().count("\n")
    queue.finish(claim.trial_id, record("run-002"))
    assert (tmp_path / "journal.log").read_text().count("\n") - taken == 2
    assert taken > lines
    assert states(queue)[:3] == ["COMPLETE"] * 3


def test_metrics_of_another_run_are_no_curve_and_no_obstacle(tmp_path):
    written(tmp_path, "run-000", "regret/density", [0.4, 0.3])
    path = tmp_path / "runs" / "run-000" / "metrics.jsonl"
    path.write_text(path.read_text().replace("run-000", "run-777"))
    RunFolder(tmp_path / "runs" / "run-000", "run-000")
    trial = done(Queue(tmp_path, "study"), record("run-000"))
    assert trial.value == 0.25


def test_a_curve_is_thinned_evenly_and_keeps_its_ends():
    rows = [{"name": "x", "step": step, "value": float(step)} for step in range(1, 101)]
    curve = target.curve_of(rows, "x", 5)
    assert list(curve) == [1, 26, 50, 75, 100] or list(curve) == [1, 26, 51, 75, 100]
    assert target.curve_of(rows[:1], "x", 5) == {}
    assert target.curve_of(rows, "y", 5) == {}

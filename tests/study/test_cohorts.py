"""A study's workers form cohorts: which runs, how many, and what happens to those that do not fit."""

import json

import pytest
from rich.console import Console

from jepa_scale.runs.cohort import Outcome
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.identity import run_id
from jepa_scale.runs.run import run
from jepa_scale.studies.cohorts import Cohorts, cohort_size, kind_of, why_alone
from jepa_scale.studies.design import DesignPoint, design
from jepa_scale.studies.launching.launcher import take_launcher
from jepa_scale.studies.launching.local import LocalLauncher
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.specification.spec import parse_spec
from jepa_scale.studies.sweep import run_study
from jepa_scale.studies.worker import work
from jepa_scale.training.cohort.stack import NotStackable, Stack
from tests.study.test_queue import record, states

TINY = [
    "logger=none", "trainer.epochs=1", "trainer.steps_per_epoch=6", "data.heldout=640", "data.test=640",
    "data.batch_size=32", "model.hidden=16",
]  # fmt: skip
STUDY = {
    "name": "small",
    "question": "Do they train together?",
    "dials": {"data.n": [100, 200], "model.k": [2]},
    "seeds": [0, 1],
    "laws": ["generic"],
    "bootstrap_draws": 20,
    "overrides": TINY,
}


def kind(*overrides):
    return kind_of(compose([*TINY, *overrides]))


@pytest.mark.parametrize(
    "overrides",
    [["seed=7"], ["data.n=500"], ["optimizer.lr=0.1"], ["optimizer.weight_decay=0.3"], ["logger=csv"]],
    ids=" ".join,
)
def test_runs_that_differ_in_values_are_of_one_kind(overrides):
    assert kind() == kind(*overrides)


@pytest.mark.parametrize(
    "overrides",
    [["model.k=8"], ["world=torus"], ["data.batch_size=64"], ["trainer.epochs=2"], ["optimizer.base_k=8"],
     ["objective.self_pairs=false"], ["planner.score=distance"]],
    ids=" ".join,
)  # fmt: skip
def test_runs_that_differ_in_more_are_not(overrides):
    assert kind() != kind(*overrides)


def test_coefficients_are_values_but_for_zero():
    assert kind("objective=ema") == kind("objective=ema", "objective.momentum=0.5", "objective.variance=3")
    assert kind("objective=ema") != kind("objective=ema", "objective.momentum=0.0"), "then there is no average"
    assert kind("objective=vicreg_inverse") == kind("objective=vicreg_inverse", "objective.base.covariance=7")
    assert kind("objective=sigreg") != kind("objective=sigreg", "objective.slices=64"), "a shape"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["trainer.compile=true"], "compiled"),
        (["trainer.precision=bf16-mixed"], "bf16-mixed"),
        (["optimizer._target_=torch.optim.SGD", "optimizer.lr=0.1"], "not AdamWOneCycle"),
        (["finetune=longer"], "fine-tuned"),
        ([], ""),
    ],
)
def test_runs_that_go_alone_have_a_reason(overrides, reason):
    why = why_alone(compose([*TINY, *overrides]))
    assert reason in why
    assert bool(reason) == bool(why)


def test_runs_whose_logger_is_one_for_the_process_go_alone():
    theirs = {"csv": {"_target_": "mine.CSV"}, "wandb": {"_target_": "lightning.pytorch.loggers.WandbLogger"}}
    assert "WandbLogger" in why_alone({**compose(TINY), "logger": theirs})
    assert why_alone({**compose(TINY), "logger": {"csv": theirs["csv"]}}) == ""


@pytest.mark.parametrize(("value", "size"), [("off", "off"), (False, "off"), ("auto", "auto"), (8, 8), ("8", 8)])
def test_sizes_are_read(value, size):
    assert cohort_size(value) == size


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", None, 10**6])
def test_sizes_that_make_no_sense_are_refused(value):
    with pytest.raises(ValueError, match="expected off, auto, or a number"):
        cohort_size(value)


def test_a_launcher_takes_the_size_from_file_and_command_line():
    assert take_launcher("local", [])[0].cohort == "off"
    assert take_launcher({"name": "local", "cohort": "auto"}, [])[0].cohort == "auto"
    assert take_launcher("local", ["launcher.cohort=6"])[0].cohort == 6
    assert take_launcher("local", ["launcher.cohort=off"])[0].cohort == "off"
    with pytest.raises(UserError, match=r"launcher\.cohort: expected off, auto"):
        take_launcher("local", ["launcher.cohort=0"])


def points_of(*members):
    made = [compose([*TINY, *own]) for own in members]
    return {
        run_id(one): DesignPoint(one["data"]["n"], one["model"]["k"], one["seed"], one, run_id(one)) for one in made
    }


SEEDS = points_of(*[[f"seed={seed}"] for seed in range(6)], ["seed=0", "model.k=3"])


def test_workers_share_what_waits():
    names = list(SEEDS)
    assert Cohorts(4, 2, SEEDS).most(names[0], 6) == 3
    assert Cohorts(4, 1, SEEDS).most(names[0], 6) == 4
    assert Cohorts("auto", 1, SEEDS).most(names[0], 6) == 6
    assert Cohorts("off", 1, SEEDS).most(names[0], 6) == 1


def test_large_models_gain_nothing_and_go_alone(capsys):
    large = points_of(*[[f"seed={seed}", "model.hidden=4096", "data.batch_size=64"] for seed in range(2)])
    assert Cohorts("auto", 1, large).most(next(iter(large)), 2) == 1
    assert "all arithmetic" in capsys.readouterr().err
    assert Cohorts(2, 1, large).most(next(iter(large)), 2) == 2, "who asks for a number is given it"


def test_claims_are_of_one_kind_and_of_none_that_was_tried_before(tmp_path):
    queue, cohorts = Queue(tmp_path, "study"), Cohorts(8, 1, SEEDS)
    queue.plan(list(SEEDS.values()), {})
    first = queue.claim("dead")
    queue.reap(lambda owner: True)
    kinds = []
    while claims := queue.claim_several("me", kind=cohorts.kind, most=cohorts.most):
        kinds.append([SEEDS[claim.run_id].k for claim in claims])
        assert first.run_id not in [claim.run_id for claim in claims] or len(claims) == 1
    assert sorted(map(len, kinds)) == [1, 1, 5]
    assert {trial.user_attrs["worker"] for trial in queue.running()} == {"me"}


def test_a_run_that_ends_early_is_told_before_the_others(tmp_path, monkeypatch):
    queue, seen = Queue(tmp_path, "study"), []

    def cohort(jobs, end):
        for number in (1, 0):
            end(number, Outcome(record(jobs[number].path.name)))
            seen.append(states(queue).count("COMPLETE"))
        return [Outcome(record(job.path.name)) for job in jobs]

    monkeypatch.setattr("jepa_scale.runs.cohort.run_cohort", cohort)
    points = dict(list(SEEDS.items())[:2])
    queue.plan(list(points.values()), {})
    work(tmp_path, queue, points, "me", cohort=2)
    assert seen == [1, 2]


def test_an_error_is_stored_with_its_traceback(tmp_path, monkeypatch):
    def cohort(jobs, end):
        outcomes = [Outcome(record(jobs[0].path.name)), Outcome(None, MemoryError("too wide"))]
        for number, outcome in enumerate(outcomes):
            end(number, outcome)
        return outcomes

    monkeypatch.setattr("jepa_scale.runs.cohort.run_cohort", cohort)
    queue, points = Queue(tmp_path, "study"), dict(list(SEEDS.items())[:2])
    queue.plan(list(points.values()), {})
    work(tmp_path, queue, points, "me", cohort=2)
    assert sorted(states(queue)) == ["COMPLETE", "FAIL"]
    (left,) = (tmp_path / "errors").glob("*.txt")
    assert "MemoryError: too wide" in left.read_text()


def test_runs_that_cannot_be_stacked_are_named_and_done_alone(tmp_path, monkeypatch, capsys):
    def refuse(self, step):
        raise NotStackable("torch.vmap does not take its parts: no rule for this")

    monkeypatch.setattr(Stack, "check", refuse)
    points = points_of(*[[f"seed={seed}", "data.n=100", "model.k=2"] for seed in range(3)])
    queue = Queue(tmp_path, "study")
    queue.plan(list(points.values()), {})
    work(tmp_path, queue, points, "me", cohort=2)
    assert states(queue) == ["COMPLETE"] * 3
    told = capsys.readouterr().err
    assert told.count("go alone: torch.vmap does not take its parts: no rule for this") == 1
    for path in (tmp_path / "runs").glob("*/record.json"):
        assert "cohort" not in json.loads(path.read_text())["times"]


def test_a_study_in_cohorts_has_the_runs_of_one_without(tmp_path):
    """By two worker processes; each takes its half of the runs of each width."""
    spec = parse_spec(STUDY, "test")
    run_study(spec, tmp_path / "study", LocalLauncher(2, "auto"), Console(quiet=True))
    records = [json.loads(path.read_text()) for path in (tmp_path / "study").glob("runs/*/record.json")]
    assert {content["run_id"] for content in records} == {point.run_id for point in design(spec)}
    for content in records:
        assert content["times"]["cohort"] == 2
        alone = run(content["config"], tmp_path / content["run_id"])
        for quantity in ("exact/risk", "regret/density"):
            assert content["final"][quantity] == pytest.approx(alone.final[quantity], rel=1e-3, abs=1e-3)

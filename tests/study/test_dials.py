"""Any configuration key as a dial: from the study file to plan, Optuna, table, laws, forecasts and page."""

import json
from dataclasses import replace

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
import yaml

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.fit import fit
from jepa_scale.laws.forecast import forecast
from jepa_scale.records import RunRecord
from jepa_scale.records.dials import declare, read, wrong_dials
from jepa_scale.records.quantities import Target, read_target
from jepa_scale.report.html import write_report
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.collect import collect, collect_folder
from jepa_scale.studies.design import design
from jepa_scale.studies.manifest import read_plan, write_plan
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.specification.laws import additive, families_of
from jepa_scale.studies.specification.spec import parse_spec
from jepa_scale.studies.sweep import _same_runs
from jepa_scale.studies.table import run_table

GOOD = {
    "name": "dials",
    "question": "What limits it?",
    "dials": {"data.n": [300, 600, 1200, 2400], "model.k": [2, 4, 8], "trainer.steps_per_epoch": [10, 30, 90]},
    "seeds": [0, 1],
    "bootstrap_draws": 40,
    "overrides": ["world=lowrank", "logger=none", "data.heldout=1600", "data.test=1600", "data.batch_size=64"],
}


def spec_of(**changes):
    return parse_spec({**GOOD, **changes}, "study.yaml")


def record_of(point, regret=None, **final):
    """A run that was never trained, with the risk and the regret of a planted law."""
    k, steps = point.k, point.config["trainer"]["steps_per_epoch"]
    noise = 1 + 0.01 * np.random.default_rng([point.n, point.k, steps, point.seed]).standard_normal()
    value = noise * (0.02 + 0.3 / point.k + 4 / point.n**0.6 + 1 / steps**0.8)
    score = point.config["planner"]["score"]
    final = {"exact/risk": value, f"regret/{score}": value / 2 if regret is None else regret, **final}
    return RunRecord(
        run_id=point.run_id, config=point.config, status="finished", reason="", final=final,
        dials={"n": point.n, "k": point.k, "seed": point.seed, "parameters": 7 * k, "flops_per_step": 100 * k},
        final_standard_errors={}, final_n={}, bounds=[], spectrum={}, versions={}, data_checksum="",
        truth={"tail": 1.0 / point.k, "shared_tail": 0.0, "regret_random": 0.95}, times={"wall_seconds": 7.0},
    )  # fmt: skip


def planted(folder, spec, record=record_of):
    """A finished study of that spec, without training any."""
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(spec.to_dict()))
    points = design(spec)
    write_plan(folder, points)
    for point in points:
        point.folder(folder).claim(point.config)
        point.folder(folder).write_record(record(point))
    return points


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dials") / "study"
    return folder, planted(folder, spec_of())


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({}, "dials: expected configuration keys with lists"),
        ({"seed": [0]}, "dials: expected configuration keys such as"),
        ({"data.n": [0]}, r"dials\.data\.n: expected a list of whole numbers ≥ 1"),
        ({"data.n": {"values": [300], "scale": "linear"}}, r"dials\.data\.n: expected a list"),
        ({"data.n": [300], "optimizer.lr": 0.1}, "expected a list of numbers, texts or truth values"),
        ({"data.n": [300], "optimizer.lr": [0.1, 0.1]}, "expected different values"),
        ({"data.n": [300], "optimizer.lr": [0.1, "high"]}, "expected values of one kind"),
        ({"data.n": [300], "optimizer.lr": [float("nan")]}, "expected finite numbers"),
        ({"data.n": [300], "optimizer.lr": {"values": [0.1], "scale": "cubic"}}, "scale: expected one of log, linear"),
        ({"data.n": [300], "optimizer.lr": {"values": [0.0], "scale": "log"}}, "expected numbers above 0"),
        ({"data.n": [300], "optimizer.lr": {"values": ["a"], "scale": "log"}}, "expected categorical"),
        ({"data.n": [300], "optimizer.lr": {"value": [0.1]}}, "expected a list, or values, scale and name"),
        ({"data.n": [300], "optimizer.lr": {"values": [0.1], "name": "a b"}}, "name: expected letters"),
        ({"data.n": [300], "trainer.epochs": {"values": [1], "name": "steps"}}, "has a column 'steps' of its own"),
        ({"data.n": [300], "a.x": [1], "b.x": [1]}, "expected another name than that of a.x"),
        ({"data.n": [300], "optimizer.rl": [0.1]}, "did you mean 'optimizer.lr'"),
        ({"data.n": [300], "trainer.epochs": [1.5]}, "trainer.epochs: expected"),
        ({"data.n": [300], "objective": ["vicreg"]}, "dials.objective: objective: expected"),
    ],
)
def test_mistakes_in_dials_are_named(dials, message):
    with pytest.raises(UserError, match=message):
        design(spec_of(dials=dials))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"trainer.steps_per_epoch": [5]}}, "arms: expected other settings than the dials"),
        ({"budget": {"rule": "fixed_epochs", "passes": 2, "most_steps": 9}}, "beside the dial trainer.steps_per_epoch"),
        ({"sampler": "design", "design": {"data.n": 9, "model.k": 2, "runs": 3}}, "as the only dials"),
        (
            {"dials": {"data.n": [300]}, "tuning": {"optimizer.lr": [0.1, 0.2], "n": 300, "seeds": [9]}},
            "among the dials",
        ),
        ({"overrides": ["trainer.steps_per_epoch=3"]}, "other than the dials"),
        ({"extra": [{"data.n": 300, "model.k": 2, "seed": 3}]}, "extra: expected a list of runs such as"),
        ({"target": "nonsense"}, "target: expected a quantity such as success"),
        ({"target": "prediction/horizon_5"}, "target: prediction/horizon_5: say which end is better"),
        ({"target": {"quantity": "total", "better": "higher"}}, "with an upper end"),
        ({"laws": ["success = E + A n^-a"]}, "describes success, expected a law of regret"),
        ({"laws": ["regret = E + A n^"]}, "law: expected"),
    ],
)
def test_what_dials_contradict_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        spec_of(**changes)


def test_names_and_scales_follow_from_keys_and_values():
    assert [(dial.name, dial.scale) for dial in spec_of().dials.values()] == [
        ("n", "log"), ("k", "log"), ("steps_per_epoch", "log")
    ]  # fmt: skip
    assert declare("model.dropout", [0.0, 0.1]).scale == "linear"
    assert declare("planner.warm_start", [True, False]).scale == "categorical"
    assert declare("a.b", ["x", "y"]).reference == "x"
    assert declare("a.b", [3, 1, 2]).values == (1, 2, 3)
    for written in ([1, 3], {"values": [1, 3], "scale": "linear", "name": "depth"}, ["x", "y"]):
        assert not wrong_dials({"a.b": written}, ())
        assert read("a.b", read("a.b", written).written()) == read("a.b", written)


def test_a_study_file_is_read_back_as_it_was():
    spec = spec_of(target="success", extra=[{"data.n": 300, "model.k": 2, "trainer.steps_per_epoch": 10, "seed": 7}])
    assert parse_spec(yaml.safe_load(yaml.safe_dump(spec.to_dict())), "again") == spec


def test_every_combination_is_a_run_with_its_values_in_the_configuration(study):
    folder, points = study
    assert len(points) == len({point.run_id for point in points}) == 4 * 3 * 3 * 2
    for point in points:
        assert point.config["trainer"]["steps_per_epoch"] == point.dials["steps_per_epoch"]
        assert point.tags == (f"steps_per_epoch={point.dials['steps_per_epoch']}",)
    assert [replace(one, config={}) for one in read_plan(folder)] == [replace(one, config={}) for one in points]


def test_a_plan_from_before_other_dials_is_read(tmp_path):
    folder = tmp_path / "study"
    planted(folder, spec_of(dials={"data.n": [300, 600], "model.k": [2]}))
    content = json.loads((folder / "plan.json").read_text())
    for run in content["runs"]:
        assert run.pop("dials") == {}
    (folder / "plan.json").write_text(json.dumps(content))
    assert [point.n for point in read_plan(folder)] == [300, 600, 300, 600]


def test_each_dial_is_a_parameter_of_optuna(tmp_path):
    dials = {"data.n": [300], "model.k": [2, 4], "optimizer.lr": [0.001, 0.01], "planner.cost.inner": ["a", "b"]}
    chosen = {key: read(key, values) for key, values in dials.items()}
    points = [
        replace(point, dials={"lr": lr, "inner": inner})
        for point in design(spec_of(dials={"data.n": [300], "model.k": [2]}, seeds=[0]))
        for lr in (0.001, 0.01)
        for inner in ("a", "b")
    ]
    points = [replace(point, run_id=f"run{index}") for index, point in enumerate(points)]
    queue = Queue(tmp_path, "dials", dials=[chosen["optimizer.lr"], chosen["planner.cost.inner"]])
    assert queue.plan(points[:3], {points[0].run_id: record_of(points[0])}) == 2
    assert queue.claim("worker").run_id == "run1"
    done, claimed, _ = queue.study.get_trials()
    assert done.params == {"n": 300, "k": 2, "seed": 0, "lr": 0.001, "inner": "a"}
    assert claimed.params == {"n": 300, "k": 2, "seed": 0, "lr": 0.001, "inner": "b"}
    assert claimed.distributions["lr"] == optuna.distributions.FloatDistribution(1e-30, 1e30, log=True)
    assert claimed.distributions["inner"] == optuna.distributions.CategoricalDistribution(("a", "b"))


def test_numbers_may_be_added_and_categories_may_not():
    def grown(old, new):
        dials = {"data.n": [300], "optimizer.lr": old}, {"data.n": [300], "optimizer.lr": new}
        return _same_runs(*(spec_of(dials=one) for one in dials))

    assert grown([0.1], [0.1, 0.01])
    assert not grown([0.1, 0.01], [0.1])
    assert not grown([1], [1, 0.5])
    assert not grown([0.1], [0.1, 0.0])
    assert not grown(["a"], ["a", "b"])


def test_the_table_has_a_column_for_each_dial_and_for_what_laws_read(study):
    folder, points = study
    table = pq.read_table(collect_folder(folder, folder).table.columns and folder / "table.parquet")
    rows = table.to_pydict()
    assert table.num_rows == len(points)
    assert json.loads(table.schema.metadata[b"dials"]) == ["steps_per_epoch"]
    assert sorted(set(rows["steps_per_epoch"])) == [10, 30, 90]
    epochs = points[0].config["trainer"]["epochs"]
    assert rows["compute"] == [
        100 * k * epochs * steps for k, steps in zip(rows["k"], rows["steps_per_epoch"], strict=True)
    ]


def test_cells_are_groups_of_all_dials(study):
    _, points = study
    table = run_table([record_of(point) for point in points], points)
    cells = cells_from_table(table, "risk")
    assert len(cells) == 36
    assert set(cells.seeds) == {2}
    assert sorted(set(cells.columns["steps_per_epoch"])) == [10.0, 30.0, 90.0]
    np.testing.assert_array_equal(cells.columns["parameters"], 7 * cells.k)
    at_reference = table.at({"steps_per_epoch": 90})
    assert (len(at_reference), at_reference.dials) == (24, ())
    assert len(cells_from_table(at_reference, "risk")) == 12


def test_a_law_of_all_dials_recovers_what_was_planted(study):
    _, points = study
    table = run_table([record_of(point) for point in points], points)
    law = additive(spec_of().dials.values())
    found = fit(law, table, "risk", draws=60)
    values = {one.name: one for one in found.parameters}
    for name, truth in (("e_steps_per_epoch", 0.8), ("e_n", 0.6), ("e_k", 1.0)):
        assert values[name].low - 0.1 < truth < values[name].high + 0.1, (name, values[name])
    held_out = forecast(law, table, "risk", 2400, draws=60)
    assert len(held_out.points) == 9
    assert {point.dials["steps_per_epoch"] for point in held_out.points} == {10.0, 30.0, 90.0}
    assert all(abs(point.predicted / point.observed - 1) < 0.05 for point in held_out.points)


def test_any_column_stands_in_a_law_and_outcomes_in_no_forecast(study):
    _, points = study
    spec = spec_of(laws=["regret = E + A compute^-a + B n^-b", "regret = E + A prediction_horizon_5^a"])
    records = [record_of(point, **{"prediction/horizon_5": 3.0 / point.k}) for point in points]
    compute, measured = families_of(spec)
    table = run_table(records, points, ["prediction_horizon_5"])
    assert fit(compute, table, "regret", draws=20).status == "converged"
    assert len(forecast(compute, table, "regret", 2400, draws=20).points) == 9
    assert fit(measured, table, "regret", draws=20).status == "converged"
    refused = forecast(measured, table, "regret", 2400, draws=20)
    assert (refused.points, refused.reason.code) == ((), "reads_outcomes")
    assert refused.reason.values["columns"] == "prediction_horizon_5"


def test_a_target_that_rises_is_described_by_what_it_lacks(tmp_path):
    spec = spec_of(target="success", dials={"data.n": [300, 600, 1200, 2400, 4800], "model.k": [2, 4, 8]})
    assert (spec.target, spec.laws) == (Target("success", "higher"), ("additive",))

    def record(point):
        return record_of(point, **{"success/model": 1 - record_of(point).final["exact/risk"]})

    points = planted(tmp_path / "study", spec, record)
    result = collect(spec, points, tmp_path / "study", None)
    np.testing.assert_allclose(result.table["success_shortfall"], result.table["risk"])
    fitted = {one.target: one for one in result.fits}
    assert set(fitted) == {"risk", "success_shortfall"}
    assert fitted["success_shortfall"].status == "converged"
    assert result.no_advice == "advice is on the regret, and this study is about success"
    assert [one.target for one in result.forecasts if one.points] == ["risk", "success_shortfall"]


def test_an_estimate_is_a_target_once_its_better_end_is_said():
    target = read_target({"quantity": "prediction/horizon_5", "better": "lower"})
    assert (target.name, target.column) == ("prediction_horizon_5", "prediction_horizon_5")
    assert read_target("loss") == Target("loss", "lower")
    assert read_target(target.written()) == target


def test_n_alone_is_a_study(tmp_path):
    spec = spec_of(dials={"data.n": [300, 600, 1200, 2400, 4800, 9600]}, overrides=[*GOOD["overrides"], "model.k=8"])
    points = planted(tmp_path / "study", spec)
    assert {point.k for point in points} == {8}
    result = collect(spec, points, tmp_path / "study", None)
    assert {one.status for one in result.fits} == {"converged"}
    assert {(point.k, point.n) for one in result.forecasts for point in one.points} == {(8, 9600)}


def test_the_page_draws_the_other_dials(study, tmp_path):
    folder, _ = study
    result = collect_folder(folder, None)
    page = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "figures" / "dials.svg").is_file()
    assert "the others stay at steps_per_epoch = 90" in page
    assert "72 of 72" in page
    assert len(result.table) == 24

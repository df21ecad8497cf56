"""Tables from W&B runs: our own, and other people's."""

import dataclasses
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from jepa_scale.cli.app import main
from jepa_scale.integrations.wandb.files import WandbRun, offline_folders, read_runs
from jepa_scale.integrations.wandb.importing import flattened, import_runs, record_of
from jepa_scale.integrations.wandb.study_run import log_study
from jepa_scale.records import RunTable
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.run import run
from jepa_scale.studies.collect import collect
from jepa_scale.studies.design import design
from jepa_scale.studies.specification.spec import parse_spec
from jepa_scale.studies.table import run_table
from tests.integrations.wandb.runs import closed, offline_run

DIALS = {"n": 300, "episodes": 20, "k": 4, "seed": 1, "parameters": 120, "flops_per_step": 5000}


def wandb_run(run_id="abc", *, config=None, summary=None, history=(), state="finished", started=0.0):
    return WandbRun(
        run_id, "sweep", "", "", run_id, (), config or {}, tuple(history), summary or {}, {}, {}, started, state
    )


def ours(run_id="abc", dials=(), history=(), **summary):
    summary = {"run/status": "finished", "run/reason": "", "run/wall_seconds": 2.5} | summary
    summary |= {f"dials/{name}": value for name, value in {**DIALS, **dict(dials)}.items()}
    return wandb_run(run_id, config={"planner": {"score": "density"}}, summary=summary, history=history)


def theirs(run_id="abc", n=1000, k=8, regret=0.25, state="finished", seed=0, **more):
    config = {"data": {"num_samples": n}, "model": {"dim": k}, "seed": seed, "name": "wide"}
    return wandb_run(run_id, config=config, summary={"eval/regret": regret, **more}, state=state)


NAMES = {"n": "data.num_samples", "k": "model.dim", "seed": "seed", "regret": "eval/regret"}


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def equal(one, other):
    """Whether two tables have the same columns, types and values, NaN where the other has it."""
    assert list(one.columns) == list(other.columns)
    for name, column in one.columns.items():
        assert column.dtype.kind == other[name].dtype.kind, name
        np.testing.assert_array_equal(column, other[name], err_msg=name)
    return True


def test_one_of_our_runs_gives_what_its_record_says():
    history = [
        {"epoch": 0, "exact/risk": 9.0, "spectrum/total": 3.0, "_step": 0},
        {"epoch": 1, "exact/risk": 8.0, "exact/risk/standard_error": 0.0},
        {"epoch": 1, "regret/density": 0.5, "regret/distance": 0.4, "spectrum/loss": math.nan},
        # A part that was requeued repeats the epoch.
        {"epoch": 1, "exact/risk": 1.5},
        {"epoch": 2, "spectrum/gap": math.nan},
    ]
    run = ours(history=history, **{"truth/tail": 0.75, "truth/regret_random": 0.9, "pretrained/regret/density": 0.6})
    table, said = import_runs("here", [run], {})
    assert said == ()
    row = {name: table[name][0] for name in table.columns}
    assert (row["run_id"], row["n"], row["k"], row["seed"]) == ("abc", 300, 4, 1)
    assert (row["parameters"], row["flops_per_step"], row["arm"]) == (120, 5000, "")
    assert (row["risk"], row["regret"], row["regret_distance"]) == (1.5, 0.5, 0.4)
    assert (row["tail"], row["regret_random"], row["regret_pretrained"]) == (0.75, 0.9, 0.6)
    assert row["wall_seconds"] == 2.5
    assert math.isnan(row["total"]), "was not identified at the last epoch; the summary has an older value"
    assert math.isnan(row["loss"])


def test_a_diverged_run_keeps_its_reason_and_no_estimate():
    run = ours(history=[{"epoch": 0, "exact/risk": 1.0}], **{"run/status": "diverged", "run/reason": "loss is NaN"})
    table, _ = import_runs("here", [run], {})
    assert (table["status"][0], table["reason"][0]) == ("diverged", "loss is NaN")
    assert math.isnan(table["risk"][0])


def test_runs_without_a_result_are_left_out_and_counted():
    table, said = import_runs("here", [ours("a"), wandb_run("b", state="crashed"), wandb_run("c", state="running")], {})
    assert table["run_id"].tolist() == ["a"]
    assert said == ("left out, without a result of jepa-scale: 2 runs (1 × crashed, 1 × running)",)


@pytest.mark.parametrize("stages", [["pretrain"], ["pretrain", "finetune"]], ids=["pretrain", "two-stages"])
def test_round_trip_of_a_real_study_through_offline_runs(stages, tiny_overrides, tmp_path, monkeypatch):
    """What the mirror left of every run is its row of the study's table."""
    content = {"name": "tiny", "question": "?", "seeds": [0, 1], "dials": {"data.n": [300, 600], "model.k": [2, 4]}}
    few = [text for text in tiny_overrides if not text.startswith(("data.n=", "model.k=", "logger="))]
    few += ["logger.mode=offline", f"stages=[{','.join(stages)}]"]
    few += ["finetune=rollout", "finetune.schedule.steps_per_epoch=10"] if len(stages) > 1 else []
    spec, study = parse_spec({**content, "overrides": few, "bootstrap_draws": 20}, "tiny.yaml"), tmp_path / "tiny"
    points = design(spec)
    for point in points:
        run(point.config, point.folder(study).path)
    known = collect(spec, points, study, study)
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_study(known, study, project="p", entity=None, mode="auto")
    for place in offline_folders(study):
        closed(place)
    runs = read_runs(study)
    assert len(runs) == 8 + 1
    table, said = import_runs("runs", runs, {})
    assert said == ()
    assert equal(table, known.table)
    assert np.isfinite(table["regret"]).all()
    assert np.isfinite(table["regret_pretrained"]).all() == (len(stages) == 2)


def test_runs_that_differ_in_more_than_dials_are_told_apart():
    def one(run_id, seed, rate, group="first", n=300):
        run = ours(run_id, dials={"seed": seed, "n": n}, history=[{"epoch": 0, "regret/density": 0.1}])
        config = {**run.config, "optimizer": {"lr": rate}, "data": {"n": n, "steps": 2 * n}}
        return dataclasses.replace(run, config=config, group=group)

    table, said = import_runs("here", [one("a", 0, 0.1), one("b", 1, 0.1), one("c", 0, 0.1, n=600)], {})
    assert (table["arm"].tolist(), said) == ([""] * 3, ()), "what follows from n sets nothing apart"
    table, said = import_runs("here", [one("a", 0, 0.1), one("b", 1, 0.2)], {})
    assert dict(zip(table["run_id"].tolist(), table["arm"].tolist(), strict=True)) == {
        "a": "optimizer.lr=0.1", "b": "optimizer.lr=0.2",
    }  # fmt: skip
    assert said == ("runs differ in optimizer.lr: the column arm tells them apart",)
    table, _ = import_runs("here", [one("a", 0, 0.1), one("b", 0, 0.1, group="second", n=600)], {})
    assert sorted(table["arm"].tolist()) == ["group=first", "group=second"]


def test_other_peoples_runs_are_read_by_the_keys_that_are_given():
    runs = [theirs("a", regret=0.25, depth=3), theirs("b", seed=1, regret={"min": 0.1, "last": 0.5}, depth=4)]
    table, said = import_runs(
        "here", runs, {**NAMES, "params": "2*model.dim*model.dim", "depth": "depth", "who": "name"}
    )
    assert said == ()
    assert table["run_id"].tolist() == ["a", "b"]
    assert table["n"].tolist() == [1000, 1000]
    assert table["regret"].tolist() == [0.25, 0.5], "the last, where the summary has several"
    assert table["params"].tolist() == [128, 128]
    assert table["depth"].tolist() == [3, 4]
    assert table["who"].tolist() == ["wide", "wide"]
    assert table["status"].tolist() == ["finished", "finished"]
    assert np.isnan(table["risk"]).all()
    assert set(RunTable.COLUMNS) < set(table.columns)
    least, _ = import_runs("here", runs[1:], {**NAMES, "regret": "eval/regret.min"})
    assert least["regret"].tolist() == [0.1]


def test_what_cannot_be_used_is_left_out_and_said():
    runs = [
        theirs("good"), theirs("crash", state="crashed"), theirs("run", state="running"), theirs("zero", n=0),
        theirs("half", n=1.5), theirs("word", k="wide"), theirs("none", regret="NaN"), theirs("list", n=[1, 2]),
    ]  # fmt: skip
    table, (said,) = import_runs("here", runs, NAMES)
    assert table["run_id"].tolist() == ["good"]
    assert said.startswith("left out: 7 runs (")
    for reason in (
        "1 × crashed", "1 × running", "1 × data.num_samples is 0, expected a whole number ≥ 1 for n",
        "1 × data.num_samples is 1.5", "1 × model.dim is not a number", "1 × eval/regret is not a number",
        "1 × data.num_samples is not a number",
    ):  # fmt: skip
        assert reason in said


def test_what_a_run_says_of_itself_wins():
    runs = [theirs("a", state="crashed", **{"run/status": "finished"}), theirs("b", **{"run/status": "diverged"})]
    table, _ = import_runs("here", [*runs, theirs("c", **{"run/status": "failed"})], NAMES)
    assert dict(zip(table["run_id"], table["status"], strict=True)) == {"a": "finished", "b": "diverged"}


def test_seeds_are_counted_within_a_cell_where_none_is_named():
    runs = [theirs("a", k=4), theirs("b"), theirs("c", k=4), theirs("d", k=4)]
    table, said = import_runs("here", runs, {name: key for name, key in NAMES.items() if name != "seed"})
    assert table["seed"].tolist() == [0, 0, 1, 2]
    assert any("seeds are numbered in the order of the runs" in one for one in said)


def test_repeated_runs_and_regrets_outside_0_to_1_are_said():
    _, said = import_runs("here", [theirs("a"), theirs("b"), theirs("c", seed=1, regret=1.5)], NAMES)
    assert said == (
        "1 run with the n, k and seed of another: each counts as a run of its own",
        "regret outside [0, 1] in 1 run: advise takes a lost probability",
    )


def test_a_table_for_fit_alone_needs_neither_n_nor_regret():
    table, said = import_runs("here", [theirs("a"), theirs("b")], {"D": "data.num_samples", "loss": "eval/regret"})
    assert table["D"].tolist() == [1000, 1000]
    assert table["loss"].tolist() == [0.25, 0.25]
    assert said == ("without n, k, regret: fit can use the table, advise needs n, k and regret",)


@pytest.mark.parametrize(
    ("runs", "columns", "message"),
    [
        ([theirs()], {}, r"name the keys to read, such as --columns n=data.*configuration: data.num_samples, "),
        ([theirs()], {}, r"numbers in the summary: eval/regret"),
        ([theirs()], {**NAMES, "n": "data.samples"}, r"no run has 'data.samples'; do you mean data.num_samples"),
        ([theirs()], {**NAMES, "n": "10*samples"}, r"--columns n=10\*samples: no run has 'samples'"),
        ([theirs(state="crashed")], NAMES, r"no run has finished \(1 run: 1 × crashed\)"),
        ([theirs(n=0)], NAMES, r"no run can be used: 1 × data.num_samples is 0"),
        ([theirs()], {**NAMES, "status": "state"}, r"status comes from W&B itself"),
        ([wandb_run(config={f"key{index}": index for index in range(40)})], {}, r"key0, .*, key23, … and 16 more"),
    ],
)  # fmt: skip
def test_what_makes_no_table_is_one_error(runs, columns, message):
    with pytest.raises(UserError, match=message) as error:
        import_runs("here", runs, columns)
    assert "\n" not in str(error.value)


def test_the_configuration_counts_before_the_summary_and_histograms_are_no_keys():
    run = wandb_run(
        config={"a": 1, "b": {"c": 2}}, summary={"a": 5, "h": {"_type": "histogram", "values": [1]}, "_step": 3}
    )
    assert flattened(run) == {"a": 1, "b.c": 2}


def test_collecting_a_folder_writes_a_table_that_advise_and_fit_can_read(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place, cells = 0, [(n, k) for n in (100, 300, 900) for k in (2, 4, 8)]
    for n, k in cells:
        regret = min(0.9, 0.3 / k + 2.0 * k**0.5 * n**-0.5)
        for seed in (0, 1):
            place += 1
            offline_run(
                tmp_path / "old" / str(seed), f"r{place}", [{"regret": regret + 0.01 * seed}],
                config={"data": {"num": n}, "dim": k, "seed": seed},
            )  # fmt: skip
    (tmp_path / "old" / "offline-run-1-torn").mkdir()
    (tmp_path / "old" / "offline-run-1-torn" / "run-torn.wandb").touch()
    code, out, err = called(capsys, "collect", "old")
    assert code == 2
    assert "numbers in the configuration: data.num, dim, seed" in err
    assert not (tmp_path / "wandb").exists()
    columns = ["--columns", "n=data.num", "k=dim", "seed=seed", "regret=regret", "size=dim*100"]
    code, out, err = called(capsys, "collect", "old", *columns)
    assert code == 0, err
    assert "left out: old/offline-run-1-torn/run-torn.wandb is not a W&B file" in out
    assert "18 runs in wandb/old.parquet" in out
    table = pq.read_table("wandb/old.parquet").to_pydict()
    assert sorted(set(zip(table["n"], table["k"], strict=True))) == cells
    assert set(table["size"]) == {200, 400, 800}
    assert called(capsys, "collect", "old", *columns, "--out", "there/mine.parquet")[0] == 0
    assert pq.read_table("there/mine.parquet").equals(pq.read_table("wandb/old.parquet"))
    code, out, err = called(capsys, "advise", "wandb/old.parquet", "--target-regret", 0.3)
    assert code == 0, err
    assert out.split(":")[0] in ("SUFFICIENT", "INSUFFICIENT", "UNDECIDED")
    law = "regret = E + A size^-a + B n^-b"
    code, out, err = called(capsys, "fit", "wandb/old.parquet", "--law", law, "--draws", 20)
    assert "18 runs of 9 configurations" in " ".join(out.split())


def test_mistakes_of_collect_are_one_line_and_write_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    offline_run(tmp_path / "old", "a", [{"regret": 0.5}], config={"n": 10})
    for arguments, message in (
        (["nowhere"], "neither a study's folder"),
        (["old", "--columns", "n"], "expected NAME=VALUE, such as n=data.num_samples"),
        (["old", "--columns", "n=n", "--out", "a.csv"], "expected a file that ends in .parquet, got a.csv"),
        (["wandb://me"], "expected wandb://ENTITY/PROJECT"),
    ):
        code, out, err = called(capsys, "collect", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_study_is_collected_as_a_study(tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(
        "name: a\nquestion: '?'\nseeds: [0]\ndials: {data.n: [300], model.k: [2]}\noverrides: [logger=none]\n"
    )
    offline_run(tmp_path / "runs" / "x", "x", [{"a": 1}])
    code, _, err = called(capsys, "collect", tmp_path, "--columns", "n=a")
    assert code == 2
    assert f"for those give {tmp_path}/runs" in err
    code, _, err = called(capsys, "collect", tmp_path)
    assert code == 2
    assert "is not a study that was planned (no plan.json)" in err


def test_the_table_of_imported_records_is_the_table_of_records():
    runs = [ours("a", {"n": 300}, [{"epoch": 0, "exact/risk": 1.0}]), ours("b", {"n": 100, "k": 8})]
    table, _ = import_runs("here", runs, {})
    assert equal(table, run_table([record_of(runs[1]), record_of(runs[0])])), "wide models first"

"""W&B holds what the run's own file holds, whatever happens to the run, and never decides over it."""

import math
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

from jepa_scale.cli.app import main
from jepa_scale.integrations.wandb import mirror as mirroring
from jepa_scale.integrations.wandb import opening
from jepa_scale.integrations.wandb.files import joined, offline_folders, read_offline
from jepa_scale.integrations.wandb.mirror import WandbMirror, summary_of
from jepa_scale.integrations.wandb.names import SPECTRUM_TABLE, THROUGHPUT
from jepa_scale.integrations.wandb.sync import offline_runs
from jepa_scale.records import Estimate
from jepa_scale.runs.cohort import Job, run_cohort
from jepa_scale.runs.config import compose
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.run import run
from tests.integrations.wandb.fake_server import FakeServer
from tests.integrations.wandb.runs import closed

STAGES = ["stages=[pretrain,finetune]", "finetune=rollout", "finetune.schedule.steps_per_epoch=20"]


@pytest.fixture
def logged(tiny_overrides):
    return [*[item for item in tiny_overrides if item != "logger=none"], "logger.mode=offline"]


def read_run(folder):
    (place,) = offline_folders(folder)
    return closed(place)


@pytest.fixture(autouse=True)
def _reachable(monkeypatch):
    monkeypatch.setattr(mirroring, "_unreachable", [])


@pytest.fixture
def server(monkeypatch):
    """A server, and a W&B of this process that is logged in there."""
    import wandb

    server = FakeServer()
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name, value in server.settings.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()
    yield server
    server.close()
    wandb.teardown()


def series(history):
    """Last value by epoch and metric."""
    return {
        (row["epoch"], name): value
        for row in history
        for name, value in row.items()
        if not name.startswith("_") and "epoch" in row
    }


def check_mirror(history, metrics):
    """Every estimate of every epoch, with what is known of it, and nothing else."""
    found, expected = series(history), {}
    for row in metrics:
        place, value = (row["epoch"], row["name"]), row["value"]
        if isinstance(value, list):
            counted = sum(found.pop(place)["values"])
            assert counted == sum(one is not None for one in value)
            continue
        if value is not None:
            expected[place] = value
        if row["n"] is not None:
            expected[place[0], f"{place[1]}/n"] = row["n"]
            if row["standard_error"] is not None:
                expected[place[0], f"{place[1]}/standard_error"] = row["standard_error"]
        if row["flag"]:
            expected[place[0], f"{place[1]}/flag"] = row["flag"]
    ours = ("epoch", "steps", "samples", THROUGHPUT, SPECTRUM_TABLE)
    assert {place: value for place, value in found.items() if place[1] not in ours} == expected
    steps = {row["epoch"]: row["step"] for row in metrics}
    assert {epoch: found[epoch, "steps"] for epoch in steps} == steps
    assert {epoch: found[epoch, "samples"] for epoch in steps} == {epoch: 64 * step for epoch, step in steps.items()}


@pytest.mark.parametrize("more", [[], STAGES], ids=["pretrain", "two-stages"])
def test_every_estimate_of_every_epoch_reads_back(logged, more, tmp_path):
    record = run(compose([*logged, *more]), tmp_path / "run", group="study")
    found = read_run(tmp_path / "run")
    metrics = RunFolder(tmp_path / "run").read_metrics()
    assert len(metrics) > 100
    check_mirror(found.history, metrics)
    assert found.run_id == record.run_id
    assert (found.group, found.name) == ("study", "n=600 k=4 seed=0")
    assert found.job_type == ("pretrain+finetune" if more else "pretrain")
    assert set(found.tags) >= {"n=600", "k=4", "seed=0", "world=nuisance", "objective=spectral"}
    assert found.config == record.config
    # The record's end, from which a table of runs is made again.
    for name, value in summary_of(record).items():
        assert found.summary[name] == value, name
    assert found.summary["dials/n"] == 600
    assert found.summary["run/status"] == "finished"
    # Each metric has its own axis, and the best of what has a better end.
    regret = [row["value"] for row in metrics if row["name"] == "regret/density"]
    assert len(regret) == (4 if more else 2)
    assert found.summary["regret/density"] == {"min": min(regret), "last": regret[-1]}
    assert found.step_metrics["*"] == "epoch"
    assert found.step_metrics["train/*"] == found.step_metrics["train/loss"] == "samples"
    assert SPECTRUM_TABLE in found.summary
    samples = [row["samples"] for row in found.history if THROUGHPUT in row]
    assert samples == [64 * 20 * epoch for epoch in range(2, 5 if more else 3)]


def test_a_killed_run_that_goes_on_leaves_one_continuous_series(logged, tmp_path):
    settings = [item for item in logged if not item.startswith("trainer.")]
    settings += ["trainer.epochs=20", "trainer.steps_per_epoch=100", "trainer.checkpoint_every=30"]
    command = [sys.executable, "-m", "jepa_scale", "train", *settings, "--folder", str(tmp_path / "run")]
    folder = RunFolder(tmp_path / "run")
    # With a W&B service of its own, as a job's process has, not this one's.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    began = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**environment, "PYTHONPATH": os.getcwd()}
    )
    end = time.monotonic() + 120
    while max((row["epoch"] for row in folder.read_metrics()), default=0) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(began.pid, signal.SIGKILL)
    began.wait()
    assert folder.read_record() is None
    run(compose(settings), tmp_path / "run")
    metrics = folder.read_metrics()
    places = offline_folders(tmp_path / "run")
    assert len(places) == 2
    last = closed(places[-1])
    found = joined([read_offline(places[0]), last])
    check_mirror(found.history, metrics)
    assert {epoch for epoch, name in series(found.history) if name == "regret/density"} == set(range(20))
    # What was logged twice was logged the same.
    seen = {}
    for row in found.history:
        for name in ("regret/density", "spectrum/risk", "steps"):
            if name in row:
                assert seen.setdefault((row["epoch"], name), row[name]) == row[name]
    # The last part alone has all of it too: whichever part a server keeps.
    check_mirror(last.history, metrics)
    assert last.summary["regret/density"]["min"] == min(
        row["value"] for row in metrics if row["name"] == "regret/density"
    )


def test_a_stopped_run_is_not_called_finished(logged, tmp_path, monkeypatch):
    import wandb

    seen = []
    monkeypatch.setattr(wandb.Run, "mark_preempting", lambda self: seen.append("preempting"))
    finish = wandb.Run.finish
    monkeypatch.setattr(
        wandb.Run, "finish", lambda self, exit_code=None: (seen.append(exit_code), finish(self, exit_code))[1]
    )
    monkeypatch.setattr("jepa_scale.runs.run._test", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(compose(logged), tmp_path / "run")
    assert seen == ["preempting", 1]
    monkeypatch.undo()
    assert run(compose(logged), tmp_path / "run").status == "finished"


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_a_diverged_run_is_failed_in_the_dashboard(logged, tmp_path):
    record = run(compose([*logged, "trainer.divergence=1e-9"]), tmp_path / "run")
    assert record.status == "diverged"
    found = read_run(tmp_path / "run")
    assert found.state == "failed"
    assert found.summary["run/status"] == "diverged"
    assert found.summary["run/reason"] == record.reason


def check_run_ends_well(config, folder, message):
    with pytest.warns(UserWarning, match=message):
        record = run(config, folder)
    assert record.status == "finished"
    assert any(row["name"] == "test/loss" for row in RunFolder(folder).read_metrics())


def test_a_server_that_cannot_be_reached_leaves_an_offline_run(logged, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setattr(opening, "INIT_SECONDS", 2.0)
    config = compose([*logged[:-1], "logger.mode=online"])
    check_run_ends_well(config, tmp_path / "run", "W&B logs offline from here on")
    places = [place for place in offline_folders(tmp_path / "run") if place.name.startswith("offline-run-")]
    (found,) = (closed(place) for place in places)
    check_mirror(found.history, RunFolder(tmp_path / "run").read_metrics())


def cohort_of(overrides, folder):
    jobs = [Job(compose([*overrides, f"seed={seed}"]), folder / f"run-{seed}") for seed in range(3)]
    assert [outcome.error for outcome in run_cohort(jobs)] == [None] * 3
    return [job.path for job in jobs]


def test_members_of_a_cohort_log_side_by_side(logged, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="W&B")
        folders = cohort_of(logged, tmp_path)
    for seed, folder in enumerate(folders):
        found = read_run(folder)
        check_mirror(found.history, RunFolder(folder).read_metrics())
        assert (found.name, found.summary["run/status"]) == (f"n=600 k=4 seed={seed}", "finished")


def test_a_cohort_without_a_server_leaves_an_offline_run_of_each_member(logged, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setattr(opening, "INIT_SECONDS", 2.0)
    with pytest.warns(UserWarning, match="W&B logs offline from here on"):
        folders = cohort_of([*logged[:-1], "logger.mode=online"], tmp_path)
    for folder in folders:
        (place,) = folder.glob("wandb/offline-run-*")
        check_mirror(closed(place).history, RunFolder(folder).read_metrics())


def test_a_server_that_ceases_to_answer_a_cohort_leaves_an_offline_run_of_each_member(server, tmp_path, monkeypatch):
    monkeypatch.setattr(mirroring, "FINISH_SECONDS", 3.0)
    mirrors = [
        WandbMirror("project", tmp_path / name, name, None, {}, "auto", together=True) for name in ("one", "two")
    ]
    server.answering.clear()
    for epoch in range(2):
        for mirror in mirrors:
            mirror.write([Estimate("a", float(epoch), 0.1, 10, epoch, 20)])
    for mirror in mirrors:
        with pytest.warns(UserWarning, match="W&B logs offline from here on"):
            mirror.finish()
    for name in ("one", "two"):
        (place,) = (tmp_path / name).glob("wandb/offline-run-*")
        assert [row["a"] for row in closed(place).history] == [0.0, 1.0]


def test_a_server_that_does_not_answer_is_waited_for_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "INIT_SECONDS", 2.0)
    server.answering.clear()
    rows = [Estimate("a", 1.0, 0.1, 10, 0, 20)]
    with pytest.warns(UserWarning, match="logs offline from here on"):
        first = WandbMirror("project", tmp_path, "one", None, {}, "auto")
    first.write(rows)
    first.finish()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = WandbMirror("project", tmp_path, "two", None, {}, "auto")
        second.write(rows)
        second.finish()
    for name in ("one", "two"):
        (place,) = tmp_path.glob(f"wandb/offline-run-*-{name}")
        assert [row["a"] for row in closed(place).history] == [1.0]


def test_what_a_server_does_not_take_is_left_for_sync(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mirroring, "FINISH_SECONDS", 3.0)
    run_folder = tmp_path / "runs" / "abc"
    run_folder.mkdir(parents=True)
    mirror = WandbMirror("project", run_folder, "abc", None, {}, "auto")
    server.answering.clear()
    mirror.write([Estimate("a", 1.0, 0.1, 10, 0, 20)])
    mirror.write([Estimate("b", 2.0, 0.1, 10, 0, 20)])
    began = time.monotonic()
    with pytest.warns(UserWarning, match="W&B logs offline from here on"):
        mirror.finish()
    assert time.monotonic() - began < 30, "it is not waited for without end"
    (one,) = offline_runs(tmp_path)
    assert one.run_id == "abc"
    (part,) = one.parts
    assert [(row.get("a"), row.get("b")) for row in closed(part).history] == [(1.0, None), (None, 2.0)]
    server.answering.set()
    with pytest.raises(SystemExit) as left:
        main(["sync", str(tmp_path)])
    assert left.value.code == 0, capsys.readouterr()
    assert [row["b"] for row in server.history() if "b" in row][-1:] == [2.0]
    assert offline_runs(tmp_path) == []


def test_an_online_run_that_ends_well_leaves_nothing_to_sync(server, tmp_path):
    run_folder = tmp_path / "runs" / "abc"
    run_folder.mkdir(parents=True)
    mirror = WandbMirror("project", run_folder, "abc", None, {}, "auto")
    mirror.write([Estimate("a", 1.0, 0.1, 10, 0, 20)])
    mirror.finish()
    assert [row["a"] for row in server.history() if "a" in row] == [1.0]
    assert offline_runs(tmp_path) == []


def test_the_parts_of_a_run_arrive_in_order(server, tmp_path, capsys):
    run_folder = tmp_path / "runs" / "abc"
    run_folder.mkdir(parents=True)
    for life in range(2):
        mirror = WandbMirror("project", run_folder, "abc", None, {}, "offline")
        mirror.write([Estimate("a", float(life), 0.1, 10, life, 20)])
        mirror.finish()
        time.sleep(1.1)  # folders are named by the second
    for place in offline_folders(tmp_path):
        closed(place)
    with pytest.raises(SystemExit) as left:
        main(["sync", str(tmp_path)])
    assert left.value.code == 0, capsys.readouterr()
    assert [row["a"] for row in server.history() if "a" in row] == [0.0, 1.0]
    with pytest.raises(SystemExit):
        main(["sync", str(tmp_path)])
    assert [row["a"] for row in server.history() if "a" in row] == [0.0, 1.0], "nothing is sent twice"


def test_a_folder_that_cannot_be_written_costs_a_warning(logged, tmp_path):
    config = compose(logged)
    RunFolder(tmp_path / "run").claim(config)
    (tmp_path / "run" / "wandb").write_text("in the way")
    check_run_ends_well(config, tmp_path / "run", "W&B is off for this run: .*Not a directory")


@pytest.mark.slow
def test_a_full_disk_costs_a_warning(logged, tmp_path):
    config = compose(logged)
    RunFolder(tmp_path / "run").claim(config)
    place = tmp_path / "run" / "wandb"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "none", str(place)]).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        check_run_ends_well(config, tmp_path / "run", "W&B is off for the rest of this run: .*No space left")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_wandb_that_fails_costs_one_warning(monkeypatch, tmp_path):
    import wandb

    def broken(*arguments, **settings):
        raise OSError("no space left\nand a traceback")

    rows = [Estimate("a", 1.0, 0.1, 10, 0, 20)]
    mirror = WandbMirror("project", tmp_path, "id", None, {}, "offline")
    monkeypatch.setattr(wandb.Run, "log", broken)
    with pytest.warns(UserWarning, match="W&B is off for the rest of this run: no space left$"):
        mirror.write(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mirror.write(rows)
        mirror.finish()
    monkeypatch.setattr(wandb, "init", broken)
    with pytest.warns(UserWarning, match="W&B is off for this run: no space left$"):
        mirror = WandbMirror("project", tmp_path, "id", None, {}, "offline")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mirror.write(rows)
        mirror.replay([vars(rows[0])])
        mirror.finish()


def test_a_wandb_that_fails_inside_of_what_fails_costs_one_warning(monkeypatch, tmp_path):
    import wandb

    def broken(*arguments, **settings):
        raise OSError("no space left")

    mirror = WandbMirror("project", tmp_path, "id", None, {}, "offline")
    monkeypatch.setattr(wandb.Run, "define_metric", broken)
    with pytest.warns(UserWarning, match="no space left") as told:
        mirror.write([Estimate("regret/density", 1.0, 0.1, 10, 0, 20)])
    assert len(told) == 1
    mirror.finish()


def test_lists_without_a_number_and_what_is_not_identified(tmp_path):
    mirror = WandbMirror("project", tmp_path, "id", None, {"data": {"batch_size": 8}}, "offline")
    mirror.write(
        [
            Estimate("gap", None, None, 30, 4, 20, "below_edge"),
            Estimate("nothing", (math.nan, math.inf), (0.1, 0.1), 30, 4, 20),
            Estimate("spectrum", (2.0, math.nan, 1.0), (0.1, 0.1, 0.1), 30, 4, 20),
            Estimate("equal", (1.0, 1.0 - 1.1e-16, 1.0), (0.1, 0.1, 0.1), 30, 4, 20),
            Estimate("exact", 0.5, 0.0, None, 4, 20),
            Estimate("lost", math.nan, math.nan, 30, 4, 20),
        ]
    )
    mirror.finish()
    (row,) = read_run(tmp_path).history
    histogram = row.pop("spectrum")
    assert sum(histogram["values"]) == 2
    assert sum(row.pop("equal")["values"]) == 3
    assert {name: value for name, value in row.items() if not name.startswith("_")} == {
        "epoch": 4, "steps": 20, "samples": 160, "gap/n": 30, "gap/flag": "below_edge", "exact": 0.5, "lost/n": 30,
    }  # fmt: skip


def test_names_of_any_configuration_are_within_what_wandb_allows(tmp_path):
    config = {"world": {"_target_": "a." + "b" * 90 + ".C"}, "data": {"n": 10}, "seed": 3, "stages": []}
    mirror = WandbMirror("project", tmp_path, "id", None, config, "offline")
    mirror.finish()
    found = read_run(tmp_path)
    assert found.tags == ("n=10", "seed=3")
    assert found.job_type == ""

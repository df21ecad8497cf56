"""Lightning's own loggers under a run: what they hold is what ``metrics.jsonl`` holds."""

import csv
import math
import warnings

import pytest

from jepa_scale.callbacks.forwarding import Forwarding, estimate_of
from jepa_scale.callbacks.logging import LoggedRun, scalars
from jepa_scale.integrations.loggers import CSV, MLflow, TensorBoard
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.run import preflight, run
from jepa_scale.runs.schema import by_name


def expected(folder):
    """Numbers of each epoch, from the run's own file."""
    rows = {}
    for row in RunFolder(folder).read_metrics():
        held = scalars([estimate_of(row)])
        numbers = {name: value for name, value in held.items() if not isinstance(value, str)}
        rows.setdefault(row["epoch"], {}).update(numbers)
    return rows


def in_csv(folder):
    with (folder / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {int(float(row["epoch"])): {name: float(text) for name, text in row.items() if text} for row in rows}


def check(found, folder):
    held = expected(folder)
    assert sorted(found) == sorted(held)
    for epoch, numbers in held.items():
        assert len(numbers) > 20
        for name, value in numbers.items():
            assert math.isclose(found[epoch][name], value, rel_tol=1e-6, abs_tol=1e-12), (epoch, name)


def test_several_loggers_hold_every_number_of_every_epoch(tiny_overrides, tmp_path):
    pytest.importorskip("tensorboard")
    config = compose([*tiny_overrides, "logger=[csv,tensorboard]"])
    assert list(config["logger"]) == ["csv", "tensorboard"]
    assert run(config, tmp_path / "run").status == "finished"
    check(in_csv(tmp_path / "run"), tmp_path / "run")

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            found.setdefault(event.step, {})[tag] = event.value
    check({int(row["epoch"]): row for row in found.values() if "epoch" in row}, tmp_path / "run")


@pytest.mark.slow
def test_mlflow_holds_them_in_one_run(tiny_overrides, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    overrides = [*tiny_overrides, "logger=mlflow", f"logger.uri={uri}"]
    run(compose(overrides), tmp_path / "run", group="a study", tags=["n=600"])
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("a study")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED"
    assert logged.data.tags["n"] == "600"
    assert logged.data.params["model/k"] == "4"
    last = max(expected(tmp_path / "run").items())[1]
    assert math.isclose(logged.data.metrics["spectrum/total"], last["spectrum/total"])


def test_a_csv_of_a_resumed_run_is_whole(tiny_overrides, tmp_path):
    path = tmp_path / "run"
    run(compose([*tiny_overrides, "logger=csv"]), path)
    rows = RunFolder(path).read_metrics()
    again = CSV().open(LoggedRun(path, "id"))
    again.replay([row for row in rows if row["epoch"] == 0])
    again.write([estimate_of(row) for row in rows if row["epoch"] == 1])
    again.finish()
    check(in_csv(path), path)


@pytest.mark.slow
def test_mlflow_goes_on_in_the_run_of_before(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for _ in range(2):
        MLflow(uri=uri).open(LoggedRun(tmp_path, "id")).finish()
    client = mlflow.MlflowClient(tracking_uri=uri)
    assert len(client.search_runs([client.get_experiment_by_name("jepa-scale").experiment_id])) == 1


def test_tensorboard_of_a_study_is_one_folder(tmp_path):
    pytest.importorskip("tensorboard")
    logger = TensorBoard(folder=str(tmp_path / "all")).open(LoggedRun(tmp_path / "run", "id", "a study"))
    logger.finish()
    assert list((tmp_path / "all" / "a study" / "id").iterdir())


class Broken:
    name, version = "broken", "0"

    def log_hyperparams(self, params):
        pass

    def log_metrics(self, metrics, step):
        raise RuntimeError("no route to host\nat line 7")

    def finalize(self, status):
        raise AssertionError("it is off")


def test_a_logger_that_fails_costs_a_warning_once():
    logger = Forwarding(Broken(), {})
    with pytest.warns(UserWarning, match="Broken is off for the rest of this run: no route to host$"):
        logger.log_metrics({"loss": 1.0}, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.log_metrics({"loss": 1.0}, 4)
        logger.finish()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("logger=[csv,csv]", "unknown option"),
        ("logger=[]", "unknown option"),
        ("logger=[csv,nothing]", "logger has csv, mlflow, none, tensorboard, wandb"),
        ("encoder=[mlp,cnn]", "encoder"),
    ],
)
def test_choices_that_make_no_sense_are_refused(override, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        compose([override])


def test_settings_of_one_of_several_are_set_and_checked():
    config = compose(["logger=[wandb,csv]", "logger.wandb.project=mine"])
    assert by_name(config["logger"])["wandb"]["project"] == "mine"
    with pytest.raises(UserError, match=r"logger\.wandb: expected logger\.mode auto, online"):
        preflight(compose(["logger=[wandb,csv]", "logger.wandb.mode=sometimes"]))
    with pytest.raises(UserError, match=r"unknown key 'logger.csv.path'"):
        compose(["logger=[wandb,csv]", "logger.csv.path=x"])


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"logger=tensorboard needs tensorboard.*pip install 'jepa-scale\[tensorboard"):
        preflight(compose(["logger=tensorboard"]))


def test_configurations_of_earlier_runs_name_their_loggers():
    config = compose(["logger=none"])
    config["logger"] = {"_target_": "jepa_scale.callbacks.logging.no_logger"}
    preflight(config)
    config["logger"] = {
        "_target_": "jepa_scale.callbacks.logging.wandb_logger", "project": "p", "entity": None, "mode": "offline",
    }  # fmt: skip
    preflight(config)

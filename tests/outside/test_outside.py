"""A stranger's package through every command, without touching ``conf/``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import jepa_scale
from jepa_scale.cli.app import main
from jepa_scale.runs.config import compose, compose_linked, with_sizes
from jepa_scale.runs.errors import UserError

HERE = Path(__file__).parent
FAST = (
    "logger=none", "data.n=300", "data.heldout=320", "data.test=320", "data.length=10", "data.batch_size=32",
    "trainer.max_epochs=2", "trainer.limit_train_batches=4", "model.k=4", "model.hidden=16",
)  # fmt: skip
PARTS = (
    "encoder=bn", "world=ring", "encoder.depth=2",
    "predictor._target_=mypkg.parts.Predictor", "objective._target_=mypkg.parts.Contrast", "objective.weight=2.0",
    "planner._target_=mypkg.parts.Chooser", "optimizer._target_=mypkg.parts.Sign", "optimizer.lr=0.01",
)  # fmt: skip


@pytest.fixture(autouse=True)
def outside(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEPA_SCALE_ALLOW", "mypkg")
    monkeypatch.setenv("JEPA_SCALE_CONF_PATH", str(HERE / "mypkg" / "conf"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_every_part_trains_and_is_loaded_evaluated_and_fine_tuned(tmp_path, capsys):
    own = (
        "callbacks.count._target_=mypkg.parts.Counter", f"callbacks.count.path={tmp_path / 'count.json'}",
        "logger._target_=mypkg.parts.Lines", f"logger.path={tmp_path / 'lines.jsonl'}",
    )  # fmt: skip
    assert run("train", *FAST[1:], *PARTS, *own, "--folder", "one") == 0
    record = json.loads((tmp_path / "one" / "record.json").read_text())
    assert record["status"] == "finished"
    assert record["dials"]["flops_per_step"] > 0, "counted with a BatchNorm encoder"
    counted = json.loads((tmp_path / "count.json").read_text())
    assert counted["steps"] == 8
    assert counted["seen"]["regret/density"] == pytest.approx(record["final"]["regret/density"])
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert any("regret/density" in line for line in lines)
    loaded = jepa_scale.load("one")
    observations = loaded.world.observations
    z = loaded.encode(observations)
    assert z.shape == (12, 4)
    assert loaded.predict(z, [0] * 12).shape == (12, 4)
    plans = loaded.plan(observations[:3], observations[1:4])
    assert plans.shape == (3, 1)
    assert set(plans.flatten().tolist()) <= {0, 1}
    assert "Encoder" in repr(loaded)
    from jepa_scale.training.world_model import WorldModel

    module = WorldModel.load_from_checkpoint("one/checkpoints/last.ckpt")
    assert torch.equal(module.encode(torch.as_tensor(observations).float()), z)
    with pytest.raises(TypeError, match="a path alone"):
        WorldModel.load_from_checkpoint("one/checkpoints/last.ckpt", k=3)
    assert not loaded.module.training
    assert run("evaluate", "one") == 0
    assert run("finetune", "one", "finetune=rollout", "finetune.schedule.epochs=1", "--folder", "two") == 0
    # A run's own configuration starts another.
    assert run("train", "--config", "one/config.yaml", "seed=3", "--folder", "three") == 0
    assert json.loads((tmp_path / "three" / "record.json").read_text())["dials"]["seed"] == 3


def test_a_study_of_ones_own_parts(tmp_path):
    spec = {
        "name": "outside", "question": "Does a stranger's package run?",
        "dials": {"data.n": [200, 300], "model.k": [2, 4]},
        "seeds": [0], "laws": ["generic"], "bootstrap_draws": 20, "overrides": [*FAST[:1], *FAST[2:-2], *PARTS],
    }  # fmt: skip
    (tmp_path / "outside.yaml").write_text(yaml.safe_dump(spec))
    assert run("study", "outside.yaml", "workers=1", "--folder", "study") == 0
    assert len(list((tmp_path / "study" / "runs").glob("*/record.json"))) == 4
    # What a worker of a cluster runs, in a process of its own.
    folder = tmp_path / "again"
    command = [sys.executable, "-m", "jepa_scale", "train", *FAST, *PARTS, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_leaves_are_found_by_option_and_by_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("JEPA_SCALE_CONF_PATH")
    assert run("train", "encoder=bn", "--show") == 2
    assert "unknown option 'encoder=bn'" in capsys.readouterr().err
    assert run("train", "encoder=bn", "--config-dir", HERE / "mypkg" / "conf", "--show") == 0
    shown = capsys.readouterr().out
    assert "mypkg.parts.Encoder" in shown
    assert "# encoder: bn, " in shown
    assert run("train", "--config-dir", tmp_path / "nowhere", "--show") == 2
    assert "--config-dir: expected a folder with groups" in capsys.readouterr().err


def test_a_module_that_is_not_allowed_is_not_imported(monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", "")
    with pytest.raises(UserError, match="its code is not run: if you trust it, add --allow mypkg"):
        compose(["encoder=bn"])


def test_targets_replace_whole_leaves_wherever_they_stand():
    config = compose(["encoder.width=8", "encoder._target_=mypkg.parts.Encoder"])
    assert config["encoder"] == {"_target_": "mypkg.parts.Encoder", "width": 8, "depth": 1}
    with pytest.raises(UserError, match=r"unknown key 'encoder\.widht': did you mean 'encoder\.width'"):
        compose(["encoder._target_=mypkg.parts.Encoder", "encoder.width=8", "encoder.widht=8"])


def test_keys_are_added_and_left_out():
    config = compose(["~callbacks.bounds", "callbacks.count._target_=mypkg.parts.Counter", "callbacks.count.path=x"])
    assert "bounds" not in config["callbacks"]
    assert config["callbacks"]["count"]["path"] == "x"
    with pytest.raises(UserError, match=r"~data\.n: expected a setting of a leaf"):
        compose(["~data.n"])
    with pytest.raises(UserError, match=r"unknown key 'data\.m'"):
        compose(["+data.m=3"])


def test_factories_with_any_keywords_and_partial_leaves():
    config = compose([
        "encoder._target_=mypkg.parts.timm_like", "encoder._args_=[tiny,1,2]", "encoder.in_features=12",
        "encoder.num_classes=4", "encoder.width=8", "world=ring", "model.k=4",
    ])  # fmt: skip
    from jepa_scale.runs.instantiate import instantiate

    built = instantiate("encoder", config["encoder"], observation_shape=(12,), k=4, hidden=8)
    assert built.net[0].out_features == 8
    partial = instantiate("encoder", {"_target_": "mypkg.parts.Encoder", "_partial_": True, "width": 5})
    assert partial((12,), 3).net[0].out_features == 5


def test_links_follow_what_they_refer_to():
    assert compose(["encoder=linked", "model.k=6"])["encoder"]["width"] == 6
    assert compose(["encoder=bn", "encoder.width=${model.k}", "model.k=7"])["encoder"]["width"] == 7
    base = compose_linked(["encoder=linked"])
    assert base["encoder"]["width"] == base["model"]["k"]
    assert with_sizes(base, {"model.k": 9})["encoder"]["width"] == 9
    assert (
        compose(["encoder=bn", "encoder.width=${encoder.depth}", "encoder.depth=${data.horizon}"])["encoder"]["width"]
        == 1
    )
    for width, message in (
        ("${model.nothing}", "the configuration has no model.nothing"),
        ("${encoder.width}", "it refers to itself"),
        ("${data.n.n}", "data.n has no keys"),
    ):
        with pytest.raises(UserError, match=f"cannot resolve .*{message}"):
            compose(["encoder=bn", f"encoder.width='{width}'"])


def test_an_arm_is_a_leaf_by_name(tmp_path):
    spec = {
        "name": "arms", "question": "Which?", "dials": {"data.n": [300], "model.k": [2, 4]}, "seeds": [0],
        "arms": {"encoder": ["bn", "mlp"]}, "laws": ["generic"], "overrides": [FAST[0], *FAST[2:-2], *PARTS[1:2]],
    }  # fmt: skip
    from jepa_scale.studies.design import design
    from jepa_scale.studies.specification.spec import parse_spec

    points = design(parse_spec(spec, "arms.yaml"))
    assert {point.config["encoder"]["_target_"].rpartition(".")[2] for point in points} == {"Encoder", "MLPEncoder"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("encoder._target_=mypkg.parts.Wrong",), r"encoder Wrong: expected latents of shape \(4, 4\), got \(4, 3\)"),
        (
            ("encoder._target_=mypkg.parts.Wrong", "encoder.mistake=tuple"),
            "encoder Wrong: expected a tensor of latents",
        ),
        (
            ("encoder._target_=mypkg.parts.Wrong", "encoder.mistake=raises"),
            r"encoder Wrong fails on \(4, 12\).*patches",
        ),
        (("optimizer._target_=torch.optim.SGD", "optimizer.lr=-1"), "optimizer: Invalid learning rate"),
        (("optimizer._target_=mypkg.parts.Encoder", "optimizer.k=3"), "optimizer"),
        (("callbacks.x._target_=mypkg.parts.Contrast",), "callbacks.x: expected a lightning.Callback, got Contrast"),
        (("logger._target_=mypkg.parts.Contrast",), r"logger: expected a logger of Lightning or one with open\(run\)"),
        (("encoder._target_=torch.nn.functional.linear",), "encoder"),
        (("optimizer._target_=torch.optim.swa_utils.update_bn",), "optimizer._target_: expected a class of kind"),
        (("callbacks.x._target_=lightning.pytorch.callbacks.ModelCheckpoint",), "--allow lightning"),
        (("logger._target_=lightning.pytorch.loggers.CSVLogger",), "add --allow lightning"),
    ],
)
def test_a_part_that_does_not_fit_is_told_before_the_first_step(overrides, message, tmp_path, capsys):
    assert run("train", *FAST, "world=ring", *overrides, "--folder", "wrong") == 2
    error = capsys.readouterr().err
    import re

    assert re.search(message, error), error
    assert not (tmp_path / "wrong" / "checkpoints").exists()
    assert error.count("\n") <= 3


def test_any_optimiser_and_scheduler_of_torch(tmp_path):
    assert run(
        "train", *FAST, "optimizer._target_=torch.optim.SGD", "optimizer.lr=0.01", "optimizer.momentum=0.9",
        "optimizer.scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR", "--folder", "sgd",
    ) == 0  # fmt: skip
    state = torch.load(tmp_path / "sgd" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["lr_schedulers"][0]["T_max"] == 8, "the whole budget of steps"
    assert state["lr_schedulers"][0]["last_epoch"] == 8, "stepped after every step"
    assert state["optimizer_states"][0]["param_groups"][0]["momentum"] == 0.9


def test_a_callback_of_lightning_stops_a_run(tmp_path):
    stop = (
        "callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping", "callbacks.stop.patience=1",
        "callbacks.stop.monitor=regret/density", "callbacks.stop.min_delta=1.0",
    )  # fmt: skip
    assert run("train", *FAST[:6], *FAST[7:], "trainer.epochs=6", *stop, "--folder", "stopped") == 0
    record = json.loads((tmp_path / "stopped" / "record.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()[1:]]
    epochs = {row["epoch"] for part in rows for row in part}
    assert epochs == {0, 1}
    assert record["status"] == "finished"
    assert record["final"]["test/loss"] is not None


def test_a_run_whose_package_is_gone_says_so(tmp_path, monkeypatch, capsys):
    assert run("train", *FAST, *PARTS, "--folder", "one") == 0
    monkeypatch.setenv("JEPA_SCALE_ALLOW", "")
    with pytest.raises(UserError, match=r"a part of this run cannot be used here: .*add --allow mypkg"):
        jepa_scale.load("one")

"""Files of strangers: what they name is not run, where they lead is not written, what they say does not steer."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from jepa_scale.integrations.slurm.submitting import quoted
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.identity import run_id
from jepa_scale.studies.manifest import write_plan
from jepa_scale.texts import clean
from tests.robustness.test_damage import runs

TARGETS = (
    "stranger.World",
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "jepa_scale.integrations.slurm.commands.cancel",
)
READERS = ("report", "collect", "advise", "status")


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A module that can be imported, and leaves a mark when it is."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    mark = place / "mark"
    (place / "stranger.py").write_text(f"open({str(mark)!r}, 'w').close()\n\ndef World(**settings):\n    return 3\n")
    monkeypatch.syspath_prepend(place)
    yield mark
    sys.modules.pop("stranger", None)


def poisoned(study, target):
    """Have the study, its plan and its runs name a target as their world."""
    spec = yaml.safe_load((study / "study.yaml").read_text())
    spec["overrides"].append(f"world._target_={target}")
    (study / "study.yaml").write_text(yaml.safe_dump(spec))
    points = read_plan_of(study)
    for point in points:
        point.config["world"]["_target_"] = target
    write_plan(study, points)
    for run in runs(study):
        path = run / "config.yaml"
        content = yaml.safe_load(path.read_text())
        content["world"]["_target_"] = target
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        checkpoint = run / "checkpoints" / "last.ckpt"
        held = torch.load(checkpoint, weights_only=True)
        held["jepa_scale"]["world"]["_target_"] = target
        torch.save(held, checkpoint)


def read_plan_of(study):
    content = json.loads((study / "plan.json").read_text())
    content["study"] = ""
    from jepa_scale.studies.manifest import _point

    return [_point(row, content["bases"], looking=False) for row in content["runs"]]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("command", [*READERS, "study", "sweep", "evaluate", "finetune", "train"])
def test_a_target_of_a_file_is_not_run(study, call, stranger, target, command):
    poisoned(study, target)
    first = runs(study)[0]
    arguments = {
        "study": ("study", study / "study.yaml", "--folder", study),
        "sweep": ("sweep", study / "study.yaml", "launcher=slurm", "--dry-run"),
        "evaluate": ("evaluate", first),
        "finetune": ("finetune", first),
        "train": ("train", f"world._target_={target}"),
    }
    said = call(*arguments.get(command, (command, study)))
    assert not stranger.exists()
    if command not in READERS:
        assert said.refused()
        assert target in said.err


def test_what_the_user_allows_is_run(call, stranger, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEPA_SCALE_ALLOW", "")
    said = call("train", "world._target_=stranger.World", "--allow", "stranger")
    assert said.code != 0, "a number is no world"
    assert stranger.exists()


def test_what_the_standard_library_has_is_never_run(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEPA_SCALE_ALLOW", "os,subprocess")
    said = call("train", "world._target_=os.system", "--allow", "os")
    assert said.refused()
    assert "'os', which is never one" in said.err


def test_an_environment_of_a_file_imports_no_package(call, stranger, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = call("train", "world=gymnasium", "planner=none", "world.environment=stranger:Env-v0")
    assert said.refused()
    assert "add --allow stranger" in said.err
    assert not stranger.exists()


class _Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("command", ["study", "evaluate", "finetune"])
def test_a_pickle_in_a_checkpoint_is_not_run(study, call, tmp_path, command):
    first = runs(study)[0]
    (first / "record.json").unlink()
    checkpoint = first / "checkpoints" / "last.ckpt"
    torch.save({**torch.load(checkpoint, weights_only=True), "more": _Bomb(tmp_path / "mark")}, checkpoint)
    kept = checkpoint.read_bytes()
    arguments = {"study": ("study", study / "study.yaml", "workers=1", "--folder", study)}
    said = call(*arguments.get(command, (command, first)))
    assert said.code != 0
    assert "tensors and plain values" in said.err
    assert not (tmp_path / "mark").exists()
    assert checkpoint.read_bytes() == kept


@pytest.mark.parametrize(
    "place", ["figures", "arms", "errors", "runs/RUN/checkpoints", "runs/RUN/wandb", "lock", "reap.lock"]
)
@pytest.mark.parametrize("command", ["report", "collect", "study", "status"])
def test_nothing_is_written_through_a_link(study, call, tmp_path, place, command):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine")
    link = study / place.replace("RUN", runs(study)[0].name)
    if link.is_dir():
        shutil.rmtree(link)
    else:
        link.unlink(missing_ok=True)
    target = outside / "kept" if "lock" in place else outside
    link.symlink_to(target)
    arguments = {"study": ("study", study / "study.yaml", "workers=1", "--folder", study)}
    said = call(*arguments.get(command, (command, study)))
    assert said.refused()
    assert "is a symbolic link to" in said.err
    assert [item.name for item in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "mine"


def test_links_inside_a_study_and_to_a_whole_study_are_followed(study, call, tmp_path):
    (study / "same").symlink_to(study / "runs")
    (tmp_path / "linked").symlink_to(study)
    assert call("collect", tmp_path / "linked").code == 0


STEERING = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e"


@pytest.mark.parametrize("command", [*READERS, "study"])
def test_texts_of_strangers_do_not_steer_the_terminal(study, call, command):
    spec = yaml.safe_load((study / "study.yaml").read_text())
    spec["question"] = f"Why{STEERING}?"
    (study / "study.yaml").write_text(yaml.safe_dump(spec))
    first = runs(study)[0]
    record = json.loads((first / "record.json").read_text())
    record |= {"status": "diverged", "reason": f"lost{STEERING}"}
    (first / "record.json").write_text(json.dumps(record))
    (study / "errors").mkdir(exist_ok=True)
    last = runs(study)[1]
    (last / "record.json").unlink()
    (study / "errors" / f"{last.name}.txt").write_text(f"ValueError: {STEERING}")
    arguments = {"study": ("study", study / "study.yaml", "workers=1", "--folder", study)}
    said = call(*arguments.get(command, (command, study)))
    shown = said.out + said.err
    if (study / "report.html").exists() and command in ("report", "study"):
        shown += (study / "report.html").read_text(encoding="utf-8")
    assert not [letter for letter in shown if clean(letter) != letter]
    if command in ("report", "study"):
        assert "\\x1b" in shown


def test_a_study_file_alone_opens_no_pickled_recording(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pickle").write_bytes(b"x")
    said = call("train", "world=recorded", "planner=none", "world.path=a.pickle", "world.allow_pickle=true")
    assert said.refused()
    assert "expected --allow pickle" in said.err


def test_a_plan_leads_to_no_other_folder(study, call):
    text = (study / "plan.json").read_text()
    (study / "plan.json").write_text(text.replace(runs(study)[0].name, "../../elsewhere"))
    for command in READERS:
        said = call(command, study)
        assert said.refused()
        assert "plan.json is damaged" in said.err


@pytest.mark.parametrize("option", ["--output=/a\n#SBATCH --exec=x/log", "--output=/a\x00", "--comment=\x7f"])
def test_options_of_sbatch_with_control_characters_are_refused(option):
    with pytest.raises(UserError, match="without control characters"):
        quoted(option)


def test_values_of_sbatch_are_quoted():
    assert quoted("--output=/a/b_%A.log") == "--output=/a/b_%A.log"
    assert quoted("--output=/a b/'c\"") == '--output="/a b/\'c\\""'


def test_interpolations_of_a_file_are_not_resolved(monkeypatch):
    monkeypatch.setenv("SECRET", base64.b64encode(b"secret").decode())
    with pytest.raises(UserError) as refused:
        compose(["planner.score='${oc.env:SECRET}'"])
    assert os.environ["SECRET"] not in str(refused.value)


def test_workers_import_what_their_parent_imports(study, tmp_path):
    """A file called like a library, and a folder called like this package, lie where the command is called."""
    (tmp_path / "optuna.py").write_text("raise SystemExit('the wrong library')\n")
    (tmp_path / "jepa_scale").mkdir()
    (tmp_path / "jepa_scale" / "__init__.py").write_text("raise SystemExit('the wrong copy')\n")
    for run in runs(study)[:2]:
        (run / "record.json").unlink()
    program = Path(sys.executable).with_name("jepa-scale")
    done = subprocess.run(
        [program, "study", study / "study.yaml", "workers=2", "--folder", study],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "wrong" not in done.stdout + done.stderr
    assert all((run / "record.json").exists() for run in runs(study))


def package(folder, width, factor=1.0):
    """A foreign encoder whose default width and numbers are given."""
    (folder / "stranger.py").write_text(
        "import torch\n\n\nclass Encoder(torch.nn.Module):\n"
        f"    def __init__(self, observation_shape: tuple, k: int, width: int = {width}):\n"
        "        super().__init__()\n"
        "        self.layers = torch.nn.Sequential(torch.nn.Linear(observation_shape[0], width), "
        "torch.nn.Linear(width, k))\n\n"
        f"    def forward(self, rows):\n        return {factor} * self.layers(rows)\n"
    )


TRAIN = (
    "train", "world=lowrank", "logger=none", "trainer.epochs=1", "trainer.steps_per_epoch=5", "data.n=300",
    "data.heldout=1600", "data.test=1600", "data.batch_size=64", "model.k=2", "model.hidden=16",
)  # fmt: skip


def in_a_process(folder, *arguments):
    """In one of its own, as a module is imported once in a process."""
    return subprocess.run(
        [sys.executable, "-m", "jepa_scale", *map(str, arguments), "--allow", "stranger"],
        cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip


def test_changed_code_is_another_run_or_is_refused(tmp_path):
    package(tmp_path, 8)
    encoder = ["encoder={_target_: stranger.Encoder}"]
    first = in_a_process(tmp_path, *TRAIN, *encoder, "--folder", "run")
    assert first.returncode == 0, first.stderr
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["encoder"]["width"] == 8
    package(tmp_path, 8, 100.0)
    changed = in_a_process(tmp_path, *TRAIN, *encoder, "--folder", "run")
    assert changed.returncode == 2
    assert "was computed by other code: stranger" in changed.stderr
    assert in_a_process(tmp_path, *TRAIN, *encoder, "--folder", "run", "--accept-mixed").returncode == 0
    package(tmp_path, 64)
    another = in_a_process(tmp_path, *TRAIN, *encoder, "--folder", "run")
    assert another.returncode == 2
    assert "belongs to run" in another.stderr


def test_a_study_does_not_mix_programs(study, call, tmp_path):
    """Half of its records are of another version of this package; a run that lacks is not added without a word."""
    for run in runs(study)[:2]:
        record = json.loads((run / "record.json").read_text())
        record["config"]["code"]["jepa_scale"] |= {"version": "0.0.1", "source": "another"}
        (run / "record.json").write_text(json.dumps(record))
    (runs(study)[2] / "record.json").unlink()
    said = call("report", study)
    assert "were computed by different code" in " ".join(said.out.split())
    arguments = ("study", study / "study.yaml", "workers=1", "--folder", study)
    refused = call(*arguments)
    assert refused.refused()
    assert "2 of 3 runs of this study were computed by other code: jepa_scale 0.0.1" in refused.err
    accepted = call(*arguments, "--accept-mixed")
    assert accepted.code == 0
    assert "were computed by different code" in " ".join(accepted.out.split())


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_trouble_in_reading_leaves_a_checkpoint_as_it_is(study, call, monkeypatch, error):
    from jepa_scale.runs import checkpoint

    first = runs(study)[0]
    config = RunFolder(first).read_config()
    file = first / "checkpoints" / "last.ckpt"
    kept = file.read_bytes()

    def fails(*arguments, **options):
        raise error

    monkeypatch.setattr(checkpoint.torch, "load", fails)
    with pytest.raises(type(error)):
        checkpoint.steps_in(file, config)
    assert file.read_bytes() == kept
    assert run_id(config) == first.name


def test_a_damaged_checkpoint_is_put_aside(study):
    from jepa_scale.runs import checkpoint

    first = runs(study)[0]
    config = RunFolder(first).read_config()
    file = first / "checkpoints" / "last.ckpt"
    whole = file.read_bytes()
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2] ^= 255
    for content in (whole[: len(whole) // 2], bytes(spoilt), b""):
        file.write_bytes(content)
        with pytest.warns(UserWarning, match="is damaged"):
            assert checkpoint.steps_in(file, config) is None
        (aside,) = file.parent.glob("last.ckpt.damaged-*")
        assert aside.read_bytes() == content
        aside.unlink()

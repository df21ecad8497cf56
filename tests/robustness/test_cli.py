"""Mistakes on the command line: each ends with a message and an exit code, and leaves nothing behind."""

import os
import random
import re
import signal
import warnings

import numpy as np
import pytest
import yaml

from jepa_scale.cli.app import main
from jepa_scale.runs.config import compose
from jepa_scale.runs.limits import leaves
from tests.robustness.conftest import ALL_CASES
from tests.robustness.mistakes import COMMANDS, DRY, STUDY, STUDY_FILES

COLLECTED = ("budget.json", "fit.json", "table.parquet")
"""What every look at a study's runs may write into its folder."""


def named(arguments):
    """Arguments with the numbers of study files replaced by what is wrong in them."""
    labels = list(STUDY_FILES)
    return [
        labels[int(found[1])] if (found := re.fullmatch(r"\{studies\}/(\d+)\.yaml", text)) else text
        for text in arguments
    ]


def attempts():
    """A command and its arguments: one of eight, or all."""
    for command, cases in COMMANDS.items():
        for index, arguments in enumerate(cases):
            if index % 8 and not ALL_CASES:
                continue
            labels = named(arguments)
            marks = [pytest.mark.slow] if index % 8 else []
            shown = re.sub(r"[^ -~]", "?", " ".join(labels))[:70]
            yield pytest.param(command, arguments, marks=marks, id=f"{command}-{index}-{shown}")


def test_every_command_is_tried_often():
    assert min(map(len, COMMANDS.values())) >= 30


@pytest.mark.parametrize(("command", "arguments"), list(attempts()))
def test_a_mistake_ends_with_a_message_and_leaves_nothing(command, arguments, names, tmp_path, capsys):
    before = listing(names["empty"].parent)
    code, errors = tried([command, *(filled(text, names) for text in arguments)], capsys)
    assert code not in (0, None)
    assert_told(errors)
    assert not list(tmp_path.iterdir())
    assert listing(names["empty"].parent) == before


FLOATS = ("nan", "inf", "-inf", "-1.0", "0.0", "1e12", "1e-320", "1e308", "0.5")
OTHERS = (
    "-1", "0", "1", "1000000000000", "99999999999999999999", "-99999999999999999999", "true", "null", "[]", "[1,2]",
    "{}", "{a: 1}", "abc", "''", "ü", "None", "os.system", "0x10", "1_000",
)  # fmt: skip
GROUPS = (
    [], ["world=torus"], ["world=persistence"], ["world=point_mass", "planner=cem"],
    ["world=two_rooms", "planner=mppi", "encoder=cnn"], ["world=distractors", "planner=icem"],
    ["predictor=transformer"], ["predictor=gru", "objective=sigreg"], ["objective=vicreg_inverse"], ["finetune=value"],
    ["world=point_mass", "planner=gradient", "finetune=amortised"], ["objective=input_level", "finetune=longer"],
    ["planner=categorical_cem", "predictor=bilinear"],
)  # fmt: skip


@pytest.mark.parametrize("draws", [40, pytest.param(1500 if ALL_CASES else 150, marks=pytest.mark.slow)])
def test_any_value_of_any_key_is_planned_or_refused_in_a_line(draws, names, tmp_path, capsys):
    drawn = random.Random(0)
    keys = {tuple(group): list(leaves(compose(group))) for group in GROUPS}
    spec = {**STUDY, "overrides": [text for text in STUDY["overrides"] if not text.startswith("world=")]}
    written = names["folder"].parent / "any.yaml"
    written.write_text(yaml.safe_dump(spec))
    for _ in range(draws):
        group = drawn.choice(list(keys))
        key, value = drawn.choice(keys[group])
        # The types of worlds are checked in tests, where a whole number is no float.
        text = f"{key}={drawn.choice(FLOATS if isinstance(value, float) else (*FLOATS, *OTHERS))}"
        code, errors = tried(["sweep", str(written), *DRY, *group, text], capsys)
        if code:
            assert_told(errors)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train", ["logger=none", "--folder"]), ("study", ["{spec}", "--folder"]), ("theory", ["--trials", "1",
        "--folder"]),
        ("fit", ["{table}", "--folder"]), ("audit", ["{embeddings}", "--folder"]), ("data", ["{episodes}", "--to"]),
    ],
)  # fmt: skip
def test_a_folder_without_permission_is_said(command, arguments, names, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    code, errors = tried([command, *(filled(text, names) for text in arguments), "locked/x.h5"], capsys)
    assert code not in (0, None)
    assert_told(errors)


def tried(arguments, capsys):
    """Exit code and errors of a command, which must end with a code."""
    capsys.readouterr()
    code = attempt(arguments)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    return code, shown.err


def attempt(arguments):
    """Exit code of a command, which must end with one."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def assert_told(errors):
    """A mistake is told in a line, after argparse's own usage where it is one of options."""
    lines = errors.strip().splitlines()
    assert lines
    if lines[0].startswith("usage: "):
        assert re.match(r"jepa-scale( \w+)?: error: .", lines[-1])
    else:
        assert len(lines) == 1
        assert re.match("jepa-scale: error: .", lines[0])
    assert len(lines[-1]) < 6000


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Names of good and bad files."""
    return material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def alone(tmp_path, home, monkeypatch):
    """A working directory and a home of its own, nobody logged in, and signals as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    held = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for kind, handler in held.items():
        signal.signal(kind, handler)


def filled(text, names):
    """An argument with the names of good and bad files put in."""
    return re.sub(r"\{(\w+)\}", lambda found: str(names.get(found[1], found[0])), text)


def listing(folder):
    """What lies in a folder: names and sizes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in COLLECTED)
    return sorted((str(path.relative_to(folder)), path.stat().st_size) for path in files)


def material(folder):
    """Good and bad files, by the names that attempts use."""
    generator = np.random.default_rng(0)
    names = {
        name: folder / name for name in ("missing", "folder", "garbage", "empty", "number", "list", "studies", "run")
    }
    names["folder"].mkdir()
    names["studies"].mkdir()
    for suffix in ("yaml", "csv", "parquet", "npz", "h5", "json", "ckpt", "pt"):
        (folder / f"garbage.{suffix}").write_bytes(generator.bytes(300))
        (folder / f"empty.{suffix}").write_bytes(b"")
    (folder / "number.json").write_text("3")
    (folder / "list.json").write_text("[1, 2]")
    for index, content in enumerate(STUDY_FILES.values()):
        (folder / "studies" / f"{index}.yaml").write_text(content)
    names["spec"] = folder / "tiny.yaml"
    names["spec"].write_text(yaml.safe_dump(STUDY))
    return names | _tables(folder, generator) | _arrays(folder, generator) | _studies(folder, names)


def _tables(folder, generator):
    rows = [f"{n},{d},{2 + 400 / n**0.5 + 300 / d**0.5},a" for n in (100, 1000, 10000) for d in (100, 1000, 10000)]
    (folder / "table.csv").write_text("\n".join(["N,D,loss,text", *rows]))
    (folder / "table.csv.txt").write_text("N,D,loss\n1,2,3\n")
    cells = [(n, k, s) for n in (300, 1000, 3000) for k in (2, 4, 8) for s in (0, 1)]
    noise = generator.normal(size=len(cells))
    runs = [f"{n},{k},{s},{0.1 + 1 / k + 5 / n**0.5 + 0.01 * e}" for (n, k, s), e in zip(cells, noise, strict=True)]
    (folder / "runs.csv").write_text("\n".join(["n,k,seed,regret", *runs]))
    return {"table": folder / "table.csv", "runs_table": folder / "runs.csv"}


def _arrays(folder, generator):
    z = generator.normal(size=(400, 4))
    nans = np.where(z > 2, np.nan, z)
    np.savez(
        folder / "embeddings.npz", z=z, z_next=0.7 * z + generator.normal(size=z.shape), scalar=np.array(3.0),
        nans=nans,
        trajectory=np.arange(400) // 10, text=np.array(["a"] * 400), short=z[:7], negative=-np.abs(z[:, 0]),
    )  # fmt: skip
    states = np.cumsum(generator.normal(size=(20, 11, 2)), axis=1)
    ends = np.arange(220) % 11 == 10
    np.savez(
        folder / "episodes.npz", observations=states.reshape(-1, 2).astype(np.float32), terminals=ends,
        actions=np.concatenate([np.diff(states, axis=1), np.zeros((20, 1, 2))], axis=1).reshape(-1,
        2).astype(np.float32),
    )  # fmt: skip
    return {"embeddings": folder / "embeddings.npz", "episodes": folder / "episodes.npz"}


def _studies(folder, names):
    """A run, a study with its runs, one without, and one whose file is damaged."""
    quick = [text for text in STUDY["overrides"] if not text.startswith("world=")]
    attempt(["train", *quick, "data.n=300", "model.k=2", "--folder", str(names["run"])])
    attempt(["study", str(names["spec"]), "workers=1", "--folder", str(folder / "study")])
    for name, content in (("planned", yaml.safe_dump(STUDY)), ("broken_study", "name: [")):
        (folder / name).mkdir()
        (folder / name / "study.yaml").write_text(content)
    return {name: folder / name for name in ("study", "planned", "broken_study")}

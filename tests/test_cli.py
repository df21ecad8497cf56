import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jepa_scale.cli import commands
from jepa_scale.cli.app import main

HEAVY = ("torch", "lightning", "optuna", "hydra", "wandb", "matplotlib", "scipy", "numpy", "rich")


def test_help_imports_nothing_heavy():
    script = (
        "import sys\n"
        "from jepa_scale.cli.app import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "jepa-scale study" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "model.widht=3"], "unknown key 'model.widht'"),
        (["train", "model.k=0"], "model.k: expected a whole number ≥ 1"),
        (["train", "data.n=10"], "data.n=10 is below data.batch_size"),
        (["train", "world.hidden.slip=2.0", "logger=none"], "world.hidden: expected a probability in [0, 1], got slip"),
        (["study", "nope.yaml"], "no study file 'nope.yaml'"),
        (["study", "quikstart"], "no study file 'quikstart': did you mean quickstart?"),
        (["studdy"], "no command 'studdy': did you mean study or status? jepa-scale --help lists all"),
        (["xyz", "--n", "3"], "no command 'xyz': jepa-scale --help lists all"),
        (["study", "quickstart", "model.k=3"], "model.k is a dial of study quickstart"),
        (["study", "quickstart", "optimizer.rl=3"], "did you mean 'optimizer.lr'"),
        (["report", "nowhere"], "nowhere is not a study folder"),
        (["theory", "--trials", "0"], "expected at least one trial and one worker and a seed ≥ 0, got --trials 0"),
        (["theory", "--workers", "0"], "--workers 0"),
        (["theory", "--seed", "-1"], "--seed -1"),
        (["theory", "world=nope"], "world"),
        (["theory", "world=torus", "planner.horizon=30"], "choose a shorter horizon or a smaller world"),
        (["theory", "world=torus", "planner.horizon=2000"], "choose a shorter horizon or a smaller world"),
        (["theory", "world=torus", "planner.score=inner"], "planner.score=density"),
        (["theory", "--replay", "nowhere.json"], "nowhere.json"),
        (["theory", "--replay", "."], "expected a file that `theory` wrote"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith("jepa-scale: error: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.rglob("record.json"))


def test_the_command_alone_shows_the_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    alone = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert alone == capsys.readouterr().out


def test_usage_and_errors_of_a_command_name_it(capsys):
    with pytest.raises(SystemExit):
        main(["advise", "runs.csv", "--n", "x"])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("usage: jepa-scale advise [-h]")
    assert lines[-1].startswith("jepa-scale advise: error: argument --n")


def test_help_lists_every_command_once_under_a_heading(capsys):
    with pytest.raises(SystemExit):
        main([])
    listed, _, _ = capsys.readouterr().out.partition("\noptions:")
    names = sorted(info.name for info in pkgutil.iter_modules(commands.__path__))
    found = [line.split()[0] for line in listed.splitlines() if line.startswith("  ")]
    assert sorted(found) == names
    headings = [line.rstrip(":") for line in listed.splitlines() if line.endswith(":")]
    assert headings == [heading for heading in commands.GROUPS.values() if heading in headings]
    assert len(headings) >= 5
    assert not [line for line in listed.splitlines() if len(line) > 120]


def test_train_prints_every_epoch_and_the_last_estimates(tiny_overrides, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", "-v", *tiny_overrides])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for part in ("epoch 1/2", "epoch 2/2", "spectrum/risk", "regret/density", "B1′", "vacuous"):
        assert part in shown
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 1


def test_show_prints_a_configuration_and_trains_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--show", "world=torus"])
    assert ended.value.code == 0
    assert "Torus" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_theory_prints_the_table_writes_the_page_and_replays(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--trials", "8", "--workers", "1", "world=torus", "world.side=3", "-v"]
    with pytest.raises(SystemExit) as ended:
        main(["theory", *arguments])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for part in ("640 trials", "T4 as published FAILS", "Spectral tails", "Your world (N = 9", "theory/report.html"):
        assert part in " ".join(shown.split())
    assert (tmp_path / "theory" / "figures" / "tightness.png").stat().st_size > 10_000
    (line,) = [line for line in shown.splitlines() if line.startswith("counterexample t4_published: ")]
    (following,) = [line for line in shown.splitlines() if line.startswith("next: jepa-scale theory --replay ")]
    assert Path(following.split()[-1]).is_file()
    with pytest.raises(SystemExit) as ended:
        main(["theory", "--replay", line.split()[-1]])
    assert ended.value.code == 0
    assert "Every hypothesis holds and the claim does not: a counterexample." in capsys.readouterr().out


def test_theory_on_a_folder_that_is_a_file_leaves_it_alone(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theory").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["theory", "--trials", "1", "--workers", "1"])
    assert ended.value.code == 2
    assert "theory is a file" in capsys.readouterr().err
    assert (tmp_path / "theory").read_text() == "mine"


def test_audit_of_a_file(capsys, tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    z = generator.normal(size=(3000, 3))
    arrays = {"latents": z, "z_next": 0.7 * z + generator.normal(size=z.shape), "trajectory": np.arange(3000) // 10}
    np.savez(tmp_path / "e.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["audit", "e.npz", "-v", "--columns", "z=latents", "--dictionary", "0"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "T = Σ s_i²" in shown
    assert "No reference dictionary: it was switched off" in shown
    assert (tmp_path / "audits/e/report.html").is_file()
    assert (tmp_path / "audits/e/audit.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.npz"], "missing.npz"),
        (["e.npz", "--columns", "latents"], "--columns: expected NAME=VALUE, such as z=latents"),
        (["e.npz"], "--columns z=NAME"),
        (["e.npz", "--columns", "z=latents", "--level", "2"], "level between 0 and 1"),
        (["e.npz", "--columns", "z=latents", "--fit", "none.json"], "none.json"),
    ],
)
def test_audit_mistakes_end_with_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    np.savez(tmp_path / "e.npz", latents=np.random.default_rng(0).normal(size=(100, 3)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["audit", *arguments])
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert shown.err.startswith("jepa-scale: error:")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "audits").exists()

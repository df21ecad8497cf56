import subprocess
import sys

import pytest

from jepa_scale.cli import main

HEAVY = ("torch", "lightning", "optuna", "hydra", "wandb", "matplotlib", "scipy", "numpy", "rich")


def test_help_imports_nothing_heavy():
    script = (
        "import sys\n"
        "from jepa_scale.cli import main\n"
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
        (["train", "world.hidden.slip=2.0", "logger=none"], "world: expected a probability in [0, 1], got slip=2.0"),
        (["study", "nope.yaml"], "no study file 'nope.yaml'"),
        (["study", "quickstart", "model.k=3"], "model.k is a dial of study quickstart"),
        (["study", "quickstart", "optimizer.rl=3"], "did you mean 'optimizer.lr'"),
        (["report", "nowhere"], "nowhere is not a study folder"),
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


def test_train_prints_every_epoch_and_the_last_estimates(tiny_overrides, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", *tiny_overrides])
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

"""`rank` as a user runs it."""

import numpy as np
import pytest

from jepa_scale.cli.app import main


def run(arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture
def pool(tmp_path):
    generator = np.random.default_rng(0)
    rows = ["run,step,rankme,lidar,loss,success,note"]
    for index in range(14):
        level = generator.normal()
        for step in range(5):
            success = 1 / (1 + np.exp(-level - step / 3))
            lidar = 10 + 5 * success + 0.1 * generator.normal()
            rows.append(f"r{index},{1000 * step},{level + 9:.3f},{lidar:.3f},{generator.normal():.3f},{success:.4f},x")
    path = tmp_path / "pool.csv"
    path.write_text("\n".join(rows))
    return path


def test_the_best_diagnostic_is_named(pool, capsys):
    assert run(["rank", pool, "--target", "success", "--cluster", "run", "--draws", 200]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "lidar goes with success most: success rises with it" in shown
    assert "rankme: less than half of that inside a run" in shown
    assert "note" not in shown


def test_rows_without_clusters_are_said(pool, capsys):
    assert run(["rank", pool, "--target", "success", "--diagnostics", "loss", "--draws", 100]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "No diagnostic tells success" in shown
    assert "name the run with --cluster" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "sucess"], "has no column 'sucess'"),
        (["--target", "success", "--cluster", "runs"], "has no column 'runs'"),
        (["--target", "success", "--diagnostics", "note"], "column note"),
        (["--target", "success", "--draws", "5"], "--draws"),
        (["--target", "success", "--level", "2"], "expected a level inside"),
    ],
)
def test_mistakes_are_told(pool, arguments, message, capsys):
    assert run(["rank", pool, *arguments]) == 2
    assert message in capsys.readouterr().err

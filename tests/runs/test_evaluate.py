"""Checkpoints tried again: the same numbers for the same question, and refusals of questions that make no sense."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from jepa_scale.cli.app import main
from jepa_scale.data.module import RunData
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.evaluate import difference, evaluate
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.run import run

COMMON = ["model.k=4", "model.hidden=16", "data.n=300", "data.heldout=700", "data.test=700", "data.batch_size=32",
          "trainer.epochs=1", "trainer.steps_per_epoch=20", "optimizer.base_k=null", "logger=none"]  # fmt: skip
MASS = [*COMMON, "world=point_mass", "world.noise_std=0.2", "planner=cem", "planner.candidates=16", "planner.elites=4",
        "evaluation.episodes=6", "evaluation.required_steps=[1, 5]", "predictor=gru", "objective=latent",
        "model.normalise=true", "data.horizon=3"]  # fmt: skip
TORUS = [*COMMON, "world=torus", "world.side=3"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for name, overrides in {"mass": MASS, "other": [*MASS, "seed=1"], "torus": TORUS}.items():
        run(compose(overrides), folder / name)
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A walk x' = x + a of two coordinates, standardised by statistics that a checkpoint holds."""
    folder, generator = tmp_path_factory.mktemp("recorded"), np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (120, 21, 2)).astype(np.float32)
    moved = np.concatenate([np.zeros((120, 1, 2)), np.cumsum(actions[:, :-1], axis=1)], axis=1)
    terminals = np.zeros((120, 21), dtype=bool)
    terminals[:, -1] = True
    np.savez(
        folder / "walk.npz",
        observations=(5 + moved).reshape(-1, 2).astype(np.float32),
        actions=actions.reshape(-1, 2),
        terminals=terminals.reshape(-1),
    )
    overrides = [*COMMON, "world=recorded", f"world.path={folder / 'walk.npz'}", "planner=none", "objective=latent"]
    run(compose(overrides), folder / "run")
    return folder / "run"


def test_the_run_itself_said_the_same(runs):
    """From the checkpoint alone come the numbers that training logged in its last epoch."""
    for name in ("mass", "torus"):
        (found,) = evaluate([runs / name])
        record = RunFolder(runs / name).read_record()
        rows = {row.name: row for row in found.record.estimates if row.value is not None}
        shared = [key for key in rows if key in record.final]
        assert len(shared) == len(rows)
        assert any(key.startswith("regret/") for key in shared)
        assert any(key.startswith("prediction/") for key in shared)
        for key in shared:
            assert rows[key].value == pytest.approx(record.final[key], rel=1e-12), key
            assert rows[key].n == record.final_n[key]
        assert found.record.protocol == record.protocol
        assert found.record.run_id == record.run_id


def test_the_same_evaluation_is_the_same_file(runs):
    (first,) = evaluate([runs / "mass"], ["evaluation.episodes=3"])
    written = first.path.read_bytes()
    assert first.path.parent == runs / "mass" / "evaluations"
    (again,) = evaluate([runs / "mass" / "checkpoints" / "last.ckpt"], ["evaluation.episodes=3"])
    assert again.path == first.path
    assert again.path.read_bytes() == written
    (other,) = evaluate([runs / "mass"], ["evaluation.episodes=4"])
    assert other.path != first.path
    content = json.loads(written)
    outcome = content["outcomes"]["model"]
    assert outcome["numbers"] == [3, 4, 5], "goals one step away are removed, and the others keep their numbers"
    assert len(outcome["ever"]) == len(outcome["final"]) == len(outcome["first"]) == 3
    assert content["required_steps"] == [1, 1, 1, 5, 5, 5]
    assert content["protocol"]["removed"] == {"1": 3, "5": 0}
    assert len(content["checkpoint"]) == 64
    assert content["versions"]["torch"] == torch.__version__


def test_training_data_are_not_drawn(runs, monkeypatch):
    def never(*given, **settings):
        raise AssertionError("an evaluation needs no training data")

    monkeypatch.setattr(RunData, "__init__", never)
    evaluate([runs / "mass"], ["planner=none"])
    evaluate([runs / "torus"])


def test_two_models_are_compared_task_by_task(runs):
    one, other = evaluate([runs / "mass", runs / "other"], ["evaluation.episodes=20"])
    found = difference(other.record, one.record, "any_time")
    ours, theirs = (np.array(row.record.outcomes["model"].ever, dtype=float) for row in (other, one))
    assert one.record.outcomes["oracle"] == other.record.outcomes["oracle"]
    assert found.value == pytest.approx(ours.mean() - theirs.mean())
    assert found.standard_error == pytest.approx(np.std(ours - theirs, ddof=1) / 20**0.5)
    assert (found.only_model, found.only_reference) == (((ours > theirs).sum()), (ours < theirs).sum())
    assert found.n == 20
    same = difference(one.record, one.record, "final")
    assert (same.value, same.standard_error, same.p) == (0.0, 0.0, 1.0)
    (stopped,) = evaluate([runs / "mass"], ["evaluation.stop_at_goal=true", "evaluation.episodes=2"])
    assert difference(stopped.record, stopped.record, "final") is None
    with pytest.raises(ValueError, match="by the same protocol"):
        difference(stopped.record, one.record, "any_time")


def test_the_world_may_change_and_the_model_may_not(runs):
    (quiet,) = evaluate([runs / "mass"], ["world.noise_std=0.0", "evaluation.episodes=2", "planner.horizon=2"])
    assert quiet.record.protocol["goal_noise"] == 0.0
    assert quiet.record.protocol["planner"]["horizon"] == 2
    assert quiet.record.settings["world"]["noise_std"] == 0.0


def test_recorded_data_have_prediction_errors_only(recorded):
    (found,) = evaluate([recorded])
    assert {row.name.split("/")[0] for row in found.record.estimates} == {"prediction", "observed", "hindsight"}
    assert found.record.protocol == {"kind": "none"}
    with pytest.raises(UserError, match="as other episodes were trained on"):
        evaluate([recorded], ["data.heldout=800"])


def damaged(folder: Path, into: Path, change) -> str:
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    change(content["state_dict"])
    torch.save(content, into)
    return str(into)


def test_a_checkpoint_without_its_statistics_is_refused(recorded, tmp_path):
    def forget(state):
        del state["encoder.scale.mean"]

    with pytest.raises(UserError, match=r"expected the statistics that normalise its inputs, found no encoder.scale"):
        evaluate([Path(damaged(recorded, tmp_path / "bare.ckpt", forget))])
    assert not (tmp_path / "evaluations").exists()


def test_a_model_that_diverged_is_refused(runs, tmp_path):
    def lose(state):
        for weight in state.values():
            weight.fill_(torch.nan)

    path = damaged(runs / "mass", tmp_path / "lost.ckpt", lose)
    with pytest.raises(UserError, match="this model has diverged"):
        evaluate([Path(path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mass", "evaluation.required_steps=[500]"], "expected goals inside the box, got required_steps=500"),
        (["mass", "evaluation.required_steps=[1]"], "expected tasks that do not start at their goal"),
        (["mass", "torus"], "mass and torus have different worlds: world._target_"),
        (["mass", "world=two_rooms"], "got another world: evaluate a checkpoint from that world"),
        (["mass", "world._target_=jepa_scale.worlds.two_rooms.TwoRooms"], "got another world"),
        (["mass", "world.nuisance_size=3"], "as this world and model have"),
        (["mass", "planner.horizon=0"], "planner: expected a horizon of at least one step"),
        (["mass", "model.k=8"], "the rest belongs to the model"),
        (["mass", "evaluation.succes=final"], "did you mean 'evaluation.success'?"),
        (["mass", "evaluation.success=final", "evaluation.stop_at_goal=true"], "expected success=any_time"),
        (["torus", "planner=cem"], "planner: expected planner=categorical_cem, exhaustive or spectral"),
        (["nowhere"], "nowhere: expected a checkpoint, or the folder of a run that has one, found none"),
        (["garbage.ckpt"], "garbage.ckpt cannot be read as a checkpoint"),
        (["planner.horizon=2"], "expected at least one run folder or .ckpt file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(arguments, message, runs, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    (runs / "garbage.ckpt").write_bytes(b"\x00garbage" * 50)
    before = set(runs.rglob("evaluations/*.json"))
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *arguments])
    errors = capsys.readouterr().err
    assert ended.value.code == 2
    assert errors.startswith("jepa-scale: error: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert set(runs.rglob("evaluations/*.json")) == before, "nothing is written"


def test_the_command_prints_rates_with_intervals_floors_and_differences(runs, tmp_path, capsys, monkeypatch):
    for name in ("mass", "other", "torus"):
        shutil.copytree(runs / name, tmp_path / name, ignore=shutil.ignore_patterns("evaluations"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "mass", "other", "-v", "evaluation.pairs=2"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for part in (
        "within 0.08 of it; episodes run on to the budget", "6 of 12 tasks removed because they start at their goal",
        "oracle       1.00 [0.61, 1.00]", "do nothing   0.00 [0.00, 0.39]", "Regret of success at any time",
        "oracle − model", "copy of the start", "other − mass, success at the end:", "exact McNemar p",
    ):  # fmt: skip
        assert part in shown, part
    assert len(list(tmp_path.glob("*/evaluations/*.json"))) == 2
    with pytest.raises(SystemExit):
        main(["evaluate", "-v", "torus"])
    shown = capsys.readouterr().out
    assert "Regret is exact over all starts and goals: plans of 1 step, goal law reachable" in shown
    assert "random plans (floor)" in shown

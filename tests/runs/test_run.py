import json

import pytest
import torch

from jepa_scale.callbacks.base import EpochCallback
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.run import run


def without_times(folder):
    record = json.loads((folder / "record.json").read_text())
    del record["times"]
    return record


def state(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]


@pytest.fixture
def config(tiny_overrides):
    return compose(tiny_overrides)


def test_the_same_configuration_gives_the_same_record(config, tmp_path):
    run(config, tmp_path / "one")
    run(config, tmp_path / "other")
    assert without_times(tmp_path / "one") == without_times(tmp_path / "other")
    assert (tmp_path / "one/metrics.jsonl").read_bytes() == (tmp_path / "other/metrics.jsonl").read_bytes()


def test_another_seed_gives_another_record(config, tiny_overrides, tmp_path):
    one = run(config, tmp_path / "one")
    other = run(compose([*tiny_overrides, "seed=1"]), tmp_path / "other")
    assert one.final["exact/risk"] != other.final["exact/risk"]
    assert one.data_checksum != other.data_checksum


def test_a_finished_run_is_not_trained_again(config, tmp_path, monkeypatch):
    first = run(config, tmp_path / "run")
    monkeypatch.setattr("jepa_scale.runs.run._train", lambda *_: pytest.fail("trained again"))
    assert run(config, tmp_path / "run") == first


class Killed(BaseException):
    """Not an Exception: nothing on the way may catch it, as nothing catches a kill."""


@pytest.mark.parametrize("moment", ["in the middle of an epoch", "between estimates and checkpoint"])
def test_an_interrupted_run_ends_as_if_it_had_not_been(moment, tiny_overrides, tmp_path, monkeypatch):
    config = compose([*tiny_overrides, "trainer.epochs=3"])
    run(config, tmp_path / "whole")

    from jepa_scale.callbacks.checkpoint import RunCheckpoint
    from jepa_scale.training.pretrain import Pretrain

    if moment == "in the middle of an epoch":
        original = Pretrain.training_step

        def step(self, batch, index):
            if self.trainer.global_step == 27:
                raise Killed
            return original(self, batch, index)

        monkeypatch.setattr(Pretrain, "training_step", step)
    else:
        saved = RunCheckpoint.on_train_epoch_end

        def save(self, trainer, module):
            if trainer.current_epoch == 1:
                raise Killed
            saved(self, trainer, module)

        monkeypatch.setattr(RunCheckpoint, "on_train_epoch_end", save)
    with pytest.raises(Killed):
        run(config, tmp_path / "broken")
    assert not (tmp_path / "broken/record.json").exists()
    monkeypatch.undo()
    run(config, tmp_path / "broken")
    assert without_times(tmp_path / "whole") == without_times(tmp_path / "broken")
    whole, broken = state(tmp_path / "whole"), state(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_a_run_killed_before_its_record_is_written_writes_it(config, tmp_path):
    run(config, tmp_path / "run")
    before = without_times(tmp_path / "run")
    (tmp_path / "run/record.json").unlink()
    run(config, tmp_path / "run")
    assert without_times(tmp_path / "run") == before


def test_a_torn_line_of_metrics_is_left_out(config, tmp_path):
    run(config, tmp_path / "run")
    before = RunFolder(tmp_path / "run").read_metrics()
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('[{"name": "spectrum/to')
    assert RunFolder(tmp_path / "run").read_metrics() == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run_id": "x"}', "null"])
def test_a_corrupted_record_is_named(config, tmp_path, content):
    run(config, tmp_path / "run")
    (tmp_path / "run/record.json").write_text(content)
    with pytest.raises(UserError, match=r"record\.json is corrupted .* delete it to run that run again"):
        run(config, tmp_path / "run")
    assert (tmp_path / "run/record.json").read_text() == content, "nothing of the user's is overwritten"


def test_a_record_of_another_configuration_is_corrupted(config, tmp_path):
    run(config, tmp_path / "run")
    record = json.loads((tmp_path / "run/record.json").read_text())
    record["config"]["seed"] = 5
    (tmp_path / "run/record.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="run_id does not match"):
        run(config, tmp_path / "run")


def test_a_folder_of_another_configuration_is_refused(config, tiny_overrides, tmp_path):
    run(config, tmp_path / "run")
    with pytest.raises(UserError, match=r"belongs to run .* choose another folder"):
        run(compose([*tiny_overrides, "seed=4"]), tmp_path / "run")


def test_a_folder_of_something_else_is_refused(config, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"not a run folder .*thesis\.tex"):
        run(config, tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_processes_do_not_share_a_run(config, tmp_path):
    with RunFolder(tmp_path / "run").locked(), pytest.raises(UserError, match="another process"):
        run(config, tmp_path / "run")


@pytest.mark.parametrize("cause", ["nan", "explosion"])
def test_a_lost_run_is_recorded_as_diverged(cause, tiny_overrides, tmp_path, monkeypatch):
    if cause == "nan":
        from jepa_scale.training.pretrain import Pretrain

        original = Pretrain.training_step
        monkeypatch.setattr(
            Pretrain, "training_step", lambda self, batch, index: original(self, batch, index) * float("nan")
        )
        config = compose(tiny_overrides)
    else:
        config = compose([*tiny_overrides, "trainer.divergence=0.001"])
    record = run(config, tmp_path / "run")
    assert record.status == "diverged"
    assert "training loss" in record.reason
    assert record.final == {}
    assert RunFolder(tmp_path / "run").read_record() == record
    assert "NaN" not in (tmp_path / "run/record.json").read_text()


def test_every_epoch_is_logged_with_its_uncertainty(config, tmp_path):
    record = run(config, tmp_path / "run")
    rows = RunFolder(tmp_path / "run").read_metrics()
    names = {row["name"] for row in rows}
    expected = {
        "train/loss", "spectrum/total", "spectrum/loss", "spectrum/gap", "spectrum/subspace_deficit",
        "spectrum/calibration_deficit", "spectrum/rankme_sv_uncentred", "spectrum/risk", "exact/risk",
        "spectrum/action_0/singular_values", "exact/action_4/singular_values", "bound/t4", "bound/t5",
        "bound/b1_prime", "bound/b1", "bound/b1_double_prime", "bound/b5", "bound/best",
        "regret/distance", "regret/inner", "regret/density", "regret/random", "regret/do_nothing",
        "test/risk",
    }  # fmt: skip
    assert expected <= names
    for name in expected - {"test/risk"}:
        assert {row["epoch"] for row in rows if row["name"] == name} == {0, 1}, name
    for row in rows:
        if row["name"].startswith(("spectrum/", "test/")):
            assert row["n"] > 0
            if row["value"] is None or row["name"].endswith("gap_cluster"):
                assert "gap" in row["name"]
            else:
                assert row["standard_error"] is not None
    assert record.final["regret/density"] <= record.truth["regret_random"] + 0.2


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
@pytest.mark.parametrize("world", ["torus", "lowrank", "nuisance", "persistence", "deterministic_grid"])
def test_logged_risk_agrees_with_the_exact_risk(world, negatives, tiny_overrides, tmp_path):
    overrides = [f"world={world}", f"objective.negatives={negatives}", "data.heldout=6000", "data.test=6000"]
    record = run(compose([*tiny_overrides, *overrides]), tmp_path / "run")
    for split in ("spectrum", "test"):
        off = record.final[f"{split}/risk"] - record.final["exact/risk"]
        # A t of 15 degrees of freedom beyond 5.2 has odds of 1e-4.
        assert abs(off) <= 5.2 * record.final_standard_errors[f"{split}/risk"]


@pytest.mark.parametrize("horizon", [1, 2])
@pytest.mark.parametrize("goal_law", ["uniform", "data", "reachable"])
def test_planning_problems_run(horizon, goal_law, tiny_overrides, tmp_path):
    overrides = ["world=torus", "world.side=3", f"planner.horizon={horizon}", f"planner.goal_law={goal_law}"]
    record = run(compose([*tiny_overrides, *overrides]), tmp_path / "run")
    applies = {bound["name"]: bound["applies"] for bound in record.bounds}
    by_plan = dict.fromkeys(("b1_double_prime", "b1", "b5"), True) if horizon == 1 else {}
    assert applies == {"t4": horizon == 1, "t5": False, "b1_prime": horizon == 1, **by_plan}
    assert 0 <= record.final["regret/density"] <= 1


def test_a_horizon_that_cannot_be_enumerated_is_refused(tiny_overrides):
    with pytest.raises(UserError, match=r"planner\.horizon: .* choose a shorter horizon"):
        build(compose([*tiny_overrides, "planner.horizon=7"]))


def test_a_width_beyond_the_number_of_observations(tiny_overrides, tmp_path):
    record = run(compose([*tiny_overrides, "world=torus", "world.side=2", "model.k=9"]), tmp_path / "run")
    assert "gap" not in record.truth, "there is no ninth singular value of a 4 × 4 matrix"
    assert record.truth["tail"] == 0


def test_callbacks_leave_the_training_alone(config, tiny_overrides, tmp_path):
    run(config, tmp_path / "with")
    run(compose([*tiny_overrides, "callbacks=none"]), tmp_path / "without")
    one, other = state(tmp_path / "with"), state(tmp_path / "without")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_epoch_callback_must_estimate_something(config):
    context = build(config).context
    with pytest.raises(NotImplementedError, match="EpochCallback must say"):
        EpochCallback(context).estimates(None, None)


def test_what_a_kill_in_the_first_write_leaves_is_no_stranger(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.config.yaml.k1ll3d").write_text("seed: ")
    assert run(config, tmp_path / "run").status == "finished"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=-1", r"optimizer: expected lr > 0"),
        ("world.hidden.slip=3.0", r"world\.hidden: expected a probability"),
        ("planner.horizon=20", r"planner\.horizon: .*shorter horizon"),
        ("trainer.accelerator=abacus", r"trainer: .*abacus"),
        ("trainer.precision=half-ish", r"trainer.precision: expected 32-true or bf16-mixed, got half-ish"),
    ],
)
def test_settings_that_a_part_refuses_leave_nothing_behind(override, message, tiny_overrides, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        run(compose([*tiny_overrides, override]), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_weights_that_the_last_step_wrecks_are_a_divergence(tiny_overrides, tmp_path):
    config = compose([*tiny_overrides, "optimizer.lr=1e30", "trainer.steps_per_epoch=1", "trainer.epochs=1"])
    record = run(config, tmp_path / "run")
    assert record.status == "diverged"
    assert "finite" in record.reason


def test_a_damaged_checkpoint_starts_the_run_over(config, tmp_path):
    run(config, tmp_path / "run")
    before = without_times(tmp_path / "run")
    (tmp_path / "run/record.json").unlink()
    (tmp_path / "run/checkpoints/last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.warns(UserWarning, match="starts over"):
        run(config, tmp_path / "run")
    assert without_times(tmp_path / "run") == before


def test_foreign_lines_among_the_metrics_are_left_out(config, tmp_path):
    run(config, tmp_path / "run")
    before = RunFolder(tmp_path / "run").read_metrics()
    with (tmp_path / "run/metrics.jsonl").open("ab") as file:
        file.write(b'5\n[3]\n{"a": 1}\n\xff\xfe\n')
    assert RunFolder(tmp_path / "run").read_metrics() == before


def test_a_configuration_that_is_not_text_is_named(config, tmp_path):
    run(config, tmp_path / "run")
    (tmp_path / "run/config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        run(config, tmp_path / "run")


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_fewer_held_out_samples_than_dimensions(negatives, tiny_overrides, tmp_path):
    overrides = ["model.k=200", f"objective.negatives={negatives}", "data.heldout=640", "data.test=640"]
    record = run(compose([*tiny_overrides, *overrides]), tmp_path / "run")
    rows = RunFolder(tmp_path / "run").read_metrics()
    assert record.status == "finished"
    assert all("n_too_small" in row["flag"] for row in rows if row["name"] == "spectrum/total")


@pytest.mark.parametrize("objective", ["spectral", "input_level", "sigreg"])
def test_every_network_is_drawn_from_the_runs_seed(tiny_overrides, objective):
    """Also those of an objective, whatever was drawn in the process before."""
    config = compose([*tiny_overrides, f"objective={objective}"])
    first = build(config).module.state_dict()
    torch.randn(7)
    for name, other in build(config).module.state_dict().items():
        if isinstance(other, torch.Tensor):
            torch.testing.assert_close(first[name], other, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder=cnn"], r"encoder: expected images"),
        (["world=point_mass", "planner=cem", "predictor=bilinear"], r"predictor: expected discrete actions"),
        (
            ["world=point_mass", "planner=cem", "objective.negatives=same_action"],
            r"objective: expected negatives=pooled",
        ),
        (["objective=vicreg", "objective.variance=-1.0"], r"objective: expected weights ≥ 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_written(tiny_overrides, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        run(compose([*tiny_overrides, *overrides]), tmp_path / "run")
    assert not (tmp_path / "run").exists()

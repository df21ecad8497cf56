"""Which runs end as diverged, and which do not."""

import json

import pytest

from jepa_scale.callbacks.divergence import DivergenceGuard
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.runs.run import run

OBJECTIVES = sorted(leaf.stem for leaf in (conf_dir() / "objective").glob("*.yaml"))
SMALL = ["logger=none", "callbacks=none", "data.n=600", "data.heldout=640", "data.test=640", "data.batch_size=64"]
POINT_MASS = ["world=point_mass", "planner=cem", "predictor=gru", "data.horizon=3"]


def guard_after(losses, sizes):
    guard = DivergenceGuard(1e4)
    for loss, size in zip(losses, sizes, strict=True):
        assert guard.lost(loss, loss, size, True, 1) == ""
    return guard


def test_growth_is_measured_from_the_first_looks():
    guard = guard_after([1.0, 2.0, 3.0], [0.5, 0.5, 0.5])
    assert guard.lost(19.9, 19.9, 49.0, True, 100) == ""
    assert guard.lost(20.1, 20.1, 1.0, True, 100) == "training loss 20.1 at step 100 is beyond 10 × 2 at the start"
    assert guard.lost(20.1, 20.1, 1.0, False, 100) == "", "a loss that has no floor has no scale"
    sentence = guard.lost(1.0, 1.0, 50.1, False, 125)
    assert sentence == "latents of root mean square 50.1 at step 125 are beyond 100 × 0.5 at the start"
    assert "not finite" in guard.lost(float("nan"), 1.0, 1.0, True, 125)
    assert "latents" in guard.lost(1.0, 1.0, float("nan"), True, 125)


def test_latents_that_start_small_may_grow_to_the_size_of_others():
    guard = guard_after([1.0] * 3, [0.001] * 3)
    assert guard.lost(1.0, 1.0, 9.9, True, 100) == ""
    assert "beyond 100 × 0.1" in guard.lost(1.0, 1.0, 10.1, True, 100)


def test_the_start_is_saved():
    guard = guard_after([1.0, 2.0], [0.5, 0.5])
    resumed = DivergenceGuard(1e4)
    resumed.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    for one in (guard, resumed):
        assert one.lost(3.0, 3.0, 0.5, True, 75) == ""
        assert "beyond 10 × 2 " in one.lost(21.0, 21.0, 0.5, True, 100)


def test_a_resumed_run_is_held_against_its_own_start(tmp_path, monkeypatch):
    """The checkpoint carries the start: a run whose loss had grown before it was killed does not get a new one."""
    seen = []
    lost = DivergenceGuard.lost

    def watch(guard, *values):
        seen.append((values[-1], list(guard.losses)))
        if values[-1] == 60:
            raise KeyboardInterrupt
        return lost(guard, *values)

    monkeypatch.setattr(DivergenceGuard, "lost", watch)
    config = compose([*SMALL, "model.k=4", "trainer.epochs=4", "trainer.steps_per_epoch=20"])
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run")
    start = seen[-1][1]
    assert [step for step, _ in seen] == [1, 20, 40, 60]
    seen.clear()
    monkeypatch.undo()
    monkeypatch.setattr(
        DivergenceGuard, "lost", lambda guard, *v: (seen.append((v[-1], list(guard.losses))), lost(guard, *v))[1]
    )
    run(config, tmp_path / "run")
    assert seen[0] == (60, start)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_literal_loss_runs_away_and_is_recorded(seed, tmp_path):
    """Latent prediction without normalised latents on the paper's world: nothing bounds latents from above."""
    overrides = ["objective=latent", *POINT_MASS, "predictor.residual=true", "model.k=4", "optimizer.lr=3e-2",
                 "optimizer.base_k=null", "trainer.epochs=2", f"seed={seed}"]  # fmt: skip
    record = run(compose([*SMALL, *overrides]), tmp_path / "run")
    assert record.status == "diverged"
    assert "at the start" in record.reason
    assert record.final == {}, "nothing of it enters an average"
    assert record.spectrum == {}
    assert json.loads((tmp_path / "run/record.json").read_text())["status"] == "diverged"


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("world", [[], POINT_MASS], ids=["nuisance", "point_mass"])
def test_ordinary_runs_are_not_stopped(objective, world, tmp_path):
    overrides = [f"objective={objective}", "model.k=8", "model.hidden=32", "trainer.epochs=1", "optimizer.lr=1e-3"]
    record = run(compose([*SMALL, *world, *overrides, "trainer.steps_per_epoch=100"]), tmp_path / "run")
    assert record.status == "finished", record.reason


WHOLE = {"nuisance": [], "point": POINT_MASS, "torus": ["world=torus", "model.k=32"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "objective"),
    # Every objective meets the point mass and one of the finite worlds; SIGReg on a torus takes minutes.
    [
        (world, name)
        for index, name in enumerate(OBJECTIVES)
        for world in ("point", ("nuisance", "torus")[index % 2])
        if (world, name) != ("torus", "sigreg")
    ],
)
def test_whole_runs_at_default_settings_are_not_stopped(world, objective, tmp_path):
    normalise = objective == "latent" and world == "point"
    overrides = [*WHOLE[world], f"objective={objective}", f"model.normalise={normalise}", "data.batch_size=256"]
    record = run(compose([*SMALL, *overrides]), tmp_path / "run")
    assert record.status == "finished", record.reason

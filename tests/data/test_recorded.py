"""A run on recorded episodes: its numbers are those of the world they were recorded in."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jepa_scale.data.external import flat_hdf5
from jepa_scale.data.recorded import Recorded, RecordedData
from jepa_scale.data.rows import MappedRows, is_mapped, open_rows
from jepa_scale.data.store import write_episodes
from jepa_scale.data.windows import as_episodes
from jepa_scale.runs.build import _world, build
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.run import run
from jepa_scale.worlds.point_mass import PointMass
from jepa_scale.worlds.two_rooms import TwoRooms

SETTINGS = [
    "logger=none", "trainer.epochs=2", "trainer.steps_per_epoch=60", "data.n=2000", "data.heldout=4000",
    "data.test=4000", "data.batch_size=128", "model.k=4", "model.hidden=32",
]  # fmt: skip
PLANNED = ("success", "regret/", "tasks/")
"""Names of what only a world that can be stepped has."""
WORLD = PointMass(nuisance_size=4, noise_size=2, noise_std=0.5)


def recording(world, count, length, seed=7):
    return as_episodes(world.sample(count, length, seed), world.action_space)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return write_episodes(recording(WORLD, 500, 25), tmp_path_factory.mktemp("recorded") / "point_mass.h5")


def on(path, *more):
    return compose([*SETTINGS, "world=recorded", f"world.path={path}", "objective=spectral", *more])


def test_a_recording_gives_the_numbers_of_its_world(stored, tmp_path):
    """Different trajectories of one law, and 60 steps of the same model: each within its errors, 16 groups each."""
    ours = run(on(stored, "world.normalise=false", "data.length=25"), tmp_path / "recorded")
    sampled = [
        "world=point_mass",
        "world.nuisance_size=4",
        "world.noise_size=2",
        "world.noise_std=0.5",
        "data.length=25",
    ]
    theirs = run(
        compose(
            [
                *SETTINGS,
                *sampled,
                "planner=cem",
                "planner.horizon=1",
                "evaluation.episodes=1",
                "evaluation.required_steps=[5]",
            ]
        ),
        tmp_path / "world",
    )
    estimated = {name for name in theirs.final if not name.startswith(PLANNED)}
    assert estimated <= set(ours.final)
    assert not [name for name in ours.final if name.startswith(PLANNED)]
    for name in ("spectrum/reference/total", "spectrum/reference/half_total", "spectrum/reference/tail"):
        error = np.hypot(ours.final_standard_errors[name], theirs.final_standard_errors[name])
        assert abs(ours.final[name] - theirs.final[name]) <= 4 * error, name
    # Trained from different data: their losses differ by more than errors of estimation.
    assert ours.final["spectrum/total"] == pytest.approx(theirs.final["spectrum/total"], rel=0.15)
    assert ours.final["spectrum/loss"] == pytest.approx(theirs.final["spectrum/loss"], rel=0.15)
    assert ours.final_n["spectrum/total"] == 4000
    assert (ours.dials["n"], ours.dials["episodes"]) == (2000, 80)


def test_the_same_run_twice_and_a_smaller_one(stored, tmp_path):
    first, again = (run(on(stored), tmp_path / name) for name in ("one", "other"))
    assert first.data_checksum == again.data_checksum
    assert first.final == again.final
    assert run(on(stored, "seed=1", "trainer.epochs=1"), tmp_path / "seed").data_checksum != first.data_checksum


def test_fewer_transitions_are_a_prefix(stored):
    world = Recorded(str(stored))
    many, few = (RecordedData(world, n, 4000, 4000, 25, 64, 10, 3) for n in (2000, 310))
    np.testing.assert_array_equal(many.rows[:310], few.rows)
    assert few.episodes == 13
    assert many.split.fingerprint == few.split.fingerprint
    assert many.heldout.checksum == few.heldout.checksum
    used = [set(part) for part in (many.split.train, many.split.heldout, many.split.test)]
    assert not used[0] & used[1] | used[0] & used[2] | used[1] & used[2]


def test_statistics_of_the_training_rows_are_in_the_checkpoint(stored, tmp_path):
    run(on(stored), tmp_path / "run")
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=False)["state_dict"]
    data = RecordedData(Recorded(str(stored)), 2000, 4000, 4000, 20, 128, 10, 0)
    rows = data._recorded.observations[data.rows].astype(np.float64)
    acts = data._recorded.actions[data.rows].astype(np.float64)
    for name, expected in (
        ("encoder.scale.mean", rows.mean(0)), ("encoder.scale.deviation", rows.std(0)),
        ("predictor.scale.mean", acts.mean(0)), ("predictor.scale.deviation", acts.std(0)),
    ):  # fmt: skip
        np.testing.assert_allclose(state[name].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_units_of_the_recording_do_not_matter(stored, tmp_path):
    """Standardised, other units are the same data: one latent for one row, whatever rows and actions are scaled by."""
    episodes = Recorded(str(stored)).episodes
    scale = np.geomspace(1e-2, 1e3, episodes.observations.shape[1]).astype(np.float32)
    other = replace(
        episodes, observations=episodes.observations * scale + 3, actions=episodes.actions * 50,
        action_space=replace(episodes.action_space, low=-50.0, high=50.0), states=None,
    )  # fmt: skip
    path = write_episodes(other, tmp_path / "other.h5")
    ours, theirs = (build(on(one)) for one in (stored, path))
    batches = [parts.data.windows.take(torch.arange(64)) for parts in (ours, theirs)]
    latents = [parts.module.encode(batch.observations) for parts, batch in zip((ours, theirs), batches, strict=True)]
    torch.testing.assert_close(*latents, rtol=1e-3, atol=1e-3)
    predicted = [
        parts.module.predict(latents[0][:, 0], batch.actions[:, 0])
        for parts, batch in zip((ours, theirs), batches, strict=True)
    ]
    torch.testing.assert_close(*predicted, rtol=1e-4, atol=1e-4)


def test_a_shifted_recording_is_refused_unless_told_otherwise(stored, tmp_path):
    episodes = Recorded(str(stored)).episodes
    path = write_episodes(replace(episodes, actions=np.roll(episodes.actions, 1, axis=0)), tmp_path / "shifted.h5")
    with pytest.raises(UserError, match=r"world: .*actions are shifted by one row.*world\.check_alignment=false"):
        run(on(path), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert build(on(path, "world.check_alignment=false"))


def test_images_stay_in_their_file_and_give_the_same_numbers(tmp_path, monkeypatch):
    world = TwoRooms(size=16)
    path = write_episodes(recording(world, 80, 20), tmp_path / "rooms.h5")
    settings = ["encoder=cnn", "data.n=300", "data.heldout=640", "data.test=640", "trainer.steps_per_epoch=3"]
    loaded = run(on(path, *settings), tmp_path / "loaded")
    monkeypatch.setitem(flat_hdf5.read.__kwdefaults__, "load_bytes", 0)
    monkeypatch.setattr(open_rows, "__defaults__", (0,))
    build_world_anew()
    parts = build(on(path, *settings))
    held = parts.data.heldout.observations
    assert not isinstance(held, np.ndarray)
    assert not isinstance(held.base, np.ndarray) or is_mapped(held.base)
    assert isinstance(parts.data.windows.observations, MappedRows)
    assert parts.data.normaliser.observations is None, "the encoder scales bytes"
    record = run(on(path, *settings), tmp_path / "run")
    assert record.final == loaded.final
    assert record.data_checksum == loaded.data_checksum
    assert record.final_n["spectrum/loss"] == 640
    build_world_anew()


def build_world_anew():
    """A process keeps the worlds that it has built."""
    _world.cache_clear()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["world.path=nowhere.h5"], r"world: nowhere\.h5: .*no such file"),
        (["world.path=null"], r"expected world\.path=FILE"),
        (["data.n=20000"], r"data: .*expected 1 to 4500 transitions .*got n=20000"),
        (["data.heldout=100", "data.length=3"], r"at least 8 episodes for data\.heldout, got 4"),
        (["data.heldout=9000", "data.test=9000"], "expected episodes left to train on"),
        (["planner=cem"], "expected planner=none"),
        (["planner=exhaustive"], "expected planner=none"),
        (["world.observation=positions"], "positions"),
        (["world.frameskip=100"], "lower the frameskip"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(stored, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        run(on(stored, *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_kind_of_observation_than_the_encoder_reads(stored, tmp_path):
    with pytest.raises(UserError, match=r"encoder: expected images .*vectors take encoder=mlp"):
        build(on(stored, "encoder=cnn"))


def test_nothing_is_planned_without_a_planner_but_a_finite_world_wants_one(tmp_path):
    record = run(compose([*SETTINGS, "world=point_mass", "planner=none"]), tmp_path / "run")
    assert not [name for name in record.final if name.startswith(PLANNED)]
    with pytest.raises(UserError, match="expected planner=categorical_cem, exhaustive or spectral"):
        run(compose([*SETTINGS, "planner=none"]), tmp_path / "finite")


def test_steps_together(stored):
    parts = build(on(stored, "world.frameskip=5", "data.n=400", "data.heldout=800", "data.test=640", "data.length=5"))
    assert parts.data.windows.actions.values.shape[1] == 10
    assert parts.context.world.action_space.size == 10

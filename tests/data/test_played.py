"""Recordings that are planned in: the environment they come from, goals of episodes nobody trains on, agreement."""

import gymnasium
import numpy as np
import pytest
import torch

from jepa_scale.data.played import without_goals
from jepa_scale.data.recorded import Recorded
from jepa_scale.data.store import write_episodes
from jepa_scale.records import ActionSpace, Episodes
from jepa_scale.runs.build import build_world
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.evaluate import evaluate
from jepa_scale.runs.run import run
from tests.worlds.environments import STEP, Point, register, unregister

pytest.importorskip("h5py")
LENGTH = 25


class Settable(Point):
    """A point whose reset takes a state."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if options and "state" in options:
            self.x = np.asarray(options["state"], float).copy()
        return self._seen(), self._info()


@pytest.fixture(scope="module", autouse=True)
def points():
    register(Vector={"kind": "vector"}, Maze={})
    gymnasium.register("PointSettable-v0", Settable, max_episode_steps=60, kwargs={"kind": "vector", "ends": False})
    yield
    unregister("Vector", "Maze", "Settable")


def recorded(episodes=40, scale=1.0, shift=0.0):
    """Positions under uniformly random actions, x' = x + 0.1 a."""
    generator = np.random.default_rng(0)
    x = np.zeros((episodes, LENGTH + 1, 2))
    actions = generator.uniform(-1, 1, (episodes, LENGTH + 1, 2))
    x[:, 0] = generator.uniform(-1, 0, (episodes, 2))
    for step in range(LENGTH):
        x[:, step + 1] = x[:, step] + STEP * actions[:, step]
    usable = np.ones((episodes, LENGTH + 1), bool)
    usable[:, -1] = False
    return Episodes(
        (scale * x + shift).reshape(-1, 2).astype(np.float32),
        actions.reshape(-1, 2).astype(np.float32),
        np.full(episodes, LENGTH + 1),
        usable.reshape(-1),
        ActionSpace(None, 2),
        source="a walk",
    )


@pytest.fixture
def path(tmp_path):
    return str(write_episodes(recorded(), tmp_path / "walk.h5"))


def test_the_last_episodes_are_kept_for_goals_and_nobody_trains_on_them(path):
    world = Recorded(path, environment="PointSettable-v0", play={"coordinates": [0, 1], "tolerance": 0.05})
    everything = recorded()
    assert len(world.episodes.lengths) == 32
    np.testing.assert_array_equal(world.episodes.observations, everything.observations[: 32 * (LENGTH + 1)])
    goals = world.task_world.recording.observations
    np.testing.assert_array_equal(goals, everything.observations[32 * (LENGTH + 1) :])
    views = world.task_world.tasks((), 20, 0).views.numpy()
    assert all((goals == view).all(1).any() for view in views)
    assert len(Recorded(path).episodes.lengths) == 40
    own = Recorded(path, environment="PointVector-v0", play={"goals": "env"})
    assert len(own.episodes.lengths) == 40, "nothing is kept back for goals that the environment gives"


def test_starts_and_goals_lie_so_many_recorded_steps_apart(path):
    play = {"coordinates": [0, 1], "tolerance": 0.05, "start_option": "state"}
    world = Recorded(path, environment="PointSettable-v0", play=play).task_world
    tasks = world.tasks((3, 8), 6, 0)
    assert tasks.budgets.tolist() == [11] * 6 + [21] * 6
    rows = world.recording.observations
    for start, goal, steps in zip(tasks.starts.numpy(), tasks.goals.numpy(), tasks.required_steps, strict=True):
        row = int(np.flatnonzero((np.abs(rows - start) < 1e-6).all(1))[0])
        np.testing.assert_allclose(rows[row + int(steps)], goal, atol=1e-6)
    episodes = world.begin(tasks, torch.arange(12), torch.Generator())
    torch.testing.assert_close(episodes.observe(torch.arange(12)), tasks.starts)


@pytest.mark.parametrize(
    ("change", "play", "message"),
    [
        ({"scale": 100.0}, {}, r"the recording's units, got coordinate 0 in .* \(2 of 2 coordinates differ so\)"),
        ({"shift": 500.0}, {}, "the recording's units"),
        ({}, {"start_option": "place"}, "show the recorded observation of row"),
        ({}, {"frames": 3}, r"settings from .*start_option.*, got \['frames'\]"),
        ({"episodes": 12}, {}, "at least 16 episodes"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused(change, play, message, tmp_path):
    path = str(write_episodes(recorded(**change), tmp_path / "walk.h5"))

    def tasks():
        world = Recorded(path, environment="PointSettable-v0", play={"coordinates": [0, 1], "tolerance": 0.05, **play})
        return world.task_world.tasks((3,), 2, 0)

    with pytest.raises(ValueError, match=message):
        tasks()


def test_observations_and_actions_of_another_shape_are_refused(path):
    with pytest.raises(ValueError, match=r"shape of recorded observations, \(2,\), got \(3,\): name the part"):
        Recorded(path, environment="PointMaze-v0")
    with pytest.raises(ValueError, match=r"actions as recorded, 2 coordinates, got 1 coordinates"):
        Recorded(path, environment="Pendulum-v1")
    with pytest.raises(ValueError, match=r"expected world\.environment beside world\.play"):
        Recorded(path, play={"tolerance": 1.0})


def test_a_frameskip_is_that_of_both(path):
    world = Recorded(path, environment="PointSettable-v0", frameskip=2, play={"coordinates": [0], "tolerance": 0.05})
    assert world.action_space.size == world.task_world.action_space.size == 4


def test_splitting_off_goals_keeps_rows_together():
    rest, goals = without_goals(recorded(100))
    assert (len(rest.lengths), len(goals.lengths)) == (90, 10)
    assert rest.transitions + goals.transitions == 100 * LENGTH
    assert rest.observations.shape[0] == 90 * (LENGTH + 1)


def test_a_run_trains_on_the_recording_and_plans_in_the_environment(path, tmp_path):
    settings = [
        "world=recorded", f"world.path={path}", "world.environment=PointSettable-v0",
        "world.play={coordinates: [0, 1], tolerance: 0.1, start_option: state}", "planner=cem", "planner.horizon=3",
        "planner.candidates=24", "planner.iterations=2", "planner.elites=4", "objective=vicreg", "predictor=mlp",
        "evaluation.episodes=4", "evaluation.required_steps=[6]", "data.n=200", "data.heldout=250", "data.test=250",
        "data.batch_size=64",
        "data.length=4", "trainer.epochs=2", "trainer.steps_per_epoch=100", "model.k=4", "model.hidden=32",
        "optimizer.base_k=null", "logger=none",
    ]  # fmt: skip
    record = run(compose(settings), tmp_path / "run")
    assert record.status == "finished"
    assert record.final["success/model"] > record.final["success/do_nothing"]
    assert record.protocol["reference"] == "success_1"
    assert "recorded episodes that are not trained on" in record.protocol["goal_law"]
    again = evaluate([tmp_path / "run"], ["evaluation.episodes=2"])[0].record
    assert {row.name for row in again.estimates} >= {"success/model", "regret/distance"}
    with pytest.raises(UserError, match="expected planner=none"):
        run(compose([*settings[:2], "planner=cem", *settings[5:]]), tmp_path / "other")


def test_the_world_is_built_once_from_its_settings(path):
    config = compose(["world=recorded", f"world.path={path}", "planner=none"])
    assert build_world(config) is build_world(config)

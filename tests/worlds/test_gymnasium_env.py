"""Any Gymnasium environment: reproducible trajectories of it, restarts marked, actions in its own ranges."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from jepa_scale.data.windows import as_episodes
from jepa_scale.runs.build import build, build_world
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.run import run
from jepa_scale.worlds.environments.collect import Collected
from jepa_scale.worlds.gymnasium_env import GymnasiumEnv

NAMES = ["Pendulum-v1", "MountainCarContinuous-v0", "CartPole-v1"]


class Counter(gymnasium.Env):
    """x counts steps since the reset; the action is shown, and an episode ends after 3 steps."""

    observation_space = spaces.Dict(
        {"clock": spaces.Box(-np.inf, np.inf, (2,)), "shown": spaces.Box(-np.inf, np.inf, (1, 2))}
    )
    born = 0
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, actions=None, ends=3, forgetful=False, tinted=False, render_mode=None):
        self.action_space = actions or spaces.Box(np.array([0, -10], np.float32), np.array([1, 30], np.float32))
        self.ends, self.forgetful, self.render_mode = ends, forgetful, render_mode
        self.resets = 0
        Counter.born += 1
        self.tint = Counter.born % 2 if tinted else 0

    def _seen(self, action):
        return {"clock": np.array([self.time, self.resets if self.forgetful else self.noise], np.float32),
                "shown": np.asarray(action, np.float32)[None]}  # fmt: skip

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.noise = 0, self.np_random.normal()
        self.resets += 1
        return self._seen(np.zeros(2)), {}

    def step(self, action):
        self.time += 1
        return self._seen(action), 0.0, self.time >= self.ends, False, {}

    def render(self):
        return np.full((8, 12, 3), 10 * self.time + self.tint, np.uint8)


@pytest.fixture(scope="module", autouse=True)
def counter():
    gymnasium.register("Counter-v0", Counter)
    yield
    del gymnasium.registry["Counter-v0"]


@pytest.mark.parametrize("name", NAMES)
def test_shapes_agree(name):
    world = GymnasiumEnv(name)
    sample, space = world.sample(3, 4, seed=1), world.action_space
    assert sample.observations.shape == (3, 5, *world.observation_shape)
    assert sample.observations.dtype == np.float32
    assert sample.actions.shape == ((3, 4) if space.discrete else (3, 4, space.size))
    assert sample.actions.dtype == (np.int64 if space.discrete else np.float32)
    assert np.isfinite(sample.observations).all()


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_one_sample_however_many_copies_play(name):
    alone, many = GymnasiumEnv(name, at_once=1), GymnasiumEnv(name, at_once=5)
    sample = many.sample(7, 40, seed=2)
    assert alone.sample(7, 40, seed=2).checksum == sample.checksum
    assert many.sample(7, 40, seed=3).checksum != sample.checksum
    assert len(np.unique(sample.observations[:, 0], axis=0)) == 7, "trajectories start apart"


def test_fewer_are_a_prefix_and_only_what_is_missing_is_collected(monkeypatch):
    world = GymnasiumEnv("CartPole-v1", at_once=4)
    fresh = GymnasiumEnv("CartPole-v1", at_once=4).sample(9, 30, seed=4)
    asked = []
    collect = Collected._collect
    monkeypatch.setattr(
        Collected, "_collect", lambda self, some, *rest: asked.append(list(some)) or collect(self, some, *rest)
    )
    few, many, again = (world.sample(count, 30, seed=4) for count in (2, 9, 5))
    assert asked == [[0, 1], list(range(2, 9))]
    assert many.checksum == fresh.checksum
    for name in ("observations", "actions", "usable"):
        np.testing.assert_array_equal(getattr(few, name), getattr(fresh, name)[:2])
        np.testing.assert_array_equal(getattr(again, name), getattr(fresh, name)[:5])


@pytest.mark.parametrize("name", NAMES)
def test_usable_transitions_are_the_environments_own(name):
    """Replayed in the bare environment: each usable transition leads where it did, each other one restarts."""
    world = GymnasiumEnv(name)
    sample = world.sample(2, 60, seed=5)
    for number in range(2):
        bare = gymnasium.make(name)
        seed = int(np.random.default_rng([5, number]).integers(2**31))
        seen = [bare.reset(seed=seed)[0]]
        ended = False
        for action, usable in zip(sample.actions[number], sample.usable[number], strict=True):
            assert usable == (not ended)
            if ended:
                seen.append(bare.reset()[0])
                ended = False
            else:
                observed, _, terminated, truncated, _ = bare.step(*world.units.actions(action))
                seen.append(observed)
                ended = terminated or truncated
        np.testing.assert_array_equal(sample.observations[number], np.array(seen, np.float32))
    assert (not sample.usable.all()) == (name == "CartPole-v1")


def test_restarts_are_not_trained_on():
    sample = GymnasiumEnv("Counter-v0", part="clock").sample(2, 10, seed=0)
    np.testing.assert_array_equal(sample.observations[0, :, 0], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2])
    np.testing.assert_array_equal(sample.usable[0], [1, 1, 1, 0, 1, 1, 1, 0, 1, 1])
    assert as_episodes(sample, GymnasiumEnv("Counter-v0").action_space).transitions == 16


def test_actions_stand_for_the_range_of_their_coordinate():
    world = GymnasiumEnv("Counter-v0", part="shown", options={"ends": 1000})
    sample = world.sample(50, 20, seed=1)
    np.testing.assert_allclose(sample.observations[:, 1:], sample.actions * [0.5, 20] + [0.5, 10], rtol=1e-5, atol=1e-5)
    assert sample.actions.min() < -0.99
    assert sample.actions.max() > 0.99
    counted = GymnasiumEnv("Counter-v0", part="shown", options={"actions": spaces.Discrete(3, start=5)})
    assert counted.action_space.count == 3
    assert [counted.units.actions(number)[0] for number in range(3)] == [5, 6, 7]


def test_parts_and_frames():
    assert GymnasiumEnv("Counter-v0").observation_shape == (4,)
    frames = GymnasiumEnv("Counter-v0", rendered=True).sample(2, 3, seed=0)
    assert frames.observations.dtype == np.uint8
    np.testing.assert_array_equal(frames.observations[0, :, 2, 3, 0], [0, 10, 20, 30])
    assert frames.observations.shape == (2, 4, 8, 12, 3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["world.environment=Pendulim-v1"], r"did you mean 'Pendulum-v1'"),
        (["world.environment=no_such_package:Reacher-v5"], r"not run: .*add --allow no_such_package"),
        (["world.options={gravity: 3}"], "Pendulum-v1 refuses .*gravity.*leave out"),
        (["world.part=clock"], "expected part among no parts"),
        (["world.at_once=0"], "at least one copy"),
        (["planner=exhaustive"], "expected planner=cem, gradient, icem or mppi.*step by step"),
    ],
)
def test_what_cannot_be_is_said(overrides, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run(compose(["world=gymnasium", "planner=none", "logger=none", *overrides]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_allowed_package_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", "no_such_package")
    with pytest.raises(ValueError, match=r"cannot import 'no_such_package'.*install it"):
        GymnasiumEnv("no_such_package:Reacher-v5")


def test_actions_without_limits_are_refused():
    unbounded = {"actions": spaces.Box(-np.inf, np.inf, (2,))}
    with pytest.raises(ValueError, match="bounded Box or Discrete"):
        GymnasiumEnv("Counter-v0", options=unbounded)


def test_an_environment_that_a_seed_does_not_fix_is_refused():
    with pytest.raises(ValueError, match="the same trajectory"):
        GymnasiumEnv("Counter-v0", options={"forgetful": True}).sample(4, 3, seed=0)


def test_copies_that_render_differently_are_refused_and_one_is_not():
    options = {"tinted": True}
    with pytest.raises(ValueError, match=r"from 2 of its 4 copies: set world\.at_once=1"):
        GymnasiumEnv("Counter-v0", options=options, rendered=True, at_once=4).sample(4, 3, seed=0)
    assert GymnasiumEnv("Counter-v0", options=options, rendered=True, at_once=1).sample(4, 3, seed=0)


@pytest.mark.parametrize(("name", "predictor"), [("Pendulum-v1", "mlp"), ("CartPole-v1", "mlp")])
def test_a_run(name, predictor, tmp_path):
    settings = [
        "logger=none", "trainer.epochs=2", "trainer.steps_per_epoch=30", "data.n=600", "data.heldout=2000",
        "data.test=1000", "data.batch_size=64", "model.k=3", "model.hidden=16", "planner=none",
    ]  # fmt: skip
    config = compose([*settings, "world=gymnasium", f"world.environment={name}", f"predictor={predictor}"])
    record = run(config, tmp_path / "run")
    assert record.status == "finished"
    heldout = build(config).data.heldout
    assert record.final_n["spectrum/total"] == heldout.transitions >= 2000
    assert np.isfinite(record.final["spectrum/reference/total"])
    assert record.final["spectrum/reference/total"] > 1
    batch = build(config).data.windows.take(torch.arange(600))
    assert batch.observations.shape == (600, 2, *build_world(config).observation_shape)

"""Simulators that users have: PointMaze, Reacher, PushT, OGBench, classic control. Absent ones are skipped."""

import os

import numpy as np
import pytest
import torch

from jepa_scale.callbacks.references import done, reference_jobs
from jepa_scale.callbacks.tasks import trial_of
from jepa_scale.planners.categorical_cem import CategoricalCEM
from jepa_scale.planners.cem import CEM
from jepa_scale.records import Evaluation
from jepa_scale.testing import check_world
from jepa_scale.worlds.behaviour import Held
from jepa_scale.worlds.environments.states import Attributes, Bodies, Physics
from jepa_scale.worlds.gymnasium_env import GymnasiumEnv

pytestmark = pytest.mark.slow

KNOWN = {
    "gymnasium_robotics:PointMaze_UMaze-v3": ("gymnasium_robotics", Physics, (4,)),
    "Reacher-v5": ("mujoco", Physics, (10,)),
    "ogbench:pointmaze-medium-v0": ("ogbench", Physics, (2,)),
    "gym_pusht:gym_pusht/PushT-v0": ("gym_pusht", Bodies, (5,)),
    "Pendulum-v1": ("gymnasium", Attributes, (3,)),
    "CartPole-v1": ("gymnasium", Attributes, (4,)),
}


def made(name, **settings):
    pytest.importorskip(KNOWN[name][0], exc_type=ImportError)
    return GymnasiumEnv(name, **{"behaviour": Held(5), "store": False, **settings})


@pytest.mark.parametrize("name", KNOWN)
def test_the_contract_of_a_world(name):
    check_world(made(name))


@pytest.mark.parametrize(
    "name", ["gymnasium_robotics:PointMaze_UMaze-v3", "gym_pusht:gym_pusht/PushT-v0", "CartPole-v1"]
)
def test_its_state_can_be_saved_and_the_oracle_beats_random_actions(name):
    world = made(name, oracle=True, frameskip=2, repeat_action=True)
    _, kind, shape = KNOWN[name]
    assert type(world.saved_states) is kind
    assert world.observation_shape == shape
    planner = CEM(horizon=2, candidates=6, iterations=2, elites=2, cost={"final": 0.0, "path": 1.0})
    if world.action_space.discrete:
        planner = CategoricalCEM(horizon=2, score="distance", candidates=6, elites=2, iterations=2)
    evaluation = Evaluation(episodes=3, required_steps=(8,))
    outcomes = done(reference_jobs(world, planner, evaluation))
    rates = {policy: float(outcome.ever.float().mean()) for policy, outcome in outcomes.items()}
    assert rates["oracle"] >= rates["random"]
    again = done(reference_jobs(made(name, oracle=True, frameskip=2, repeat_action=True), planner, evaluation))
    assert all(torch.equal(outcome.ever, again[policy].ever) for policy, outcome in outcomes.items())


@pytest.mark.parametrize(
    ("name", "levels"), [("gymnasium_robotics:PointMaze_UMaze-v3", 2), ("ogbench:pointmaze-medium-v0", 2)]
)
def test_its_own_goals_are_shown_as_observations(name, levels):
    world = made(name, goals="env", budget=20)
    trial = trial_of(world, Evaluation(episodes=6))
    views, goals = trial.drawn.views, trial.drawn.goals
    torch.testing.assert_close(views[:, :2], goals)
    assert len(torch.unique(goals, dim=0)) >= levels
    assert not world.solved(trial.drawn).all()
    again = made(name, goals="env", budget=20).tasks((), 6, trial_seed())
    torch.testing.assert_close(again.goals, goals)


def trial_seed():
    from jepa_scale.callbacks.tasks import SEED

    return SEED


def test_frames_are_rendered_without_a_display():
    pytest.importorskip("mujoco")
    if os.environ.get("DISPLAY"):
        pytest.skip("there is a display")
    os.environ.setdefault("MUJOCO_GL", "egl")
    world = GymnasiumEnv("Reacher-v5", options={"width": 32, "height": 32}, rendered=True, at_once=1, store=False,
                         coordinates=[0, 1, 2, 3], tolerance=0.3)  # fmt: skip
    sample = world.sample(2, 3, 0)
    assert sample.observations.shape == (2, 4, 32, 32, 3)
    assert sample.observations.dtype == np.uint8
    assert len(np.unique(sample.observations)) > 10
    assert world.tasks((3,), 2, 0).views.shape == (2, 32, 32, 3)

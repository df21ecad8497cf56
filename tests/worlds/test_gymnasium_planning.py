"""Planning in any environment: goals, success, states, references, floors, faults."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.references import _KNOWN, done, reference_jobs
from jepa_scale.callbacks.success import success_estimates, tried
from jepa_scale.callbacks.tasks import protocol_of, trial_of
from jepa_scale.objectives.latent import LatentPrediction
from jepa_scale.planners.categorical_cem import CategoricalCEM
from jepa_scale.planners.cem import CEM
from jepa_scale.records import Evaluation
from jepa_scale.report.parts.protocol import sentence
from jepa_scale.training.optim import AdamWOneCycle
from jepa_scale.training.pretrain import Pretrain
from jepa_scale.worlds.behaviour import Scripted
from jepa_scale.worlds.environments.copies import Copy
from jepa_scale.worlds.environments.states import Attributes, Copies
from jepa_scale.worlds.gymnasium_env import GymnasiumEnv
from tests.worlds.environments import STEP, Point, register, unregister

VERSIONS = {
    "Maze": {},
    "Vector": {"kind": "vector"},
    "Discrete": {"discrete": True},
    "Crash": {"fault": "crash"},
    "Nan": {"fault": "nan"},
    "Hang": {"fault": "hang"},
    "Noisy": {"fault": "cannot be set"},
    "Keyless": {"key": "won", "ends": False},
}
PLANNER = CEM(horizon=2, candidates=24, iterations=2, elites=4, cost={"final": 0.0, "path": 1.0})
EVALUATION = Evaluation(episodes=4)


@pytest.fixture(scope="module", autouse=True)
def points():
    register(**VERSIONS)
    yield
    unregister(*VERSIONS)


def world(name="Maze", **settings):
    return GymnasiumEnv(f"Point{name}-v0", store=False, **{"goals": "env", **settings})


class Exact(nn.Module):
    """The true dynamics as a model: latents are positions."""

    def __init__(self, places, discrete=False):
        super().__init__()
        self.places, self.discrete = places, discrete

    def forward(self, *given):
        if len(given) == 1:
            return given[0][..., self.places]
        moves = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
        return given[0] + STEP * (moves[given[1]] if self.discrete else given[1])


def model_of(places, discrete=False):
    part = Exact(places, discrete)
    objective = LatentPrediction(nn.Identity())
    return Pretrain(part, part, objective, AdamWOneCycle(), step_axis=-1 if discrete else -2).eval()


def rows_of(env, planner=PLANNER, evaluation=EVALUATION, places=(1, 2)):
    model = model_of(list(places), env.action_space.discrete)
    return {
        row.name: row for row in success_estimates(Context(env, "same_action", planner, 2, evaluation), model, 0, 0)
    }


@pytest.mark.parametrize(("name", "places"), [("Maze", (1, 2)), ("Vector", (0, 1))])
def test_a_model_that_is_exact_solves_the_environments_own_tasks(name, places):
    env = world(name, oracle=True)
    planner = replace(PLANNER, candidates=48, iterations=3)
    rows = rows_of(env, planner, replace(EVALUATION, same_cost_episodes=2), places)
    assert rows["success/model"].value == rows["success/oracle"].value == rows["success/same_cost"].value == 1.0
    assert rows["success/random"].value < 0.5
    assert rows["success/do_nothing"].value == 0.0
    assert rows["regret/distance"].value == 0.0
    assert rows["regret/distance"].flag == ""
    assert rows["success/same_cost"].n == 2


def test_the_oracle_ranks_plans_by_where_the_environment_goes():
    """Distances along plans, against x' = x + 0.1 a written out, at every step and at the last."""
    env = world(oracle=True)
    assert isinstance(env.saved_states, Attributes)
    tasks = env.tasks((), 3, 0)
    episodes = env.begin(tasks, torch.arange(3), torch.Generator())
    generator = torch.Generator().manual_seed(0)
    episodes.step(torch.arange(3), torch.rand(3, 2, generator=generator))
    here = episodes.observe(torch.arange(3))[:, 1:]
    plans = 2 * torch.rand(3, 5, 2, 2, generator=generator) - 1
    there = here[:, None, None] + STEP * plans.cumsum(2)
    wanted = (there - tasks.goals[:, None, None]).norm(dim=-1)
    active, states = torch.arange(3), episodes.states(torch.arange(3))
    every, last = (env.true_distances(states, plans, tasks, active, step) for step in (True, False))
    torch.testing.assert_close(every, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(last, wanted[..., -1:], atol=1e-5, rtol=0)
    views = env.true_views(states, plans, True, torch.empty(3, 0))
    torch.testing.assert_close(views[..., 1:], there, atol=1e-5, rtol=0)
    torch.testing.assert_close(episodes.observe(active)[:, 1:], here), "looking ahead moves nobody"


def test_without_an_oracle_regret_is_measured_against_success_and_says_so():
    env = world()
    rows = rows_of(env)
    assert "success/oracle" not in rows
    assert rows["regret/distance"].value == 1 - rows["success/model"].value
    assert rows["regret/random"].value == pytest.approx(1 - rows["success/random"].value)
    assert rows["regret/distance"].flag == "against_success_1"
    protocol = protocol_of(Context(env, "same_action", PLANNER, 2, EVALUATION))
    assert protocol["reference"] == "success_1"
    assert "regret is 1 − success" in sentence(protocol)
    assert "info['success']" in sentence(protocol)


def test_an_expert_takes_the_oracles_place():
    def to_the_goal(observed, generator):
        return np.clip((observed["desired_goal"] - observed["achieved_goal"]) / STEP, -1, 1)

    env = world(expert=to_the_goal)
    rows = rows_of(env)
    assert rows["success/expert"].value == 1.0
    assert rows["regret/distance"].flag == "against_expert"
    assert env.identity is None, "nothing is kept on disk of a policy whose code may change"
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        rows_of(world(expert=lambda observed, generator: np.zeros(3)))


def test_discrete_actions_are_planned_with_and_have_no_null_action():
    env = world("Discrete")
    rows = rows_of(env, CategoricalCEM(horizon=4, score="distance", candidates=64, iterations=3))
    assert rows["success/model"].value > rows["success/random"].value
    assert rows["success/model"].value >= 0.8
    assert "success/do_nothing" not in rows
    by_density = rows_of(env, CategoricalCEM(horizon=2, score="density", candidates=8, elites=2, iterations=1))
    assert "regret/density" in by_density, "the model's regret has the name of the score that it plans by"


def outcomes(env, pairs=None):
    evaluation = replace(EVALUATION, pairs=pairs)
    found = tried(Context(env, "same_action", PLANNER, 2, evaluation), model_of([1, 2]))
    return {name: (outcome.ever.tolist(), outcome.first.tolist()) for name, outcome in found.outcomes.items()}


def test_one_copy_and_sixteen_do_the_same():
    whole = outcomes(world(oracle=True))
    assert outcomes(world(oracle=True)) == whole
    assert outcomes(world(oracle=True, at_once=1)) == whole
    assert outcomes(world(oracle=True, at_once=4)) == whole


def test_goals_that_are_reachable_are_reached_and_fewer_tasks_are_a_prefix():
    env = world(goals="reachable", tolerance=0.05)
    tasks, few = env.tasks((2, 6), 5, seed=3), env.tasks((2, 6), 2, seed=3)
    assert tasks.required_steps.tolist() == [2] * 5 + [6] * 5
    assert tasks.budgets.tolist() == [9] * 5 + [17] * 5
    torch.testing.assert_close(few.goals, tasks.goals[[0, 1, 5, 6]])
    assert few.seeds == tuple(tasks.seeds[place] for place in (0, 1, 5, 6))
    assert ((tasks.starts - tasks.goals).abs() <= STEP * tasks.required_steps[:, None] + 1e-6).all()
    torch.testing.assert_close(tasks.views[:, 1:], tasks.goals)
    assert rows_of(env)["success/model"].value >= 0.8
    assert "2 T + 5 steps" in sentence(protocol_of(Context(env, "same_action", PLANNER, 2, EVALUATION)))


def test_a_goal_that_is_given():
    env = world("Vector", goals="given", goal=[0.3, 0.3], success="distance", tolerance=0.1)
    tasks = env.tasks((), 3, 0)
    assert tasks.goals.tolist() == torch.full((3, 2), 0.3).tolist()
    assert tasks.levels == (0,)
    assert tasks.budgets.tolist() == [30] * 3, "the environment's own limit"


def test_an_episode_that_the_environment_ends_stays_as_it_ended():
    """Termination at the goal is success at the end too; the oracle's plans past it stay there."""
    rows = rows_of(world(oracle=True))
    assert rows["success_final/model"].value == rows["success_any_time/model"].value == 1.0


def test_references_are_kept_on_disk_and_found_again(monkeypatch, tmp_path):
    monkeypatch.setenv("JEPA_SCALE_CACHE", str(tmp_path))
    first = GymnasiumEnv("PointMaze-v0", goals="env", oracle=True)
    known = outcomes(first)
    assert len(list((tmp_path / "references").glob("*.npz"))) == 1
    _KNOWN.clear()
    monkeypatch.setattr(
        "jepa_scale.callbacks.references.reference_jobs", lambda *key: pytest.fail("computed a second time")
    )
    assert outcomes(GymnasiumEnv("PointMaze-v0", goals="env", oracle=True)) == known
    file = next((tmp_path / "references").glob("*.npz"))
    file.write_bytes(file.read_bytes()[:200])
    _KNOWN.clear()
    with pytest.raises(pytest.fail.Exception, match="a second time"):
        outcomes(GymnasiumEnv("PointMaze-v0", goals="env", oracle=True))
    _KNOWN.clear()


def test_collected_data_are_kept_on_disk_and_only_what_is_missing_is_collected(monkeypatch, tmp_path):
    monkeypatch.setenv("JEPA_SCALE_CACHE", str(tmp_path))

    def fresh():
        return GymnasiumEnv("PointMaze-v0", goals="env")

    few = fresh().sample(3, 8, seed=1)
    steps, step = [], Copy.step
    monkeypatch.setattr(Copy, "step", lambda self, actions: steps.append(1) or step(self, actions))
    again = fresh().sample(3, 8, seed=1)
    assert again.checksum == few.checksum
    assert not steps
    more = fresh().sample(5, 8, seed=1)
    np.testing.assert_array_equal(more.observations[:3], few.observations)
    assert 0 < len(steps) <= 8 * (2 + 5), "two more, and one again in each copy"
    assert fresh().sample(5, 8, seed=2).checksum != more.checksum


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "Crash"}, r"step 3 of an episode failed with RuntimeError: the engine is lost"),
        ({"name": "Nan"}, r"finite observations, got nan after 3 steps"),
        ({"name": "Hang", "patience": 0.3}, r"within 0\.3 s, got none: it hangs"),
    ],
)
def test_faults_end_in_a_sentence(settings, message):
    env = world(**settings)
    with pytest.raises(ValueError, match=message):
        env.sample(2, 5, 0)
    with pytest.raises(ValueError, match=message):
        done(reference_jobs(env, PLANNER, EVALUATION))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "Noisy", "oracle": True}, "state can be saved and loaded.*world.oracle=false, or name an expert"),
        ({"goals": "nearby"}, "goals from reachable, env, given"),
        ({"goals": "given"}, "world.goal with world.goals=given"),
        ({"success": "distance", "success_key": "won"}, "success_key with success=environment"),
        ({"goals": "reachable", "success": "environment"}, "success=distance with goals=reachable"),
        ({"tolerance": -1.0, "success": "distance"}, "tolerance > 0"),
        ({"success": "distance", "coordinates": [3]}, "coordinates from 0 to 2"),
        ({"budget": 0}, "budget ≥ 1"),
        ({"expert": "clever"}, "an expert to be called"),
        ({"at_once": 0}, "at least one copy"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        world(**settings)


def test_a_success_that_the_environment_does_not_tell_names_what_it_does():
    env = world("Keyless")
    with pytest.raises(ValueError, match=r"is_success in its info, got \['won'\]: name it by world\.success_key"):
        rows_of(env)
    assert rows_of(world("Keyless", success_key="won"))["success/model"].value == 1.0


def test_an_environment_without_goals_says_what_its_info_has():
    with pytest.raises(ValueError, match=r"shows its goal.*its info has nothing: world\.goals=reachable, or given"):
        trial_of(GymnasiumEnv("Pendulum-v1", goals="env", store=False), EVALUATION)


def test_several_steps_of_the_environment_are_one_of_the_model():
    """Actions side by side, or one that is repeated; an episode that ends on the way ends there."""
    apart, repeated = world(frameskip=3), world(frameskip=3, repeat_action=True)
    assert (apart.action_space.size, repeated.action_space.size) == (6, 2)
    assert world("Discrete", frameskip=2).action_space.count == 16
    for env in (apart, repeated):
        sample = env.sample(2, 3, 0)
        moved = sample.observations[:, 1, 1:] - sample.observations[:, 0, 1:]
        summed = sample.actions[:, 0].reshape(2, -1, 2).sum(1) * (1 if env is apart else 3)
        np.testing.assert_allclose(moved, STEP * summed, atol=1e-6)
    pair = world("Discrete", frameskip=2).units
    assert [pair.joined(pair.parts(number)) for number in range(16)] == list(range(16))
    with pytest.raises(ValueError, match="at most 4096 actions of 7 steps"):
        world("Discrete", frameskip=7)


def test_own_units_are_those_of_recordings():
    env = GymnasiumEnv("Pendulum-v1", own_units=True, store=False)
    assert (env.action_space.low, env.action_space.high) == (-2.0, 2.0)
    scaled = GymnasiumEnv("Pendulum-v1", store=False).sample(2, 5, 0)
    own = env.sample(2, 5, 0)
    np.testing.assert_allclose(own.actions, 2 * scaled.actions, rtol=1e-6)
    np.testing.assert_allclose(own.observations, scaled.observations, rtol=1e-5)


def test_a_scripted_policy_collects_in_the_environments_units():
    def forward(observed, generator):
        return np.array([1.0, 0.0])

    sample = world(behaviour=Scripted(forward), goals="reachable").sample(2, 4, 0)
    np.testing.assert_array_equal(sample.actions, np.broadcast_to([1.0, 0.0], (2, 4, 2)))
    assert "forward" in sample.policy


def test_deep_copies_are_the_way_where_attributes_are_not():
    class Boxed(Point):
        @property
        def x(self):
            return self.box["x"]

        @x.setter
        def x(self, value):
            self.box = {"x": value}

    gymnasium.register("PointBoxed-v0", Boxed)
    try:
        env = GymnasiumEnv("PointBoxed-v0", goals="env", oracle=True, store=False, budget=9)
        assert isinstance(env.saved_states, Copies)
        assert rows_of(env)["success/oracle"].value == 1.0
    finally:
        del gymnasium.registry["PointBoxed-v0"]


def test_what_success_and_expert_lack_is_told_before_anything_is_trained():
    with pytest.raises(ValueError, match="name it by world"):
        trial_of(world("Keyless"), EVALUATION)
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        trial_of(world(expert=lambda observed, generator: np.zeros(3)), EVALUATION)


def test_frames_are_rendered_in_one_copy_unless_asked():
    assert GymnasiumEnv("Pendulum-v1", store=False).most_at_once == 16
    assert world(at_once=3).most_at_once == 3


def test_the_protocol_says_what_was_planned_with_true_dynamics():
    asked = replace(EVALUATION, same_cost_episodes=2)
    for env, evaluation, wanted in (
        (world(), asked, 0),
        (world(oracle=True), EVALUATION, 0),
        (world(oracle=True), asked, 2),
    ):
        assert protocol_of(Context(env, "same_action", PLANNER, 2, evaluation))["same_cost_episodes"] == wanted


def test_an_environment_that_hangs_while_its_state_is_tried_is_told():
    with pytest.raises(ValueError, match=r"within 0\.5 s, got none: it hangs"):
        world("Hang", oracle=True, patience=0.5)

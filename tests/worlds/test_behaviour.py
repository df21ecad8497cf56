"""Behaviour policies against what is known of their laws."""

import numpy as np
import pytest

from jepa_scale.records import ActionSpace, Estimate
from jepa_scale.report.parts.evaluation import vacuous_tasks
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.instantiate import instantiate
from jepa_scale.worlds.behaviour import Behaviour, Held, InUnits, Mixture, OrnsteinUhlenbeck, Scripted, Uniform

PLANE, FOUR = ActionSpace(None, 2), ActionSpace(4)


def path(behaviour, length, seed=0, space=PLANE):
    act = behaviour.start(space, length, np.random.default_rng(seed))
    return np.array([act(None) for _ in range(length)])


def test_correlated_noise_has_the_correlation_and_deviation_of_its_law():
    """Autocorrelation (1 − θ)^lag and deviation σ / √(θ (2 − θ)), here so small that nothing is clipped."""
    noise = OrnsteinUhlenbeck(theta=0.2, sigma=0.05)
    paths = np.stack([path(noise, 400, seed)[:, 0] for seed in range(200)])
    deviation = 0.05 / np.sqrt(0.2 * 1.8)
    # 80 000 numbers with an integrated autocorrelation time of about 9: a relative error of √(9 / (2 · 80000)).
    assert paths.std() == pytest.approx(deviation, rel=4 * np.sqrt(9 / 160_000))
    assert paths[:, 0].std() == pytest.approx(deviation, rel=4 / np.sqrt(400)), "stationary from the start"
    for lag in (1, 5):
        found = (paths[:, lag:] * paths[:, :-lag]).mean() / paths.var()
        assert found == pytest.approx(0.8**lag, abs=0.03)
    assert np.abs(path(OrnsteinUhlenbeck(0.1, 2.0), 200)).max() == 1.0


@pytest.mark.parametrize("space", [PLANE, FOUR], ids=["continuous", "discrete"])
def test_held_actions_change_every_so_many_steps_from_a_random_phase(space):
    phases = set()
    for seed in range(40):
        actions = path(Held(5), 60, seed, space).reshape(60, -1)
        changes = np.flatnonzero((actions[1:] != actions[:-1]).any(1)) + 1
        assert set(np.diff(changes) % 5) <= {0}
        phases.add(int(changes[0]))
    assert phases >= {1, 2, 3, 4, 5}


def test_a_mixture_acts_by_one_part_in_each_trajectory():
    mixture = Mixture([Held(1000), Uniform()], weights=[3.0, 1.0])
    held = sum(len(np.unique(path(mixture, 30, seed)[:, 0])) <= 2 for seed in range(400))
    # Binomial: 300 ± 8.7.
    assert abs(held - 300) < 4 * 8.7
    scripted = Mixture([Scripted(lambda observed, generator: np.ones(2))])
    assert isinstance(scripted.start(PLANE, 3, np.random.default_rng(0))(None), InUnits)
    assert not scripted.reproducible


def test_a_script_is_left_to_chance_as_often_as_told():
    act = Scripted(lambda observed, generator: observed, random=0.25).start(PLANE, 0, np.random.default_rng(0))
    taken = [act("seen") for _ in range(2000)]
    assert set(taken) == {None, "seen"}
    assert abs(taken.count(None) - 500) < 4 * 19.4


@pytest.mark.parametrize("name", ["uniform", "held", "ornstein_uhlenbeck", "mixture"])
def test_every_leaf_acts_and_the_same_generator_repeats_it(name):
    leaf = compose(["world=gymnasium", "planner=none", f"world.behaviour={name}"])["world"]["behaviour"]
    behaviour = instantiate("world.behaviour", leaf)
    assert isinstance(behaviour, Behaviour)
    np.testing.assert_array_equal(path(behaviour, 20, 3), path(behaviour, 20, 3))
    assert np.abs(path(behaviour, 200)).max() <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OrnsteinUhlenbeck(theta=0.0), "theta in"),
        (lambda: OrnsteinUhlenbeck().start(FOUR, 3, np.random.default_rng(0)), "continuous actions for correlated"),
        (lambda: Held(0), "steps ≥ 1"),
        (lambda: Mixture([]), "one weight above 0"),
        (lambda: Mixture([Uniform()], [0.0]), "one weight above 0"),
        (lambda: Mixture([lambda observed: 0]), "put a policy of your own into Scripted"),
        (lambda: Scripted(None), "called with"),
        (lambda: Scripted(print, random=2.0), "random in"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UserError, match=r"world\.behaviour: expected held, mixture, ornstein_uhlenbeck, scripted, uniform"
    ):
        compose(["world=gymnasium", "planner=none", "world.behaviour=hold"])


def test_a_script_is_named_by_its_target_whatever_the_order(monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", "tests")
    target = "world.behaviour.policy._target_=tests.worlds.environments.Steady"
    for texts in ([target, "world.behaviour=scripted"], ["world.behaviour=scripted", target]):
        leaf = compose(["world=gymnasium", "planner=none", *texts, "world.behaviour.policy.value=0.5"])["world"]
        behaviour = instantiate("world.behaviour", leaf["behaviour"])
        assert behaviour.policy(None, None) == 0.5
    expert = "world.expert._target_=tests.worlds.environments.Steady"
    assert compose(["world=gymnasium", "planner=none", expert])["world"]["expert"]["value"] == 1.0
    assert compose(["world=gymnasium", "planner=none", "+world.options.g=9.0"])["world"]["options"] == {"g": 9.0}


def test_tasks_that_knowing_nothing_solves_are_named():
    def rates(**values):
        return {f"success/{name}": Estimate(f"success/{name}", value, 0.1, 20, 0, 0) for name, value in values.items()}

    assert vacuous_tasks(rates(model=0.8, random=0.2, do_nothing=0.0)) == ""
    assert "from random actions, which solves 0.80" in vacuous_tasks(rates(model=0.7, random=0.8, do_nothing=0.0))
    assert "from doing nothing" in vacuous_tasks(rates(model=1.0, random=0.1, do_nothing=0.95))
    assert vacuous_tasks(rates(model=1.0)) == ""

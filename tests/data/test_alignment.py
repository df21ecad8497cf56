"""Planted shifts are found, aligned recordings are never refused, and what cannot be told is not told."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from jepa_scale.data.alignment.check import alignment
from jepa_scale.data.alignment.verdict import Reason, Verdict
from jepa_scale.records import ActionSpace, Episodes
from tests.data.recorded import walk

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import alignment_worlds

LENGTH = 14
ROWS = 90 * LENGTH
CASES = {case.name: case for case in alignment_worlds.cases()}


def shifted(episodes, rows):
    """The action column moved by some rows within each episode, as a faulty recorder leaves it."""
    column = episodes.actions.reshape(-1, LENGTH, *episodes.actions.shape[1:])
    filled = np.nan_to_num(column) if column.dtype.kind == "f" else column
    return dataclasses.replace(episodes, actions=np.roll(filled, rows, axis=1).reshape(episodes.actions.shape))


def made(observations, actions, count=None, **fields):
    usable = np.arange(len(observations)) % LENGTH != LENGTH - 1
    space = ActionSpace(count=count) if count else ActionSpace(size=actions.shape[1])
    return Episodes(observations, actions, np.full(len(observations) // LENGTH, LENGTH), usable, space, **fields)


def continuous(generator):
    observations, actions, _ = walk(generator, [LENGTH] * 90, noise=0.5)
    return made(observations, actions)


def torus(generator, render):
    """A place on a 5×5 torus moved by one of five discrete actions."""
    moves = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    actions = generator.integers(0, 5, (90, LENGTH))
    start = generator.integers(0, 5, (90, 1, 2))
    steps = np.concatenate([start, moves[actions][:, :-1]], axis=1)
    return made(render(np.cumsum(steps, axis=1).reshape(-1, 2) % 5), actions.reshape(-1), count=5)


def circles(places):
    angles = 2 * np.pi * places / 5
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def pictures(places):
    frames = np.zeros((len(places), 5, 5, 1), np.uint8)
    frames[np.arange(len(places)), places[:, 0], places[:, 1]] = 255
    return frames.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)


WORLDS = {
    "continuous": continuous,
    "circles": lambda generator: torus(generator, circles),
    "pictures": lambda generator: torus(generator, pictures),
}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_a_row_too_late_is_a_shift_and_a_row_too_early_may_be_a_delay(generator, world):
    right = world(generator)
    found = alignment(right)
    assert found.verdict is Verdict.ALIGNED, found.sentence
    assert found.exogenous
    late = alignment(shifted(right, 1))
    assert (late.verdict, late.lag, late.refuses) == (Verdict.SHIFTED, 1, True), late.sentence
    assert "move the action column up by one row" in late.sentence
    early = alignment(shifted(right, -1))
    assert (early.verdict, early.reason, early.lag) == (Verdict.CANNOT_TELL, Reason.DELAYED, -1), early.sentence


KNOWN = [
    ("servo κ=0.1", 0, Verdict.ALIGNED, 0),
    ("servo κ=0.3", 0, Verdict.ALIGNED, 0),
    ("servo κ=0.9", 0, Verdict.ALIGNED, 0),
    ("servo κ=0.3 noisy", 0, Verdict.ALIGNED, 0),
    ("servo κ=0.3", 1, Verdict.SHIFTED, 1),
    # Rows that are a row late make up for a robot that is: the same recording as the aligned one without delay.
    ("servo κ=0.5 delay 1", 1, Verdict.ALIGNED, 0),
    ("servo κ=0.5 delay 1", 0, Verdict.CANNOT_TELL, -1),
    ("servo κ=0.5 delay 2", 0, Verdict.CANNOT_TELL, -2),
    ("velocity feedback", 0, Verdict.ALIGNED, 0),
    ("velocity feedback", 1, Verdict.SHIFTED, 1),
    ("velocity very smooth", 1, Verdict.SHIFTED, 1),
    # The force moves the place in its own row and the next.
    ("torque places iid exact", 0, Verdict.ALIGNED, 0),
    ("torque places iid exact", 1, Verdict.SHIFTED, 1),
    ("rotating 4×2 angle 0.6 iid", 0, Verdict.ALIGNED, 0),
    ("rotating 4×2 angle 0.6 iid", 1, Verdict.SHIFTED, 1),
    ("unicycle iid", 1, Verdict.SHIFTED, 1),
    ("pendulum smooth", 0, Verdict.ALIGNED, 0),
    ("cartpole balanced ε=0.1", 0, Verdict.ALIGNED, 0),
    ("mountain car iid", 1, Verdict.SHIFTED, 1),
    ("torque places scripted", 0, Verdict.ACTION_IS_STATE, 0),
]


@pytest.mark.parametrize(
    ("name", "shift", "verdict", "lag"), KNOWN, ids=[f"{name} {shift:+d}" for name, shift, *_ in KNOWN]
)
def test_known_recordings(generator, name, shift, verdict, lag):
    found = alignment(alignment_worlds.recorded(CASES[name].record(generator), shift))
    assert (found.verdict, found.lag) == (verdict, lag), found.sentence


FEEDBACK = [
    "no effect, feedback noise 0.1",
    "no effect, damping",
    "torque places PD scripted",
    "torque all PD policy 0.02",
    "velocity nearly scripted",
    "velocity scripted clipped",
]


@pytest.mark.parametrize("shift", [0, 1, -1])
@pytest.mark.parametrize("name", FEEDBACK)
def test_a_policy_that_answers_is_neither_refused_nor_certified(generator, name, shift):
    """The state of the next row stands in its action: other lags explain more than the right one."""
    found = alignment(alignment_worlds.recorded(CASES[name].record(generator), shift))
    assert found.verdict is Verdict.CANNOT_TELL, found.sentence


def test_states_are_preferred_to_frames(generator):
    right = torus(generator, pictures)
    states = walk(generator, [LENGTH] * 90)[0]
    assert alignment(dataclasses.replace(right, states=states)).reason is Reason.NO_EFFECT


def test_a_wrong_last_row_has_no_influence(generator):
    right = continuous(generator)
    actions = right.actions.copy()
    actions[LENGTH - 1 :: LENGTH] = actions[::LENGTH]
    assert alignment(dataclasses.replace(right, actions=actions)) == alignment(right)


def test_the_gain_is_the_planted_one(generator):
    """x' − x = a + 0.5 ε, Var a = 1/3: a_t explains (1/3) / (1/3 + 1/4) = 4/7, the other lags nothing."""
    found = alignment(continuous(generator))
    gains = {gain.lag: gain for gain in found.gains}
    # Beyond sampling, 600 rows pay for some 20 useless coefficients out of sample.
    assert abs(gains[0].value - 4 / 7) < 4 * gains[0].error + 20 / 600
    assert gains[0].error < 0.05
    assert all(abs(gain.value) < 0.02 for lag, gain in gains.items() if lag)


def test_standard_errors_are_those_of_repeated_recordings():
    """The clustered error is as large as the spread of the gain over recordings of one law, up to its own error."""
    found = [alignment(continuous(np.random.default_rng(seed))) for seed in range(12)]
    gains = np.array([[gain.value, gain.error] for one in found for gain in one.gains if gain.lag == 0])
    # The spread of 12 is uncertain by a factor of 1 ± 1/√22, three of which allow 0.4 … 1.7.
    assert 0.4 < gains[:, 1].mean() / gains[:, 0].std(ddof=1) < 2.5


def test_coordinates_that_jump_twice_do_not_drown_those_that_move(generator):
    right = continuous(generator)
    events = np.zeros((ROWS, 40), np.float32)
    for column in range(40):
        events[np.sort(generator.integers(0, ROWS, 2))[0] :, column] = 1
    found = alignment(dataclasses.replace(right, observations=np.concatenate([right.observations, events], axis=1)))
    assert found.verdict is Verdict.ALIGNED


def test_held_actions_cannot_tell(generator):
    """Each action lasts for a whole episode but for a little, so that neighbours are nearly equal."""
    right = continuous(generator)
    actions = np.repeat(generator.uniform(-1, 1, (90, 2)), LENGTH, axis=0).astype(np.float32)
    actions += 0.02 * generator.normal(size=actions.shape).astype(np.float32)
    steps = (actions + 0.3 * generator.normal(size=actions.shape)).reshape(90, LENGTH, 2)
    observations = (np.cumsum(steps, axis=1) - steps).reshape(-1, 2).astype(np.float32)
    found = alignment(dataclasses.replace(right, observations=observations, actions=actions))
    assert found.verdict is Verdict.CANNOT_TELL


def test_one_long_episode_is_enough_and_a_few_rows_are_not(generator):
    right = continuous(generator)
    observations, actions, lengths = walk(generator, [600], noise=0.5)
    usable = np.arange(600) < 599
    long = dataclasses.replace(right, observations=observations, actions=actions, lengths=lengths, usable=usable)
    assert alignment(long).verdict is Verdict.ALIGNED
    few = dataclasses.replace(
        right, observations=observations[:40], actions=actions[:40], lengths=np.array([40]), usable=np.arange(40) < 39
    )
    found = alignment(few)
    assert (found.verdict, found.reason) == (Verdict.CANNOT_TELL, Reason.TOO_FEW)
    assert not found.gains


def test_actions_that_never_change_cannot_tell(generator):
    right = continuous(generator)
    constant = dataclasses.replace(right, actions=np.ones_like(right.actions))
    assert alignment(constant).verdict is Verdict.CANNOT_TELL

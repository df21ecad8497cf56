"""Planted shifts are found, whatever the observation; what cannot be told is not told."""

import dataclasses

import numpy as np
import pytest

from jepa_scale.data.probe import alignment
from jepa_scale.records import ActionSpace, Episodes
from tests.data.recorded import walk

LENGTH = 14
ROWS = 90 * LENGTH


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


def smooth(generator):
    """Actions that resemble their neighbours: lags −1 and 1 explain much as well."""
    actions = np.zeros((90, LENGTH, 2))
    for t in range(1, LENGTH):
        actions[:, t] = 0.8 * actions[:, t - 1] + 0.6 * generator.normal(size=(90, 2))
    steps = actions + 0.3 * generator.normal(size=actions.shape)
    positions = np.concatenate([np.zeros((90, 1, 2)), np.cumsum(steps, axis=1)[:, :-1]], axis=1)
    return made(positions.reshape(ROWS, 2).astype(np.float32), actions.reshape(ROWS, 2).astype(np.float32))


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
    "smooth": smooth,
    "circles": lambda generator: torus(generator, circles),
    "pictures": lambda generator: torus(generator, pictures),
}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_a_shift_by_one_row_is_found(generator, world):
    right = world(generator)
    found = alignment(right)
    assert found.status == "aligned", found.sentence
    assert found.n == 90 * (LENGTH - 3)
    for rows, lag in ((1, 1), (-1, -1)):
        found = alignment(shifted(right, rows))
        assert found.status == "misaligned", found.sentence
        assert int(np.argmax(found.r_squared)) - 1 == lag
        assert "shift the action column" in found.sentence
        assert ("answers a step late" in found.sentence) == (lag == -1)


def test_states_are_preferred_to_frames(generator):
    right = torus(generator, pictures)
    states = walk(generator, [LENGTH] * 90)[0]
    assert alignment(dataclasses.replace(right, states=states)).status == "cannot tell"


def test_a_wrong_last_row_alone_is_not_flagged(generator):
    right = continuous(generator)
    actions = right.actions.copy()
    actions[LENGTH - 1 :: LENGTH] = actions[::LENGTH]
    found = alignment(dataclasses.replace(right, actions=actions))
    assert found.status == "aligned"
    assert found.r_squared == alignment(right).r_squared


def test_the_share_explained_is_the_planted_one(generator):
    """x' − x = a + 0.5 ε, Var a = 1/3: R² = (1/3) / (1/3 + 1/4) = 4/7."""
    found = alignment(continuous(generator))
    assert not found.interaction
    # The jackknife's error covers the sampling of 990 transitions.
    assert abs(found.r_squared[1] - 4 / 7) < 4 * found.standard_errors[1]
    assert found.standard_errors[1] < 0.05
    assert abs(found.r_squared[0]) < 0.02


def test_coordinates_that_jump_twice_do_not_drown_those_that_move(generator):
    right = continuous(generator)
    events = np.zeros((ROWS, 60), np.float32)
    for column in range(60):
        events[np.sort(generator.integers(0, ROWS, 2))[0] :, column] = 1
    found = alignment(dataclasses.replace(right, observations=np.concatenate([right.observations, events], axis=1)))
    assert found.status == "aligned"
    assert found.r_squared[1] > 0.5


def test_actions_without_effect_cannot_tell(generator):
    right = continuous(generator)
    still = generator.normal(size=right.observations.shape).cumsum(axis=0).astype(np.float32)
    found = alignment(dataclasses.replace(right, observations=still))
    assert found.status == "cannot tell"
    assert found.sentence.startswith("cannot tell whether actions are aligned: the action explains R² = ")


@pytest.mark.parametrize("memory", [0.0, 0.9], ids=["feedback", "inertia"])
def test_feedback_and_inertia_are_no_misalignment(generator, memory):
    """A policy that answers the observation puts the last change into the next action; inertia the last action into it.

    With feedback the actions here have no effect at all; with inertia they are forces and only places are seen.
    """
    places, speed = np.zeros((90, LENGTH, 2)), np.zeros((90, 2))
    actions = np.zeros_like(places)
    for t in range(LENGTH):
        pushed = 0.9 * actions[:, t - 1] + 0.4 * generator.normal(size=(90, 2))
        actions[:, t] = pushed if memory else -0.3 * places[:, t]
        if t < LENGTH - 1:
            speed = memory * speed + (actions[:, t] if memory else 0) + 0.1 * generator.normal(size=(90, 2))
            places[:, t + 1] = places[:, t] + speed
    observations, actions = (part.reshape(ROWS, 2).astype(np.float32) for part in (places, actions))
    found = alignment(made(observations, actions))
    assert int(np.argmax(found.r_squared)) != 1, "the plain regression would raise an alarm"
    assert found.status == "cannot tell"
    assert "as a policy that answers the observation, or inertia, would look like this as well" in found.sentence


def test_what_is_explained_is_explained_of_other_rows(generator):
    """30 actions without effect in 400 rows: a fit to the same rows would explain more than a tenth."""
    observations = generator.normal(size=(420, 2)).cumsum(axis=0).astype(np.float32)
    found = alignment(made(observations, generator.integers(0, 30, 420), count=30))
    assert found.status == "cannot tell"
    assert max(found.r_squared) < 0.02


def test_held_actions_cannot_tell_two_lags_apart(generator):
    """Each action lasts for a whole episode but for a little, so that neighbours are nearly equal."""
    right = continuous(generator)
    actions = np.repeat(generator.uniform(-1, 1, (90, 2)), LENGTH, axis=0).astype(np.float32)
    actions += 0.02 * generator.normal(size=actions.shape).astype(np.float32)
    steps = (actions + 0.3 * generator.normal(size=actions.shape)).reshape(90, LENGTH, 2)
    observations = (np.cumsum(steps, axis=1) - steps).reshape(-1, 2).astype(np.float32)
    found = alignment(dataclasses.replace(right, observations=observations, actions=actions))
    assert found.status == "cannot tell"
    assert int(np.argmax(found.r_squared)) == 1, "the right lag leads, but not by more than chance"
    assert "two lags do as well" in found.sentence


def test_one_long_episode_is_enough_and_a_few_rows_are_not(generator):
    right = continuous(generator)
    observations, actions, lengths = walk(generator, [600], noise=0.5)
    usable = np.arange(600) < 599
    long = dataclasses.replace(right, observations=observations, actions=actions, lengths=lengths, usable=usable)
    assert alignment(long).status == "aligned"
    few = dataclasses.replace(
        right, observations=observations[:40], actions=actions[:40], lengths=np.array([40]), usable=np.arange(40) < 39
    )
    found = alignment(few)
    assert found.status == "cannot tell"
    assert "37 transitions inside episodes are too few" in found.sentence
    assert np.isnan(found.r_squared).all()

"""Numbers of a card against recordings of which they are known."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest

from jepa_scale.data.alignment.features import chosen_rows
from jepa_scale.data.alignment.regression import Folds
from jepa_scale.data.card.card import data_card
from jepa_scale.data.card.content import content_of, coordinates_of
from jepa_scale.data.card.coverage import coverage_of, sample_of
from jepa_scale.data.card.policy import effect_of, entropy, neighbour_entropy, policy_of
from jepa_scale.data.card.record import Code, PolicyKind
from jepa_scale.data.external.assemble import assemble

COUNT, ROWS = 60, 41


def rolled(generator, act, noise=0.5, effect=1.0, memory=0.9):
    """Episodes of x' = 0.9 x + effect a + noise w in 2 dimensions; ``act`` maps (x, the action before) to an action."""
    seen, done = np.zeros((COUNT, ROWS, 2)), np.zeros((COUNT, ROWS, 2))
    x, a = generator.normal(size=(COUNT, 2)), np.zeros((COUNT, 2))
    for t in range(ROWS):
        a = act(x, a, generator)
        seen[:, t], done[:, t] = x, a
        x = memory * x + effect * a + noise * generator.normal(size=(COUNT, 2))
    return made(seen, done)


def made(seen, done):
    return assemble(
        seen.reshape(-1, seen.shape[-1]).astype(np.float32), done.reshape(-1, done.shape[-1]).astype(np.float32),
        np.full(COUNT, ROWS), source="here",
    )  # fmt: skip


def iid(x, a, generator):
    return generator.normal(size=x.shape)


def smooth(x, a, generator):
    return 0.9 * a + np.sqrt(1 - 0.81) * generator.normal(size=x.shape)


POLICIES = {
    PolicyKind.RANDOM: iid,
    PolicyKind.STICKY: smooth,
    PolicyKind.FEEDBACK: lambda x, a, generator: -0.5 * x + 0.5 * generator.normal(size=x.shape),
    PolicyKind.SCRIPTED: lambda x, a, generator: -0.5 * x,
    PolicyKind.CONSTANT: lambda x, a, generator: np.ones_like(x),
}


@pytest.mark.parametrize("kind", POLICIES, ids=[kind.value for kind in POLICIES])
def test_kinds_of_policies(generator, kind):
    rows = chosen_rows(rolled(generator, POLICIES[kind]), 0, 3)
    assert policy_of(rows, Folds.of(rows.groups)).kind is kind


def test_shares_of_the_policy_are_the_planted_ones(generator):
    """a = −x / 2 + ξ / 2: x' = 0.4 x + ξ / 2 + w / 2, Var x = 0.5 / (1 − 0.16), so x explains Var x / 4 of Var a."""
    rows = chosen_rows(rolled(generator, POLICIES[PolicyKind.FEEDBACK]), 0, 3)
    found = policy_of(rows, Folds.of(rows.groups))
    spread = 0.5 / (1 - 0.4**2)
    expected = spread / 4 / (spread / 4 + 0.25)
    assert abs(found.state_share.value - expected) < 4 * found.state_share.error
    assert found.state_share.error < 0.03
    # Cov(a', a) = −x'/2 · a: x' = 0.4 x + ξ/2 + …, a = −x/2 + ξ/2.
    correlation = -0.5 * (-0.5 * 0.4 * spread + 0.25) / (spread / 4 + 0.25)
    assert abs(found.autocorrelation.value - correlation) < 4 * found.autocorrelation.error


def test_what_the_action_explains(generator):
    """x' = 0.9 x + a + w / 2, Var a = 1: a explains 1 / 1.25 of what x leaves; without effect nothing."""
    rows = chosen_rows(rolled(generator, iid), 0, 3)
    found = effect_of(rows, Folds.of(rows.groups))
    assert abs(found.value - 0.8) < 4 * found.error
    still = rolled(generator, iid, effect=0.0)
    rows = chosen_rows(still, 0, 3)
    assert effect_of(rows, Folds.of(rows.groups)).high < 0.01
    codes = {finding.code for finding in data_card(still).findings}
    assert codes == {Code.ACTION_UNUSED}


def test_the_effective_sample_of_an_autoregression(generator):
    """Means of x' = 0.9 x + w over episodes of T rows: Var = Var x / T · (1 + 2 Σ (1 − k/T) 0.9^k)."""
    rows = chosen_rows(rolled(generator, iid, effect=0.0, noise=np.sqrt(1 - 0.81)), 0, 3)
    length = ROWS - 1 - 6
    lags = np.arange(1, length)
    inflation = 1 + 2 * ((1 - lags / length) * 0.9**lags).sum()
    found = sample_of(rows)
    assert found.n == COUNT * length
    # 60 episodes and two coordinates: an error of √(2 / 118) = 13 % in the variance of the mean.
    assert found.effective.value == pytest.approx(found.n / inflation, rel=0.5)
    assert found.effective.low < found.n / inflation < found.effective.high


def test_effective_states_of_a_few_places(generator):
    """Rows at 5 equally likely places far apart: 1 / P(two meet) = 5."""
    angles = 2 * np.pi * np.arange(5) / 5
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    seen = places[generator.integers(0, 5, (COUNT, ROWS))]
    rows = chosen_rows(made(seen, generator.normal(size=(COUNT, ROWS, 2))), 0, 1)
    found = coverage_of(rows, Folds.of(rows.groups))
    assert abs(found.states.value - 5) < 4 * found.states.error + 0.05
    assert not found.bounded


def test_entropies_of_known_laws(generator):
    folds = Folds.of(np.repeat(np.arange(40), 100))
    found = entropy(generator.normal(size=(4000, 2)), None, folds)
    # Two coordinates with deviation 1: log 2πe.
    assert abs(found.value - np.log(2 * np.pi * np.e)) < 4 * found.error
    found = entropy(generator.choice(3, size=4000, p=[0.5, 0.25, 0.25]), 3, folds)
    assert abs(found.value - 1.5 * np.log(2)) < 4 * found.error
    assert np.isnan(neighbour_entropy(np.ones((100, 2))))


def test_more_episodes_come_nearer(generator):
    rows = chosen_rows(rolled(generator, iid), 0, 3)
    curve = coverage_of(rows, Folds.of(rows.groups)).curve
    assert [point.episodes for point in curve] == [2, 3, 6, 12, 24, 48]
    distances = [point.distance.value for point in curve]
    assert all(later < earlier for earlier, later in pairwise(distances))
    # x' − x = −0.1 x + a + w / 2 with Var x = 1.25 / 0.19: what is left is 0.25 of that variance.
    assert curve[-1].unpredicted.value == pytest.approx(0.25 / (0.01 * 1.25 / 0.19 + 1.25), abs=0.03)


def test_copies_and_near_copies(generator):
    right = rolled(generator, iid)
    seen, done = (part.reshape(COUNT, ROWS, 2).copy() for part in (right.observations, right.actions))
    seen[7], done[7] = seen[3], done[3]
    seen[9] = seen[4] + 1e-3 * generator.normal(size=seen[4].shape)
    found = content_of(made(seen, np.nan_to_num(done)), 0)
    assert (found.duplicates, found.near_duplicates, found.compared) == (1, 1, COUNT)
    found = content_of(right, 0)
    assert (found.duplicates, found.near_duplicates) == (0, 0)


def test_leaks_are_named(generator):
    right = rolled(generator, iid)
    seen = right.observations.reshape(COUNT, ROWS, 2)
    extra = np.zeros((COUNT, ROWS, 3))
    extra[..., 0] = np.arange(ROWS) / ROWS
    extra[..., 1] = generator.normal(size=(COUNT, 1))
    extra[..., 2] = 7.0
    odd = made(np.concatenate([seen, extra], axis=2), np.nan_to_num(right.actions).reshape(COUNT, ROWS, 2))
    kinds = [(one.clock, one.fixed, one.constant) for one in coordinates_of(odd)]
    assert kinds == [(False,) * 3] * 2 + [(True, False, False), (False, True, False), (False, False, True)]
    card = data_card(odd)
    assert {finding.code for finding in card.findings} == {Code.TIME_INDEX, Code.EPISODE_CONSTANT, Code.CONSTANT}
    assert not card.ruined


def test_only_what_ruins_training_ruins_it(generator):
    right = rolled(generator, iid)
    still = dataclasses.replace(right, observations=np.full_like(right.observations, 3.0))
    card = data_card(still)
    assert card.ruined
    assert card.findings[0].code is Code.STILL
    usable = right.usable & (generator.random(len(right.usable)) < 0.3)
    assert data_card(dataclasses.replace(right, usable=usable)).findings[0].code is Code.LOST
    late = np.roll(np.nan_to_num(right.actions).reshape(COUNT, ROWS, 2), 1, axis=1).reshape(-1, 2)
    card = data_card(dataclasses.replace(right, actions=late))
    assert [finding.code for finding in card.findings] == [Code.SHIFTED]
    assert card.ruined


def test_a_card_of_images_and_one_of_a_few_rows(generator):
    frames = generator.integers(0, 256, (60, 6, 6, 3), dtype=np.uint8)
    card = data_card(assemble(frames, generator.integers(0, 3, 60), np.full(3, 20), source="here"))
    assert card.coordinates == ()
    assert {finding.code for finding in card.findings} == {Code.FEW_EPISODES}
    json.dumps(card.to_dict(), allow_nan=False)
    card = data_card(assemble(np.zeros((3, 1)), np.zeros(3), np.array([3]), source="here"))
    assert card.policy is None
    assert card.ruined
    json.dumps(card.to_dict(), allow_nan=False)

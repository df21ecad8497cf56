"""Toy-text environments: tables as gymnasium has them, episodes that follow one another."""

import sys
from typing import ClassVar

import numpy as np
import pytest

from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.spectrum import singular_values, spectral_tail
from jepa_scale.worlds.gymnasium_tabular import GymnasiumTabular

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra: pip install 'jepa-scale[gymnasium]'")

PLAYED = {
    "lake": GymnasiumTabular(),
    "large_lake": GymnasiumTabular(map_name="8x8"),
    "cliff": GymnasiumTabular("CliffWalking-v1", is_slippery=True),
}


def raw_table(name, **options):
    table = gymnasium.make(name, **options).unwrapped.P
    kernel = np.zeros((4, len(table), len(table)))
    for state, action in np.ndindex(len(table), 4):
        for probability, following, *_ in table[state][action]:
            kernel[action, state, following] += probability
    return kernel


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("FrozenLake-v1", {"map_name": "4x4"}, [7.1, 1.5, 0.0]),
        ("FrozenLake-v1", {"map_name": "8x8"}, [24.9, 18.5, 4.3]),
        ("CliffWalking-v1", {"is_slippery": True}, [12.3, 7.1, 0.34]),
    ],
)
def test_tails_of_the_tables_as_they_are(name, options, published):
    """Uniform p over all states, terminal ones looping; the largest of the actions at k = 1, 8, 32."""
    kernel = raw_table(name, **options)
    states = kernel.shape[1]
    world = FiniteWorld(kernel, np.full(states, 1 / states), np.full(4, 0.25), np.arange(states))
    values = singular_values(world)
    # To the digit that was noted down, of numbers that had been rounded to two before.
    np.testing.assert_allclose([spectral_tail(values, k).max() for k in (1, 8, 32)], published, atol=0.055)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lake", [4.85, 0.68, 0.0]),
        ("large_lake", [20.78, 14.87, 3.15]),
        ("cliff", [12.17, 6.76, 0.15]),
    ],
)
def test_tails_of_play_that_restarts(name, expected):
    """The same environments under the law of endless play: shorter tails, as terminal states no longer loop."""
    values = singular_values(PLAYED[name].finite)
    np.testing.assert_allclose([spectral_tail(values, k).max() for k in (1, 8, 32)], expected, atol=0.006)


def test_the_table_is_gymnasiums_but_for_restarts():
    world, raw = PLAYED["lake"], raw_table("FrozenLake-v1")
    terminal = [5, 7, 11, 12, 15]
    rows = np.setdiff1d(np.arange(16), terminal)
    np.testing.assert_allclose(world.kernel()[:, rows], raw[:, rows])
    np.testing.assert_array_equal(world.kernel()[:, terminal], np.broadcast_to(np.eye(16)[0], (4, 5, 16)))


def test_the_law_is_that_of_episodes_played_by_gymnasium():
    """Frequencies of 3000 episodes of the real environment under uniform actions, terminal observations included."""
    environment = gymnasium.make("FrozenLake-v1")
    chooser, visits, episodes = np.random.default_rng(0), np.zeros(16), []
    for episode in range(3000):
        state, _ = environment.reset(seed=episode)
        counts = np.zeros(16)
        counts[state] += 1
        ended = False
        while not ended:
            state, _, terminated, truncated, _ = environment.step(int(chooser.integers(4)))
            counts[state] += 1
            ended = terminated or truncated
        visits += counts
        episodes.append(counts)
    law = PLAYED["lake"].finite.context_law
    # Ratio estimate over independent episodes: its residuals give the standard error; 5 of them for 16 comparisons.
    residuals = np.stack(episodes) - np.stack(episodes).sum(1, keepdims=True) * law
    error = residuals.std(0) / np.sqrt(3000) / np.stack(episodes).sum(1).mean()
    assert (np.abs(visits / visits.sum() - law) <= 5 * error).all()


def test_what_play_never_shows_is_left_out():
    np.testing.assert_array_equal(PLAYED["cliff"].state_numbers, [*range(37), 47])
    taxi = GymnasiumTabular("Taxi-v4")
    assert len(taxi.state_numbers) == taxi.finite.states == 404
    ended = [number for number in taxi.state_numbers if number // 4 % 5 == number % 4]
    assert len(ended) == 4, "delivered passengers: one taxi position for each destination"


def test_determinism_is_flat_but_for_the_restart():
    """Terminal rows lead to one start state: the map is deterministic, so each σ is 0 or 1."""
    values = singular_values(GymnasiumTabular(map_name="8x8", is_slippery=False).finite)
    np.testing.assert_allclose(values, values.round(), atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"environment": "FrozenLak-v1"}, r"environment='FrozenLak-v1': did you mean 'FrozenLake-v1'"),
        ({"environment": "Taxi-v3"}, r"did you mean 'Taxi-v4'"),
        ({"environment": "xyzzy"}, r"such as 'FrozenLake-v1'"),
        ({"environment": "CartPole-v1"}, r"table of transitions P and a start law, got CartPole-v1"),
        ({"environment": "Taxi-v4", "map_name": "4x4"}, r"Taxi-v4 refuses \{'map_name': '4x4'\}: TypeError.*leave out"),
        ({"map_name": "5x5"}, r"FrozenLake-v1 refuses \{'map_name': '5x5'\}"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GymnasiumTabular(**settings)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ValueError, match=r"pip install 'jepa-scale\[gymnasium\]'"):
        GymnasiumTabular()


class Counter:
    """Ends after its second step wherever that leads: when, is no fact of the state."""

    initial_state_distrib = np.array([1.0, 0.0])
    P: ClassVar = {0: {0: [(0.5, 1, 0.0, False), (0.5, 1, 0.0, True)]}, 1: {0: [(1.0, 0, 0.0, False)]}}


def test_states_that_both_end_episodes_and_do_not_are_refused(monkeypatch):
    made = type("Made", (), {"unwrapped": Counter()})()
    monkeypatch.setattr(gymnasium, "make", lambda name, **options: made)
    with pytest.raises(ValueError, match=r"got 1 that do both, the first is 1"):
        GymnasiumTabular()

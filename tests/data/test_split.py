import dataclasses

import numpy as np
import pytest

from jepa_scale.data.split import split_episodes, transition_rows, window_rows
from tests.data.recorded import episodes


@pytest.fixture
def many(generator):
    walk = episodes(generator, lengths=generator.integers(1, 12, 60))
    usable = walk.usable.copy()
    usable[::7] = False
    return dataclasses.replace(walk, usable=usable)


def test_every_episode_with_a_transition_is_in_one_list(many):
    split = split_episodes(many, heldout=40, test=30, seed=0)
    lists = [split.train, split.heldout, split.test]
    together = np.concatenate(lists)
    assert len(set(together.tolist())) == len(together)
    counts = [int(many.usable[a : a + b].sum()) for a, b in zip(many.offsets, many.lengths, strict=True)]
    assert sorted(together.tolist()) == [e for e, count in enumerate(counts) if count]
    assert split.transitions == tuple(sum(counts[e] for e in part) for part in lists)
    assert sum(split.transitions) == many.transitions
    assert split.episodes == tuple(len(part) for part in lists)
    # As many as asked for, and not a whole episode more.
    assert 40 <= split.transitions[1] < 40 + 11
    assert 30 <= split.transitions[2] < 30 + 11


def test_a_seed_is_one_split(many):
    first, again, other = (split_episodes(many, 40, 30, seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint
    np.testing.assert_array_equal(first.train, again.train)
    assert first.fingerprint != other.fingerprint
    assert first.test.tolist() != other.test.tolist()
    assert first.train.tolist() != sorted(first.train.tolist()), (
        "the first n transitions are not those of the first hour"
    )
    # The same lists, but one transition fewer to train on.
    longest = first.train[np.argmax(many.lengths[first.train])]
    usable = many.usable.copy()
    usable[many.offsets[longest] + np.flatnonzero(usable[many.offsets[longest] :])[0]] = False
    changed = split_episodes(dataclasses.replace(many, usable=usable), 40, 30, 0)
    np.testing.assert_array_equal(changed.train, first.train)
    assert changed.fingerprint != first.fingerprint


def test_a_smaller_training_set_is_a_prefix(many):
    split = split_episodes(many, 40, 30, 0)
    everything = transition_rows(many, split.train)
    assert len(everything) == split.transitions[0]
    for n in (1, 17, 100, len(everything)):
        rows = transition_rows(many, split.train, n)
        np.testing.assert_array_equal(rows, everything[:n])
    assert many.usable[everything].all()
    owner = np.searchsorted(many.offsets, everything, side="right") - 1
    assert set(owner.tolist()) == set(split.train.tolist())


def test_windows_stay_in_an_episode_and_within_n(many):
    split = split_episodes(many, 40, 30, 0)
    for n in (25, None):
        allowed = set(transition_rows(many, split.train, n).tolist())
        rows = window_rows(many, split.train, 3, n)
        assert rows.tolist() == [r for r in transition_rows(many, split.train, n) if {r, r + 1, r + 2} <= allowed]
        assert len(rows)


def test_sizes_that_do_not_fit_are_refused(many):
    with pytest.raises(ValueError, match=r"episodes left to train on, got \d+ episodes of \d+ transitions for test=3"):
        split_episodes(many, heldout=10_000, test=3, seed=0)
    with pytest.raises(ValueError, match="test=10000"):
        split_episodes(many, heldout=3, test=10_000, seed=0)
    with pytest.raises(ValueError, match="heldout=0"):
        split_episodes(many, heldout=0, test=3, seed=0)
    split = split_episodes(many, 40, 30, 0)
    with pytest.raises(ValueError, match=rf"1 to {split.transitions[0]} transitions .*n=9999"):
        transition_rows(many, split.train, 9999)
    with pytest.raises(ValueError, match="length=0"):
        window_rows(many, split.train, 0)

import dataclasses

import numpy as np
import pytest

from jepa_scale.data.frameskip import frameskip
from jepa_scale.data.rows import Selected
from jepa_scale.records import ActionSpace
from tests.data.recorded import episodes, images


def test_actions_are_side_by_side_and_observations_lie_apart(generator):
    """The walk adds actions up, so the sum of a step's actions is the change: any slip of a row shows."""
    found = frameskip(episodes(generator, lengths=(7, 4, 9)), 3)
    assert found.lengths.tolist() == [3, 2, 3]
    assert found.actions.shape == (8, 6)
    assert found.action_space == ActionSpace(size=6)
    assert np.flatnonzero(~found.usable).tolist() == [2, 4, 7]
    rows = np.flatnonzero(found.usable)
    change = found.observations[rows + 1] - found.observations[rows]
    np.testing.assert_allclose(found.actions[rows].reshape(-1, 3, 2).sum(axis=1), change, atol=1e-5)
    np.testing.assert_array_equal(found.states, found.observations)
    assert found.notes == ("frameskip 3: 2 steps at the ends of episodes dropped",)


def test_one_action_that_is_not_known_spoils_its_step_only(generator):
    short = episodes(generator, lengths=(7, 2, 9))
    usable = short.usable.copy()
    usable[4] = False
    found = frameskip(dataclasses.replace(short, usable=usable), 3)
    assert found.lengths.tolist() == [3, 3]
    assert np.flatnonzero(found.usable).tolist() == [0, 3, 4]
    assert "1 of 3 episodes shorter than 3 steps dropped" in found.notes


def test_discrete_actions_become_one_number(generator):
    walk = episodes(generator, lengths=(5, 6))
    actions = np.array([1, 0, 2, 2, 0, 0, 1, 1, 2, 0, 0])
    found = frameskip(dataclasses.replace(walk, actions=actions, action_space=ActionSpace(count=3)), 2)
    assert found.action_space.count == 9
    assert found.actions[found.usable].tolist() == [3, 8, 1, 5]


def test_frames_stay_in_their_file(generator, tmp_path):
    np.save(tmp_path / "frames.npy", images(generator, 20))
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    found = frameskip(episodes(generator, observations=mapped), 3)
    assert isinstance(found.observations, Selected)
    rows = [0, 3, 6, 7, 10, 11, 14, 17]
    np.testing.assert_array_equal(np.asarray(found.observations), mapped[rows])


def test_one_step_changes_nothing_and_bad_ones_are_refused(generator):
    walk = episodes(generator)
    assert frameskip(walk, 1) is walk
    with pytest.raises(ValueError, match="frameskip of 1 or more, got 0"):
        frameskip(walk, 0)
    with pytest.raises(ValueError, match="an episode of more than 9 rows, got 9 at most: lower the frameskip"):
        frameskip(walk, 9)
    with pytest.raises(ValueError, match=r"at most 4096 actions of 3 steps, got 20\^3"):
        frameskip(dataclasses.replace(walk, action_space=ActionSpace(count=20)), 3)

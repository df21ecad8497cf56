import numpy as np
import pytest

from jepa_scale.data.external.detect import read_episodes
from tests.data.recorded import episodes, images, same, walk


@pytest.fixture
def walked(generator):
    return walk(generator)


def test_ogbench(tmp_path, walked):
    observations, actions, lengths = walked
    actions = np.nan_to_num(actions, nan=7.0)
    terminals = np.zeros(20)
    terminals[np.cumsum(lengths) - 1] = 1
    joints = {"qpos": observations.astype(np.float64), "qvel": observations[:, :1] * 0}
    arrays = {"observations": observations, "actions": actions, "terminals": terminals, **joints}
    np.savez_compressed(tmp_path / "maze.npz", **arrays)
    found = read_episodes(tmp_path / "maze.npz")
    assert found.source.startswith("OGBench, ")
    assert found.lengths.tolist() == [7, 4, 9]
    assert found.action_space.high < 7, "the last row's action is not looked at"
    rows = np.flatnonzero(found.usable)
    assert len(rows) == 17
    np.testing.assert_allclose(found.observations[rows] + found.actions[rows], found.observations[rows + 1], atol=1e-6)
    assert found.states.shape == (20, 3)
    assert found.notes == ()

    terminals[-1] = 0
    np.savez(tmp_path / "cut.npz", **(arrays | {"terminals": terminals.astype(bool)}))
    found = read_episodes(tmp_path / "cut.npz")
    assert found.lengths.tolist() == [7, 4, 9]
    assert found.notes == ("the last trajectory is cut off: the archive ends before its terminal row",)


def test_ogbench_frames(tmp_path, walked, generator):
    frames = images(generator, 20)
    np.savez(tmp_path / "visual.npz", observations=frames, actions=walked[1], terminals=np.eye(20)[19])
    np.testing.assert_array_equal(read_episodes(tmp_path / "visual.npz").observations, frames)


def test_plain_archives_with_lengths_or_numbers_of_episodes(tmp_path, generator):
    expected = episodes(generator)
    flat = {
        "observations": expected.observations,
        "actions": np.nan_to_num(expected.actions),
        "states": expected.states,
    }
    marks = {
        "ep_len": expected.lengths,
        "episode": np.repeat([5, 2, 9], expected.lengths),
        "trajectory": np.repeat(["b", "a", "c"], expected.lengths),
    }
    for name, values in marks.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, **flat, **{name: values})
        found = read_episodes(path)
        same(found, expected)
        np.testing.assert_array_equal(found.states, expected.states)


def test_plain_archives_of_episodes_of_one_length(tmp_path, generator):
    expected = episodes(generator, lengths=[5, 5, 5])
    actions = expected.actions.reshape(3, 5, 2)[:, :-1]
    path = tmp_path / "grid.npz"
    np.savez(path, x=expected.observations.reshape(3, 5, 2), u=actions)
    same(read_episodes(path, observation="x", action="u"), expected)
    np.savez(path, observations=expected.observations.reshape(3, 5, 2), actions=np.arange(12).reshape(3, 4))
    found = read_episodes(path)
    assert found.actions[found.usable].tolist() == list(range(12))
    assert found.action_space.count == 12
    np.savez(path, observations=expected.observations.reshape(3, 5, 2), actions=expected.actions.reshape(3, 5, 2))
    same(read_episodes(path), expected)


OBSERVATIONS, ACTIONS = np.zeros((6, 2)), np.zeros((6, 1))
BAD = {
    "no actions": (
        {"observations": OBSERVATIONS},
        r"expected the action as action, actions, acts, …, got observations: name",
    ),
    "no episodes": ({"observations": OBSERVATIONS, "actions": ACTIONS}, r"neither ep_len nor lengths .*add ep_len"),
    "apart": (
        {"observations": OBSERVATIONS, "actions": ACTIONS, "episode": [0, 0, 1, 1, 0, 0]},
        r"episode: expected the rows of each episode one after another, got 1 episodes .*such as 0: sort",
    ),
    "lengths": (
        {"observations": OBSERVATIONS, "actions": ACTIONS, "ep_len": [2, 3]},
        r"lengths sum to \(5\), got 6 observations and 6 actions",
    ),
    "no length": (
        {"observations": OBSERVATIONS, "actions": ACTIONS, "ep_len": [6, 0]},
        r"lengths of 1 row or more, got int64 \(2,\) with 0",
    ),
    "pickles": (
        {"observations": np.array([{}] * 6), "actions": ACTIONS, "ep_len": [6]},
        r"numbers in observations, got pickled objects, which are not opened since that runs code",
    ),
    "text": ({"observations": OBSERVATIONS, "actions": ["a"] * 6, "ep_len": [6]}, r"actions of numbers, got <U1"),
    "single rows": (
        {"observations": OBSERVATIONS, "actions": ACTIONS, "ep_len": [1] * 6},
        r"6 episodes without a usable action \(6 of 6 episodes of a single row",
    ),
    "matrix": (
        {"observations": np.zeros((6, 2, 2)), "actions": ACTIONS, "ep_len": [6]},
        r"vectors \(R, D\) or images .*got float64 \(6, 2, 2\) from 0 to 0: store images as uint8, flatten",
    ),
    "states": (
        {"observations": OBSERVATIONS, "actions": ACTIONS, "ep_len": [6], "states": np.zeros((5, 1))},
        r"a state of numbers for each of 6 rows, got float64 \(5, 1\)",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), BAD.values(), ids=BAD.keys())
def test_what_does_not_fit_is_refused(tmp_path, arrays, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as raised:
        read_episodes(path)
    assert str(path) in str(raised.value)


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "cut.npz"
    np.savez(path, observations=OBSERVATIONS, actions=ACTIONS)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut\.npz: expected a NumPy archive, got .*is it complete"):
        read_episodes(path, format="npz")

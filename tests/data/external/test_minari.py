"""The layout written by hand, so that nothing else is needed; and by Minari itself where it is installed."""

import io
import json

import h5py
import numpy as np
import pytest

from jepa_scale.data.external.detect import read_episodes
from jepa_scale.data.rows import RowSource
from tests.data.recorded import images, walk


def write(path, episodes, metadata=None):
    """Groups episode_<i> with T + 1 observations and T actions; nested dictionaries are groups."""
    folder = path / "data"
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps({"data_format": "hdf5", **(metadata or {})}))
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for number, (observations, actions) in episodes.items():
            group = file.create_group(f"episode_{number}")
            group.attrs["id"] = number
            _put(group, "observations", observations)
            _put(group, "actions", actions)
            group.create_group("infos")
    return path


def _put(group, name, values):
    if isinstance(values, dict):
        for key, part in values.items():
            _put(group.require_group(name), key, part)
    elif isinstance(values, list):
        # Minari writes rows of bytes where all are of one length, and ragged ones else.
        ragged = len({len(one) for one in values}) > 1
        group.create_dataset(name, data=values, dtype=h5py.vlen_dtype(np.uint8) if ragged else None)
    else:
        group.create_dataset(name, data=values)


def parts(generator, lengths=(7, 4, 9)):
    observations, actions, lengths = walk(generator, lengths)
    cuts = np.cumsum(lengths)[:-1]
    pairs = zip(np.split(observations, cuts), np.split(actions, cuts), strict=True)
    return {number: (seen.astype(np.float64), done[:-1]) for number, (seen, done) in enumerate(pairs)}


def test_one_observation_more_than_actions(tmp_path, generator):
    episodes = parts(generator, [3] * 12)
    path = write(tmp_path / "walk", episodes)
    for place in (path, path / "data", path / "data" / "main_data.hdf5"):
        found = read_episodes(place)
        assert found.lengths.tolist() == [3] * 12
        assert found.transitions == 24
        rows = np.flatnonzero(found.usable)
        np.testing.assert_allclose(
            found.observations[rows] + found.actions[rows], found.observations[rows + 1], rtol=1e-5, atol=1e-6
        )
    # Episode 10 comes after 9, not after 1.
    np.testing.assert_allclose(found.observations[30:33], episodes[10][0], rtol=1e-6)


def test_parts_are_flattened_or_chosen(tmp_path, generator):
    episodes = {
        number: ({"b": seen, "a": {"x": seen[:, :1], "y": seen.astype(np.float32)}}, {"left": done, "right": -done})
        for number, (seen, done) in parts(generator).items()
    }
    path = write(tmp_path / "dict", episodes)
    found = read_episodes(path)
    whole = np.concatenate([seen["b"] for seen, _ in episodes.values()])
    np.testing.assert_allclose(found.observations, np.concatenate([whole[:, :1], whole, whole], axis=1), rtol=1e-6)
    assert found.actions.shape == (20, 4)
    np.testing.assert_array_equal(found.actions[found.usable][:, :2], -found.actions[found.usable][:, 2:])
    assert read_episodes(path, observation="a/y", action="left").observations.shape == (20, 2)
    assert read_episodes(path, observation="a").observations.shape == (20, 3)
    with pytest.raises(ValueError, match=r"expected a part c among the observations, got a/x, a/y, b"):
        read_episodes(path, observation="c")


def test_discrete_actions_keep_their_count_and_start(tmp_path, generator):
    episodes = {0: (np.zeros((5, 2)), np.array([3, 4, 3, 5])), 1: (np.zeros((3, 2)), np.array([3, 3]))}
    space = json.dumps({"type": "Discrete", "dtype": "int64", "start": 3, "n": 6})
    found = read_episodes(write(tmp_path / "discrete", episodes, {"action_space": space}))
    assert found.action_space.count == 6
    assert found.actions[found.usable].tolist() == [0, 1, 0, 2, 0, 0]


def test_frames_stay_in_their_file_or_are_decoded(tmp_path, generator):
    from PIL import Image

    frames = [images(generator, 5), images(generator, 4)]
    raw = write(tmp_path / "raw", {e: ({"image": part}, np.zeros((len(part) - 1, 1))) for e, part in enumerate(frames)})
    found = read_episodes(raw, load_bytes=0)
    assert isinstance(found.observations, RowSource)
    np.testing.assert_array_equal(np.asarray(found.observations), np.concatenate(frames))

    def encoded(frame):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, format="JPEG")
        return np.frombuffer(buffer.getvalue(), np.uint8)

    flat = [np.full((4, 16, 16, 3), 40 * e, np.uint8) for e in range(3)]
    flat[1][2, :, 8:] = 200
    jpeg = write(tmp_path / "jpeg", {e: ([encoded(f) for f in part], np.zeros((3, 1))) for e, part in enumerate(flat)})
    found = read_episodes(jpeg)
    # Blocks of one colour survive but for rounding.
    np.testing.assert_allclose(found.observations.astype(int), np.concatenate(flat), atol=3)
    assert found.notes == ("images were kept as JPEG: their pixels are not those that were recorded",)


def test_what_does_not_fit_is_refused(tmp_path, generator):
    seen, done = parts(generator)[0]
    with pytest.raises(ValueError, match=r"one observation more than actions in episode_1, got 7 and 7"):
        read_episodes(write(tmp_path / "lengths", {0: (seen, done), 1: (seen, seen)}))
    with pytest.raises(ValueError, match=r"one shape, got \(1,\) in episode_1 after \(2,\) in episode_0"):
        read_episodes(write(tmp_path / "shapes", {0: (seen, done), 1: (seen[:, :1], done)}))
    mixed = {"image": images(generator, 7), "place": seen}
    with pytest.raises(ValueError, match=r"got image, place in episode_0, of which image hold images: choose one part"):
        read_episodes(write(tmp_path / "mixed", {0: (mixed, done)}))
    arrow = write(tmp_path / "arrow", {0: (seen, done)}, {"data_format": "arrow", "minari_version": "0.5.4"})
    (arrow / "data" / "main_data.hdf5").unlink()
    with pytest.raises(ValueError, match="expected a folder 0, 1, … for each episode, got none"):
        read_episodes(arrow)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_minari_itself_writes(tmp_path, monkeypatch, generator):
    minari = pytest.importorskip("minari")
    buffers = pytest.importorskip("minari.data_collector.episode_buffer")
    spaces = pytest.importorskip("gymnasium.spaces")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = parts(generator)
    written = [
        buffers.EpisodeBuffer(
            id=number,
            observations={"place": seen.astype(np.float32), "time": np.arange(len(seen), dtype=np.float32)[:, None]},
            actions=done,
            rewards=[0.0] * len(done),
            terminations=[False] * len(done),
            truncations=[False] * (len(done) - 1) + [True],
        )
        for number, (seen, done) in episodes.items()
    ]
    place, time = spaces.Box(-99, 99, (2,)), spaces.Box(0, 99, (1,))
    minari.create_dataset_from_buffers(
        "tests/walk-v0",
        buffer=written,
        observation_space=spaces.Dict({"place": place, "time": time}),
        action_space=spaces.Box(-1, 1, (2,)),
        data_format="hdf5",
    )
    found = read_episodes(tmp_path / "tests" / "walk-v0")
    assert found.lengths.tolist() == [7, 4, 9]
    rows = np.flatnonzero(found.usable)
    change = found.observations[rows + 1] - found.observations[rows]
    np.testing.assert_allclose(change[:, :2], found.actions[rows], atol=1e-5)
    assert (change[:, 2] == 1).all()

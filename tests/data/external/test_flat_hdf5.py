"""Files as LeWM and stable-worldmodel leave them, and what is wrong with some."""

import h5py
import numpy as np
import pytest

from jepa_scale.data.alignment.check import alignment
from jepa_scale.data.external.detect import read_episodes
from jepa_scale.data.rows import Hdf5Rows
from tests.data.recorded import images, walk


@pytest.fixture
def arrays(generator):
    observations, actions, lengths = walk(generator)
    return {
        "pixels": images(generator, 20),
        "action": actions,
        "proprio": observations,
        "state": np.concatenate([observations, observations], axis=1),
        "ep_len": lengths.astype(np.int32),
        "ep_offset": np.array([0, 7, 11]),
    }


def write(path, arrays, **options):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            chunks = {} if name.startswith("ep_") else {"chunks": (1, *values.shape[1:]), **options}
            file.create_dataset(name, data=values, **chunks)
    return path


def test_pusht_as_lewm_keeps_it(tmp_path, arrays):
    found = read_episodes(write(tmp_path / "pusht.h5", arrays), load_bytes=0)
    assert isinstance(found.observations, Hdf5Rows), "the pixels are not loaded"
    np.testing.assert_array_equal(found.observations[3:9], arrays["pixels"][3:9])
    assert found.lengths.tolist() == [7, 4, 9]
    assert np.flatnonzero(~found.usable).tolist() == [6, 10, 19]
    assert found.transitions == 17
    np.testing.assert_array_equal(found.actions[found.usable], arrays["action"][found.usable])
    np.testing.assert_array_equal(found.states, arrays["state"])
    assert found.notes == (), "NaN in the last row is what is expected there"
    assert found.action_space.low == np.nanmin(arrays["action"])
    assert str(tmp_path / "pusht.h5") in found.source


def test_episode_columns_are_ignored_and_groups_flattened(tmp_path, arrays):
    arrays["ep_idx"] = np.full(20, 99)
    arrays["episode_idx"] = np.arange(20)[::-1].copy()
    arrays["step_idx"] = np.concatenate([np.arange(1, 8), np.arange(1, 5), np.arange(1, 10)])
    arrays["variation/agent/color"] = np.zeros((20, 3), np.uint8)
    arrays["obs/agent"] = arrays.pop("proprio")
    arrays["note"] = np.array(["a"] * 20, dtype=h5py.string_dtype())
    found = read_episodes(write(tmp_path / "swm.h5", arrays), observation="obs_agent")
    assert found.lengths.tolist() == [7, 4, 9]
    np.testing.assert_array_equal(found.observations, arrays["obs/agent"])
    assert found.notes == ("steps count from 1: the recorder left the first frame of every episode out",)


def test_an_action_of_nan_in_the_middle_is_skipped_and_counted(tmp_path, arrays):
    arrays["action"][[2, 8], 1] = np.nan
    arrays["proprio"][13] = np.inf
    found = read_episodes(write(tmp_path / "nan.h5", arrays), observation="proprio")
    # Row 13 is broken as where a transition starts and as where the one before leads.
    assert np.flatnonzero(~found.usable).tolist() == [2, 6, 8, 10, 12, 13, 19]
    assert found.notes == (
        "2 of 17 transitions skipped: an observation that is not finite",
        "2 of 15 transitions skipped: an action that is not finite",
    )


def test_the_last_rows_action_is_never_used(tmp_path, arrays):
    """Some recorders put the episode's first action there."""
    arrays["action"][[6, 10, 19]] = arrays["action"][[0, 7, 11]]
    found = read_episodes(write(tmp_path / "first.h5", arrays))
    assert np.flatnonzero(~found.usable).tolist() == [6, 10, 19]
    assert np.isnan(found.actions[[6, 10, 19]]).all()


def test_offsets_say_where_episodes_are(tmp_path, arrays):
    arrays["ep_len"], arrays["ep_offset"] = np.array([4, 6], np.int32), np.array([7, 0])
    rows = [*range(7, 11), *range(6)]
    path = write(tmp_path / "out_of_order.h5", arrays)
    for load_bytes in (0, 2**20):
        found = read_episodes(path, load_bytes=load_bytes)
        np.testing.assert_array_equal(np.asarray(found.observations), arrays["pixels"][rows])
        np.testing.assert_array_equal(found.states, arrays["state"][rows])
        np.testing.assert_array_equal(found.actions[found.usable], arrays["action"][rows][found.usable])


def test_images_with_channels_first_are_turned(tmp_path, arrays):
    expected = arrays["pixels"]
    arrays["pixels"] = np.moveaxis(expected, -1, 1)
    path = write(tmp_path / "chw.h5", arrays)
    for load_bytes in (0, 2**20):
        found = read_episodes(path, load_bytes=load_bytes)
        assert found.notes == ("images (C, H, W) = (3, 8, 8) turned to (H, W, C)",)
        np.testing.assert_array_equal(found.observations[4:6], expected[4:6])
        assert found.observations.shape == (20, 8, 8, 3)


def test_a_file_whose_actions_are_shifted_is_caught(tmp_path, generator):
    observations, actions, lengths = walk(generator, lengths=[12] * 60, noise=0.3)
    arrays = {"observation": observations, "ep_len": lengths.astype(np.int32), "ep_offset": np.arange(60) * 12}
    late = np.roll(actions, 1, axis=0)
    late[::12] = 0.0
    found = read_episodes(write(tmp_path / "late.h5", {**arrays, "action": late}))
    assert alignment(found).refuses
    found = read_episodes(write(tmp_path / "right.h5", {**arrays, "action": actions}))
    assert alignment(found).verdict == "aligned"


def without(name):
    return lambda arrays: arrays.pop(name)


def replaced(name, change):
    return lambda arrays: arrays.update({name: change(arrays[name])})


BAD = {
    "no offsets": (without("ep_offset"), r"expected a column ep_offset, got action, ep_len"),
    "no action": (without("action"), r"expected a column action, got .*name the observation and action columns"),
    "no pixels": (without("pixels"), r"expected a column pixels, got action, .*proprio, state"),
    "cut off": (replaced("ep_len", lambda v: v + np.int32(1)), r"within the 20 rows, got 1 .*ep_offset\[2\]=11"),
    "overlap": (replaced("ep_offset", lambda v: v - [0, 1, 1]), r"rows that ep_offset and ep_len give to two"),
    "float lengths": (replaced("ep_len", lambda v: v / 1.0), r"expected whole numbers ep_len \(E,\)"),
    "float images": (
        replaced("pixels", lambda v: v / 255.0 - 1),
        r"images \(R, H, W, C\) as bytes .*from -1 to .*store images as uint8",
    ),
    "no channels": (
        replaced("pixels", lambda v: np.zeros((20, 8, 8, 8), np.uint8)),
        r"no axis looks like channels: put the channels last",
    ),
    "negative actions": (
        replaced("action", lambda v: np.full(20, -1)),
        r"discrete actions 0, 1, …, got -1: number them from 0",
    ),
    "only NaN": (replaced("action", lambda v: v * np.nan), r"without a usable action \(17 of 17 transitions skipped"),
    "short actions": (replaced("action", lambda v: v[:15]), r"one row for each of 20 observations in action, got 15"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_what_does_not_fit_is_refused_at_the_door(tmp_path, arrays, change, message):
    change(arrays)
    path = write(tmp_path / "bad.h5", arrays)
    with pytest.raises(ValueError, match=message) as raised:
        read_episodes(path, format="flat-hdf5")
    assert str(path) in str(raised.value)


def test_a_damaged_file_is_refused(tmp_path, arrays):
    path = write(tmp_path / "cut.h5", arrays)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"cut\.h5: expected an HDF5 file, got .*is it complete"):
        read_episodes(path, format="flat-hdf5")


def test_an_unknown_compression_names_the_plugin(tmp_path, arrays):
    pixels = arrays.pop("pixels")
    path = write(tmp_path / "packed.h5", arrays)
    with h5py.File(path, "a") as file:
        # A number that no filter has.
        packed = file.create_dataset(
            "pixels", pixels.shape, np.uint8, chunks=(20, 8, 8, 3), compression=32222, allow_unknown_filter=True
        )
        packed.id.write_direct_chunk((0, 0, 0, 0), b"packed")
    for load_bytes in (0, 2**20):
        with pytest.raises(ValueError, match=r"packed\.h5: /pixels is compressed .*pip install hdf5plugin"):
            read_episodes(path, load_bytes=load_bytes)


def test_the_plugins_compression_is_read(tmp_path, arrays):
    plugin = pytest.importorskip("hdf5plugin")
    found = read_episodes(write(tmp_path / "blosc.h5", arrays, **plugin.Blosc()), load_bytes=0)
    np.testing.assert_array_equal(np.asarray(found.observations), arrays["pixels"])


def test_ordinary_compression_is_read(tmp_path, arrays):
    path = write(tmp_path / "gzip.h5", arrays, compression="gzip")
    found = read_episodes(path, load_bytes=0)
    np.testing.assert_array_equal(np.asarray(found.observations), arrays["pixels"])

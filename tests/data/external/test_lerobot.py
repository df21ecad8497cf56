"""Versions 3.0 and 2.1, written with pyarrow alone."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jepa_scale.data.external.detect import read_episodes
from tests.data.recorded import walk

FEATURES = {
    "observation.state": {"dtype": "float32", "shape": [2]},
    "observation.environment_state": {"dtype": "float32", "shape": [1]},
    "observation.images.top": {"dtype": "video", "shape": [480, 640, 3]},
    "action": {"dtype": "float32", "shape": [2]},
    "episode_index": {"dtype": "int64", "shape": [1]},
}


def table(observations, actions, lengths, rows):
    episode = np.repeat(np.arange(len(lengths)), lengths)[rows]
    return pa.table(
        {
            "observation.state": pa.array(list(observations[rows]), pa.list_(pa.float32())),
            "observation.environment_state": pa.array(list(observations[rows, :1]), pa.list_(pa.float32(), 1)),
            "action": pa.array(list(np.nan_to_num(actions[rows])), pa.list_(pa.float32(), 2)),
            "episode_index": pa.array(episode),
            "index": pa.array(np.arange(len(observations))[rows]),
        }
    )


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path)


@pytest.fixture
def walked(generator):
    return walk(generator)


@pytest.fixture
def third(tmp_path, walked):
    """Two files for three episodes of 7, 4 and 9 rows: the first file ends within the third episode."""
    observations, actions, lengths = walked
    root = tmp_path / "third"
    for number, rows in enumerate((slice(0, 13), slice(13, 20))):
        put(root / f"data/chunk-000/file-{number:03d}.parquet", table(observations, actions, lengths, rows))
    stops = np.cumsum(lengths)
    meta = {"episode_index": [0, 1, 2], "dataset_from_index": stops - lengths, "dataset_to_index": stops}
    put(root / "meta/episodes/chunk-000/file-000.parquet", pa.table(meta | {"length": lengths}))
    (root / "meta/info.json").write_text(json.dumps({"codebase_version": "v3.0", "features": FEATURES}))
    return root


@pytest.fixture
def second(tmp_path, walked):
    observations, actions, lengths = walked
    root = tmp_path / "second"
    stops = np.cumsum(lengths)
    for number, (stop, length) in enumerate(zip(stops, lengths, strict=True)):
        rows = slice(stop - length, stop)
        put(root / f"data/chunk-000/episode_{number:06d}.parquet", table(observations, actions, lengths, rows))
    (root / "meta").mkdir()
    lines = [json.dumps({"episode_index": e, "length": int(length)}) for e, length in enumerate(lengths)]
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    info = {
        "codebase_version": "v2.1",
        "features": FEATURES,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


@pytest.mark.parametrize("version", ["second", "third"])
def test_both_versions_give_the_same_episodes(request, walked, version):
    observations, actions, _ = walked
    found = read_episodes(request.getfixturevalue(version))
    assert found.lengths.tolist() == [7, 4, 9]
    np.testing.assert_array_equal(found.observations, observations)
    assert np.flatnonzero(~found.usable).tolist() == [6, 10, 19]
    np.testing.assert_array_equal(found.actions[found.usable], actions[found.usable])
    assert found.notes == (
        "the last transition of each of 3 episodes is lost: no observation follows it",
        "1 cameras not read: observation.images.top",
    )


@pytest.mark.parametrize("version", ["second", "third"])
def test_another_feature_can_be_the_observation(request, walked, version):
    found = read_episodes(request.getfixturevalue(version), observation="observation.environment_state")
    np.testing.assert_array_equal(found.observations, walked[0][:, :1])


def test_files_in_any_order_of_rows(third, walked):
    path = third / "data/chunk-000/file-000.parquet"
    held = pq.read_table(path)
    pq.write_table(held.take(np.arange(13)[::-1]), path)
    np.testing.assert_array_equal(read_episodes(third).observations, walked[0])


def test_cameras_are_refused_by_name(third):
    with pytest.raises(ValueError, match=r"or actions, got the camera observation\.images\.top: name it alone"):
        read_episodes(third, observation="observation.state,observation.images.top")
    with pytest.raises(ValueError, match=r"expected gripper for the action, got observation\.state, .*name one or"):
        read_episodes(third, action="gripper")


def test_incomplete_datasets_are_refused(third, second):
    (third / "data/chunk-000/file-000.parquet").unlink()
    with pytest.raises(ValueError, match=r"index 0 … 6, got gaps or repeats"):
        read_episodes(third)
    (third / "data/chunk-000/file-001.parquet").unlink()
    with pytest.raises(ValueError, match=r"expected data/chunk-\*/file-\*\.parquet, got none"):
        read_episodes(third)
    one, two = (second / f"data/chunk-000/episode_{number:06d}.parquet" for number in (1, 2))
    two.write_bytes(one.read_bytes())
    with pytest.raises(ValueError, match=r"expected 4 rows of episode 1, got 8"):
        read_episodes(second)
    two.unlink()
    with pytest.raises(ValueError, match=r"expected the file data/chunk-000/episode_000002\.parquet, got none"):
        read_episodes(second)


def test_cuts_that_do_not_fit_are_refused(third):
    path = third / "meta/episodes/chunk-000/file-000.parquet"
    held = pq.read_table(path).to_pydict()
    pq.write_table(pa.table(held | {"dataset_from_index": [0, 6, 11], "dataset_to_index": [6, 11, 20]}), path)
    with pytest.raises(ValueError, match="rows of one episode in each, got others among those of 1"):
        read_episodes(third)
    pq.write_table(pa.table(held | {"dataset_to_index": [7, 11, 18]}), path)
    with pytest.raises(ValueError, match=r"cover the 20 rows one after another, got 3 from 0 to 18"):
        read_episodes(third)


def test_an_unknown_version_is_refused(third):
    path = third / "meta/info.json"
    path.write_text(path.read_text().replace("v3.0", "v4.0"))
    with pytest.raises(ValueError, match=r"version v3\.0 or v2\.1, got v4\.0"):
        read_episodes(third)

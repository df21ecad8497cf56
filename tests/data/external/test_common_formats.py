"""The formats that recordings come in, each written small from one world: all give the same transitions."""

import csv
import io
import json

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from jepa_scale.data.external.detect import formats, read_episodes
from jepa_scale.data.rows import close_files
from tests.data.recorded import walk

COUNT, ROWS = 3, 6
"""Episodes, and observations of each."""


class World:
    """x' = x + a; frames (8, 8, 3) whose grey value is the row's number."""

    def __init__(self, generator):
        observations, actions, _ = walk(generator, [ROWS] * COUNT)
        self.seen = observations.reshape(COUNT, ROWS, 2)
        self.done = np.nan_to_num(actions).reshape(COUNT, ROWS, 2)
        shades = 10 * np.arange(COUNT * ROWS, dtype=np.uint8).reshape(COUNT, ROWS, 1, 1, 1)
        self.frames = np.broadcast_to(shades, (COUNT, ROWS, 8, 8, 3)).copy()

    def flat(self, last):
        """Flat arrays with the last observation of each episode, or without."""
        stop = ROWS if last else ROWS - 1
        return (part[:, :stop].reshape(COUNT * stop, *part.shape[2:]) for part in (self.seen, self.done, self.frames))


@pytest.fixture
def world(generator):
    return World(generator)


def flags(rows):
    ends = np.zeros(COUNT * rows, bool)
    ends[rows - 1 :: rows] = True
    return ends


def check(found, world, last=True, frames=False):
    """Whether transitions are those of the world, ``last``: with the one that leads to the last observation."""
    rows = ROWS if last else ROWS - 1
    assert found.lengths.tolist() == [rows] * COUNT
    assert found.usable.reshape(COUNT, rows)[:, :-1].all()
    seen = world.frames if frames else world.seen
    np.testing.assert_allclose(
        np.asarray(found.observations).reshape(COUNT, rows, *seen.shape[2:]), seen[:, :rows], atol=4 if frames else 1e-6
    )
    taken = found.actions.reshape(COUNT, rows, 2)[:, :-1]
    np.testing.assert_allclose(taken, world.done[:, : rows - 1], atol=1e-6)


def jpeg(frame):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def video(path, frames, rate=10):
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.bit_rate = 10_000_000
        stream.codec_context.gop_size = 4
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame.repeat(4, 0).repeat(4, 1), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


# D4RL, OGBench, stable-baselines, imitation


@pytest.mark.parametrize("suffix", ["npz", "hdf5"])
def test_time_limits_end_episodes_as_failures_do(tmp_path, world, suffix):
    """One episode falls, two run out of time: with terminals alone they would be glued together."""
    seen, done, _ = world.flat(last=False)
    ends = flags(ROWS - 1)
    fallen = ends & (np.arange(len(ends)) < ROWS - 1)
    arrays = {"observations": seen, "actions": done, "terminals": fallen, "timeouts": ends & ~fallen}
    path = tmp_path / f"d4rl.{suffix}"
    write_arrays(path, arrays)
    check(read_episodes(path), world, last=False)
    following = world.seen[:, 1:].reshape(-1, 2)
    write_arrays(path, arrays | {"next_observations": following, "infos/qpos": seen})
    check(read_episodes(path), world)
    del arrays["timeouts"]
    write_arrays(path, arrays | {"next_observations": following})
    found = read_episodes(path)
    check(found, world)
    assert "1 episodes end where no flag says so: the next row is not the observation that follows" in found.notes


def write_arrays(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **{name.replace("/", "_"): values for name, values in arrays.items()})
        return
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values


def test_starts_of_episodes_and_indices(tmp_path, world):
    seen, done, _ = world.flat(last=False)
    starts = np.roll(flags(ROWS - 1), 1)
    np.savez(tmp_path / "expert.npz", obs=seen, actions=done, episode_starts=starts, rewards=np.zeros(len(seen)))
    check(read_episodes(tmp_path / "expert.npz"), world, last=False)
    all_seen, _, _ = world.flat(last=True)
    cuts = np.arange(1, COUNT) * (ROWS - 1)
    np.savez(tmp_path / "rollouts.npz", obs=all_seen, acts=done, indices=cuts, terminal=np.ones(COUNT, bool))
    check(read_episodes(tmp_path / "rollouts.npz"), world)
    np.savez(tmp_path / "wrong.npz", obs=all_seen[1:], acts=done, indices=cuts)
    with pytest.raises(ValueError, match="one observation more than actions in each of 3 episodes"):
        read_episodes(tmp_path / "wrong.npz")


# robomimic, LIBERO, ALOHA


def test_demonstrations_in_groups(tmp_path, world):
    path = tmp_path / "lift.hdf5"
    with h5py.File(path, "w") as file:
        for episode in range(COUNT):
            # Names are sorted by number: demo_10 comes after demo_9.
            group = file.create_group(f"data/demo_{episode + 9}")
            group["actions"], group["states"] = world.done[episode, :-1], world.seen[episode, :-1]
            for name, rows in (("obs", slice(0, -1)), ("next_obs", slice(1, None))):
                group[f"{name}/eef_pos"] = world.seen[episode, rows, :1]
                group[f"{name}/object"] = world.seen[episode, rows, 1:]
                group[f"{name}/agentview_image"] = world.frames[episode, rows]
    check(read_episodes(path), world)
    check(read_episodes(path, observation="agentview_image"), world, frames=True)
    check(read_episodes(path, observation="agentview_image", load_bytes=0), world, frames=True)
    close_files()
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            del demo["next_obs"]
    found = read_episodes(path, observation=["eef_pos", "object"])
    check(found, world, last=False)
    assert found.states.shape == (COUNT * (ROWS - 1), 2)


def test_a_folder_of_demonstrations(tmp_path, world):
    for episode in range(COUNT):
        with h5py.File(tmp_path / f"episode_{episode}.hdf5", "w") as file:
            file["observations/qpos"], file["action"] = world.seen[episode], world.done[episode]
            file["observations/images/top"] = world.frames[episode]
    (tmp_path / "._episode_0.hdf5").write_bytes(b"\0\5\x16\7")
    check(read_episodes(tmp_path), world)
    check(read_episodes(tmp_path, observation="images/top"), world, frames=True)
    with pytest.raises(ValueError, match=r"expected wrist for the observation, got images/top, qpos: name one"):
        read_episodes(tmp_path, observation="wrist")


# Tables


def columns(world):
    count = COUNT * ROWS
    return {
        "episode_idx": np.repeat(np.arange(COUNT), ROWS),
        "step_idx": np.tile(np.arange(ROWS), COUNT),
        "pixels": pa.array([jpeg(frame) for frame in world.frames.reshape(count, 8, 8, 3)], pa.binary()),
        "state": pa.FixedSizeListArray.from_arrays(pa.array(world.seen.reshape(-1)), 2),
        "action": pa.FixedSizeListArray.from_arrays(pa.array(world.done.reshape(-1)), 2),
    }


def test_parquet_and_arrow(tmp_path, world):
    table = pa.table(columns(world))
    pq.write_table(table, tmp_path / "rows.parquet")
    found = read_episodes(tmp_path / "rows.parquet")
    check(found, world, frames=True)
    np.testing.assert_allclose(found.states, world.seen.reshape(-1, 2))
    check(read_episodes(tmp_path / "rows.parquet", observation="state"), world)
    folder = tmp_path / "dataset" / "data"
    folder.mkdir(parents=True)
    half = COUNT * ROWS // 2
    pq.write_table(table.slice(0, half), folder / "train-00000-of-00002.parquet")
    pq.write_table(table.slice(half), folder / "train-00001-of-00002.parquet")
    pq.write_table(table, folder / "test-00000-of-00001.parquet")
    check(read_episodes(tmp_path / "dataset", observation="state"), world)
    with pa.OSFile(str(tmp_path / "data.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    check(read_episodes(tmp_path / "data.arrow", observation="state"), world)


def test_hugging_face_pictures_do_not_lead_out_of_the_folder(tmp_path, world):
    given = columns(world)
    given["image"] = pa.array([{"bytes": None, "path": "../../secret.png"}] * (COUNT * ROWS))
    del given["pixels"]
    pq.write_table(pa.table(given), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="which leads out of it and is not opened"):
        read_episodes(tmp_path / "rows.parquet")


def test_lance(tmp_path, world):
    lance = pytest.importorskip("lance")
    lance.write_dataset(pa.table(columns(world)), str(tmp_path / "walk.lance"))
    check(read_episodes(tmp_path / "walk.lance"), world, frames=True)
    check(read_episodes(tmp_path / "walk.lance", load_bytes=0), world, frames=True)
    check(read_episodes(tmp_path / "walk.lance", observation="state"), world)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["episode", "t", "time", "x0", "x1", "a0", "a1"])
        writer.writerows(rows)


def test_csv_with_steps_out_of_order_and_left_out(tmp_path, world, generator):
    rows = [
        [f"run{e}", t, t / 10, *world.seen[e, t].tolist(), *world.done[e, t].tolist()]
        for e in range(COUNT)
        for t in range(ROWS)
    ]
    path = tmp_path / "walk.csv"
    write_csv(path, rows)
    check(read_episodes(path), world)
    check(read_episodes(path, observation="x?", action=["a0", "a1"]), world)
    first = [row for row in rows if row[0] == "run0"]
    rest = [row for row in rows if row[0] != "run0"]
    write_csv(path, [*first[:1], *(rest[place] for place in generator.permutation(len(rest))), *first[1:]])
    found = read_episodes(path)
    assert "rows put in order by episode and step" in found.notes
    assert found.transitions == COUNT * (ROWS - 1)
    write_csv(path, rows[:3] + rows[4:])
    found = read_episodes(path)
    assert found.notes == ("1 transitions skipped: the next row is not one step later",)
    assert not found.usable[2]
    for row in rows[9:12]:
        row[2] += 5.0
    write_csv(path, rows)
    found = read_episodes(path)
    assert found.notes == (
        "1 transitions skipped: gaps between time stamps, the longest 5.1 s where rows are 0.1 s apart",
    )
    path.write_text(path.read_text()[:-12])
    with pytest.raises(ValueError, match=r"expected 7 values a line, got \d in row 18: the file is cut off there"):
        read_episodes(path)


# stable-worldmodel's folder, Zarr, Minari's Arrow


@pytest.mark.parametrize("kind", ["jpeg", "mp4"])
def test_a_folder_of_columns_and_pictures(tmp_path, world, kind):
    seen, done, _ = world.flat(last=True)
    offsets = np.arange(COUNT) * ROWS
    for name, values in (("ep_len", np.full(COUNT, ROWS)), ("ep_offset", offsets), ("action", done), ("state", seen)):
        np.savez(tmp_path / f"{name}.npz", values)
    (tmp_path / "pixels").mkdir()
    for episode in range(COUNT):
        if kind == "mp4":
            video(tmp_path / f"pixels/ep_{episode}.mp4", world.frames[episode])
            continue
        for step in range(ROWS):
            (tmp_path / f"pixels/ep_{episode}_step_{step}.jpeg").write_bytes(jpeg(world.frames[episode, step]))
    found = read_episodes(tmp_path)
    assert np.abs(np.asarray(found.observations)[:, 4, 4, 0] - 10.0 * np.arange(COUNT * ROWS)).max() <= 4
    check(read_episodes(tmp_path, observation="state"), world)
    (tmp_path / "ep_offset.npz").unlink()
    with pytest.raises(ValueError, match=r"expected swm-folder, as it nearly is, but ep_offset\.npz is missing"):
        read_episodes(tmp_path)


def write_zarr(path, world, **options):
    zarr = pytest.importorskip("zarr")
    seen, done, frames = world.flat(last=True)
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    data, meta = root.create_group("data"), root.create_group("meta")
    for name, values in (("img", frames.astype(np.float32)), ("state", seen), ("action", done)):
        data.create_array(name, data=values, **options)
    meta.create_array("episode_ends", data=(np.arange(COUNT) + 1) * ROWS)


def test_zarr(tmp_path, world):
    write_zarr(tmp_path / "push.zarr", world)
    found = read_episodes(tmp_path / "push.zarr")
    check(found, world)
    assert "1 arrays not read: img" in found.notes
    found = read_episodes(tmp_path / "push.zarr", observation="img", load_bytes=0)
    check(found, world, frames=True)
    assert found.states.shape == (COUNT * ROWS, 2)


def test_zarr_opens_no_pickle(tmp_path, world):
    write_zarr(tmp_path / "push.zarr", world)
    path = tmp_path / "push.zarr/data/action/.zarray"
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]}))
    with pytest.raises(ValueError, match="pickled objects, which are not opened since that runs code"):
        read_episodes(tmp_path / "push.zarr")


def test_minari_in_arrow(tmp_path, world):
    for episode in range(COUNT):
        folder = tmp_path / "data" / str(episode)
        folder.mkdir(parents=True)
        place = [pa.FixedSizeListArray.from_arrays(pa.array(world.seen[episode, :, k]), 1) for k in range(2)]
        table = pa.table(
            {
                "observations": pa.StructArray.from_arrays(place, names=["a", "b"]),
                "actions": pa.FixedSizeListArray.from_arrays(pa.array(world.done[episode].reshape(-1)), 2),
            }
        )
        with pa.OSFile(str(folder / "part-0.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    (tmp_path / "data/metadata.json").write_text(json.dumps({"data_format": "arrow", "minari_version": "0.5.4"}))
    check(read_episodes(tmp_path), world)
    assert read_episodes(tmp_path, observation="a").observations.shape[1] == 1


# LeRobot's cameras


def lerobot(root, world, version, kind):
    features = {
        "observation.state": {"dtype": "float32", "shape": [2]},
        "cam": {"dtype": kind, "shape": [8, 8, 3]},
        "action": {"dtype": "float32", "shape": [2]},
        "timestamp": {"dtype": "float32", "shape": [1]},
    }
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps({"codebase_version": version, "features": features, "fps": 10}))
    table = pa.table(
        {
            "observation.state": list(world.seen.reshape(-1, 2)),
            "action": list(world.done.reshape(-1, 2)),
            "timestamp": np.tile(np.arange(ROWS) / 10, COUNT).astype(np.float32),
            "episode_index": np.repeat(np.arange(COUNT), ROWS),
            "index": np.arange(COUNT * ROWS),
        }
    )
    if kind == "image":
        pictures = [{"bytes": jpeg(frame), "path": None} for frame in world.frames.reshape(-1, 8, 8, 3)]
        table = table.append_column("cam", pa.array(pictures))
    if version == "v2.1":
        lines = [json.dumps({"episode_index": episode, "length": ROWS}) for episode in range(COUNT)]
        (root / "meta/episodes.jsonl").write_text("\n".join(lines))
        (root / "data/chunk-000").mkdir(parents=True)
        for e in range(COUNT):
            pq.write_table(table.slice(e * ROWS, ROWS), root / f"data/chunk-000/episode_{e:06d}.parquet")
            if kind == "video":
                video(root / f"videos/chunk-000/cam/episode_{e:06d}.mp4", world.frames[e])
        return
    starts = np.arange(COUNT) * ROWS
    zeros = np.zeros(COUNT, np.int64)
    meta = {"episode_index": np.arange(COUNT), "dataset_from_index": starts, "dataset_to_index": starts + ROWS}
    meta |= {"videos/cam/chunk_index": zeros, "videos/cam/file_index": zeros, "videos/cam/from_timestamp": starts / 10}
    for name, content in (("meta/episodes", pa.table(meta)), ("data", table)):
        (root / name / "chunk-000").mkdir(parents=True)
        pq.write_table(content, root / name / "chunk-000/file-000.parquet")
    if kind == "video":
        video(root / "videos/cam/chunk-000/file-000.mp4", world.frames.reshape(-1, 8, 8, 3))


@pytest.mark.parametrize("load_bytes", [0, 2**28])
@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_lerobot_cameras(tmp_path, world, version, kind, load_bytes):
    lerobot(tmp_path, world, version, kind)
    found = read_episodes(tmp_path, observation="cam", load_bytes=load_bytes)
    rows = np.array([17, 0, 9, 10, 6])
    assert np.abs(found.observations[rows][:, 4, 4, 0] - 10.0 * rows).max() <= 4
    np.testing.assert_allclose(found.states, world.seen.reshape(-1, 2))
    check(read_episodes(tmp_path), world)


def test_lerobot_gaps_and_videos_elsewhere(tmp_path, world):
    lerobot(tmp_path, world, "v2.1", "video")
    path = tmp_path / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    late = table["timestamp"].to_numpy() + np.float32(0.1) * (np.arange(ROWS) > 2).astype(np.float32)
    pq.write_table(table.set_column(table.column_names.index("timestamp"), "timestamp", pa.array(late)), path)
    found = read_episodes(tmp_path)
    assert np.flatnonzero(~found.usable).tolist() == [5, 8, 11, 17]
    assert any("1 transitions skipped: gaps between time stamps" in note for note in found.notes)
    info = tmp_path / "meta/info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"video_path": "../{video_key}.mp4"}))
    with pytest.raises(ValueError, match="which leads out of it and is not opened"):
        read_episodes(tmp_path, observation="cam")


def test_deformable_worlds_of_dino_wm(tmp_path, world):
    torch.save(torch.from_numpy(world.seen[:, :, None, :].repeat(5, 2)), tmp_path / "states.pth")
    torch.save(torch.from_numpy(world.done), tmp_path / "actions.pth")
    for episode in range(COUNT):
        (tmp_path / f"{episode:06d}").mkdir()
        torch.save(torch.from_numpy(world.frames[episode]).float(), tmp_path / f"{episode:06d}" / "obses.pth")
    found = read_episodes(tmp_path)
    check(found, world, frames=True)
    assert "10 coordinates of particles not read as the state" in found.notes
    assert read_episodes(tmp_path, observation="states").observations.shape[1] == 10


# Detection


def test_a_format_that_is_nearly_there_says_what_is_missing(tmp_path):
    (tmp_path / "data/chunk-000").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"expected lerobot, as it nearly is, but meta/info\.json is missing"):
        read_episodes(tmp_path)
    (tmp_path / "rlds").mkdir()
    (tmp_path / "rlds/features.json").write_text("{}")
    with pytest.raises(ValueError, match=r"got RLDS: RLDS needs TensorFlow, .*convert it to LeRobot"):
        read_episodes(tmp_path / "rlds")
    with h5py.File(tmp_path / "bare.hdf5", "w") as file:
        file["observations"], file["actions"] = np.zeros((4, 1)), np.zeros((4, 1))
    with pytest.raises(ValueError, match="expected d4rl, as it nearly is, but nothing ends episodes"):
        read_episodes(tmp_path / "bare.hdf5")


@pytest.mark.parametrize("suffix", ["npz", "hdf5", "parquet"])
def test_a_truncated_file_is_one_sentence(tmp_path, world, suffix):
    path = tmp_path / f"whole.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table(columns(world)), path)
    else:
        write_arrays(
            path, {"observations": np.zeros((400, 3)), "actions": np.zeros((400, 1)), "terminals": np.ones(400)}
        )
    content = path.read_bytes()
    for kept in (0, 3, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:kept])
        with pytest.raises(ValueError, match=r"truncated|cut off|complete"):
            read_episodes(path)


def test_names_of_formats_are_apart():
    names = [candidate.name for candidate in formats()]
    assert len(set(names)) == len(names)
    assert all(candidate.looks_like for candidate in formats())


# Kinds of actions and observations


KINDS = {
    "several discrete": (np.array([[0, 1], [1, 2], [0, 0], [1, 1]]), 6, [1, 5, 0]),
    "one-hot": (np.eye(3)[[2, 0, 1, 0]], 3, [2, 0, 1]),
    "whole numbers": (np.array([[-90, 4], [3, 100], [0, 0], [1, 1]], np.int16), None, [[-90, 4], [3, 100], [0, 0]]),
}


@pytest.mark.parametrize("name", KINDS)
def test_actions_of_several_numbers(tmp_path, name):
    actions, count, expected = KINDS[name]
    np.savez(tmp_path / "one.npz", observations=np.arange(4.0)[:, None], actions=actions, ep_len=[4])
    found = read_episodes(tmp_path / "one.npz")
    assert found.action_space.count == count
    np.testing.assert_array_equal(found.actions[:3], expected)


def test_floating_and_stacked_frames(tmp_path, world):
    _, done, frames = world.flat(last=True)
    lengths = [ROWS] * COUNT
    np.savez(tmp_path / "float.npz", observations=(frames / 255).astype(np.float32), actions=done, ep_len=lengths)
    check(read_episodes(tmp_path / "float.npz"), world, frames=True)
    two = np.stack([frames, 255 - frames], axis=1)
    np.savez(tmp_path / "stack.npz", observations=two, actions=done, ep_len=lengths)
    found = read_episodes(tmp_path / "stack.npz")
    assert found.observations.shape == (COUNT * ROWS, 8, 8, 6)
    np.testing.assert_array_equal(found.observations[..., :3], frames)
    np.savez(tmp_path / "stack.npz", observations=np.moveaxis(two, -1, 2), actions=done, ep_len=lengths)
    np.testing.assert_array_equal(read_episodes(tmp_path / "stack.npz").observations, found.observations)

import pickle

import numpy as np
import pytest
import torch

from jepa_scale.data.external.detect import read_episodes
from jepa_scale.data.rows import RowSource
from tests.data.recorded import images, walk

LENGTHS = np.array([7, 4, 9])


@pytest.fixture
def walked(generator):
    return walk(generator, LENGTHS)


def padded(flat, fill=99.0):
    found = torch.full((3, 9, flat.shape[1]), fill)
    for number, part in enumerate(np.split(flat, np.cumsum(LENGTHS)[:-1])):
        found[number, : len(part)] = torch.from_numpy(part)
    return found


@pytest.fixture
def maze(tmp_path, walked):
    observations, actions, _ = walked
    root = tmp_path / "point_maze"
    root.mkdir()
    torch.save(padded(observations), root / "states.pth")
    torch.save(padded(np.nan_to_num(actions)), root / "actions.pth")
    torch.save(torch.from_numpy(LENGTHS), root / "seq_lengths.pth")
    return root


def put_frames(root, frames):
    (root / "obses").mkdir()
    for number, part in enumerate(frames):
        torch.save(torch.from_numpy(part), root / "obses" / f"episode_{number:03d}.pth")


def test_padding_is_left_out(maze, walked):
    found = read_episodes(maze)
    assert found.lengths.tolist() == [7, 4, 9]
    np.testing.assert_array_equal(found.observations, walked[0])
    assert np.flatnonzero(~found.usable).tolist() == [6, 10, 19]
    np.testing.assert_array_equal(found.actions[found.usable], walked[1][found.usable])
    assert found.states is None
    assert found.notes == ("7 rows of padding left out",)


def test_pushts_actions_are_hundredths_and_its_lengths_a_pickle(maze, walked):
    (maze / "actions.pth").unlink()
    (maze / "seq_lengths.pth").unlink()
    torch.save(padded(100 * np.nan_to_num(walked[1])), maze / "rel_actions.pth")
    torch.save(padded(walked[0] * 0), maze / "velocities.pth")
    (maze / "seq_lengths.pkl").write_bytes(pickle.dumps(LENGTHS.tolist()))
    with pytest.raises(
        ValueError, match=r"seq_lengths\.pkl: .*a pickle, which runs code .*allow_pickle=True, else save"
    ):
        read_episodes(maze)
    found = read_episodes(maze, allow_pickle=True)
    np.testing.assert_allclose(found.actions[found.usable], walked[1][found.usable], rtol=1e-6)
    assert found.observations.shape == (20, 4)
    assert "relative actions divided by 100" in found.notes


@pytest.mark.parametrize("kind", ["bytes", "floats", "channels first"])
def test_frames_are_read_from_their_files(maze, walked, generator, kind):
    # Files may hold the padding as well.
    frames = [images(generator, 9) for _ in LENGTHS]
    written = {
        "bytes": frames,
        "floats": [part.astype(np.float32) for part in frames],
        "channels first": [np.moveaxis(part, -1, 1).copy() for part in frames],
    }
    put_frames(maze, written[kind])
    expected = np.concatenate([part[:length] for part, length in zip(frames, LENGTHS, strict=True)])
    for load_bytes in (2**20, 0):
        found = read_episodes(maze, load_bytes=load_bytes)
        assert isinstance(found.observations, RowSource) == (load_bytes == 0)
        np.testing.assert_array_equal(np.asarray(found.observations), expected)
        np.testing.assert_array_equal(found.observations[5:9], expected[5:9])
    np.testing.assert_array_equal(found.states, walked[0])
    np.testing.assert_array_equal(read_episodes(maze, observation="states").observations, walked[0])


def test_one_length_where_no_file_says_otherwise(maze):
    (maze / "seq_lengths.pth").unlink()
    assert read_episodes(maze).lengths.tolist() == [9, 9, 9]


def test_what_does_not_fit_is_refused(maze, generator):
    torch.save(torch.tensor([7, 4, 10]), maze / "seq_lengths.pth")
    with pytest.raises(ValueError, match=r"3 lengths from 1 to 9, got 3, from 4 to 10"):
        read_episodes(maze)
    torch.save(torch.from_numpy(LENGTHS), maze / "seq_lengths.pth")
    put_frames(maze, [images(generator, 7), images(generator, 3), images(generator, 9)])
    with pytest.raises(ValueError, match=r"episode_001\.pth: expected 4 frames .*got \(3, 8, 8, 3\)"):
        read_episodes(maze)
    torch.save(torch.rand(4, 8, 8, 3), maze / "obses" / "episode_001.pth")
    with pytest.raises(ValueError, match=r"episode_001\.pth: expected frames of whole numbers 0 … 255, got float32"):
        read_episodes(maze)
    (maze / "obses" / "episode_001.pth").unlink()
    with pytest.raises(ValueError, match=r"obses/episode_001\.pth, got no such file"):
        read_episodes(maze)
    (maze / "obses" / "episode_000.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"episode_000\.mp4: expected a video, got .*is it complete"):
        read_episodes(maze)
    assert read_episodes(maze, observation="states").transitions == 17


class Harmful:
    def __reduce__(self):
        return (print, ("opened",))


def test_pickled_objects_are_not_opened(maze, capsys):
    torch.save(Harmful(), maze / "actions.pth")
    with pytest.raises(ValueError, match=r"actions\.pth: expected a tensor, got something that only unpickling opens"):
        read_episodes(maze)
    assert "opened" not in capsys.readouterr().out
    torch.save({"a": torch.zeros(2)}, maze / "actions.pth")
    with pytest.raises(ValueError, match=r"expected a tensor, got dict: save the tensor alone"):
        read_episodes(maze)
    (maze / "actions.pth").unlink()
    with pytest.raises(ValueError, match=r"actions\.pth: expected a tensor of DINO-WM's, got no such file"):
        read_episodes(maze)

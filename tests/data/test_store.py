import dataclasses
import os

import h5py
import numpy as np
import pytest

from jepa_scale.data.external.detect import read_episodes
from jepa_scale.data.rows import is_mapped
from jepa_scale.data.store import write_episodes
from jepa_scale.records import ActionSpace
from tests.data.recorded import episodes, images, same


@pytest.fixture
def vectors(generator):
    return episodes(generator)


@pytest.fixture
def pictures(generator):
    return episodes(generator, observations=images(generator, 20))


def discrete(vectors):
    actions = np.where(vectors.usable, np.arange(len(vectors.usable)) % 3, 0).astype(np.int64)
    return dataclasses.replace(vectors, actions=actions, action_space=ActionSpace(count=5))


@pytest.mark.parametrize("kind", ["vectors", "pictures", "discrete"])
def test_what_is_written_is_read(request, tmp_path, vectors, kind):
    written = discrete(vectors) if kind == "discrete" else request.getfixturevalue(kind)
    # An action in the middle that is not known.
    usable = written.usable.copy()
    usable[2] = False
    written = dataclasses.replace(written, usable=usable, notes=("one left out",))
    path = write_episodes(written, tmp_path / "new" / "store.h5")
    for load_bytes in (2**20, 0):
        found = read_episodes(path, verify=True, load_bytes=load_bytes)
        same(found, written)
        assert found.action_space == written.action_space
        assert found.checksum == written.checksum
        assert found.notes == ("one left out",)
        np.testing.assert_array_equal(found.states, written.states)
        assert is_mapped(found.observations) == (load_bytes == 0), "a large column stays in its file"


def test_the_layout_is_stable_worldmodels(tmp_path, pictures):
    path = write_episodes(pictures, tmp_path / "store.h5")
    # Their reader opens it so.
    with h5py.File(path, "r", swmr=True) as file:
        assert file["pixels"].dtype == np.uint8
        assert file["pixels"].shape == (20, 8, 8, 3)
        assert file["ep_len"].dtype == np.int32
        assert file["ep_offset"].dtype == np.int64
        assert file["ep_offset"][:].tolist() == [0, 7, 11]
        last = file["ep_offset"][:] + file["ep_len"][:] - 1
        assert np.isnan(file["action"][:][last]).all()
        assert np.isfinite(np.delete(file["action"][:], last, axis=0)).all()
        assert file.attrs["checksum"] == pictures.checksum
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_a_changed_file_is_noticed(tmp_path, pictures):
    path = write_episodes(pictures, tmp_path / "store.h5")
    with h5py.File(path, "a") as file:
        file["pixels"][5, 0, 0, 0] ^= 1
    read_episodes(path)
    with pytest.raises(ValueError, match=r"expected the checksum [0-9a-f]{64}, got .*copy it again"):
        read_episodes(path, verify=True)
    with h5py.File(path, "a") as file:
        del file.attrs["checksum"]
    with pytest.raises(ValueError, match="a file without one"):
        read_episodes(path, verify=True)


def test_a_failure_leaves_the_old_file_and_nothing_half_written(tmp_path, pictures):
    path = write_episodes(pictures, tmp_path / "store.h5")
    before = path.read_bytes()

    class Broken:
        shape, dtype, nbytes = pictures.observations.shape, np.dtype(np.uint8), pictures.observations.nbytes

        def __len__(self):
            return self.shape[0]

        def __getitem__(self, key):
            raise OSError("disk on fire")

    with pytest.raises(OSError, match="fire"):
        write_episodes(dataclasses.replace(pictures, observations=Broken()), path)
    assert path.read_bytes() == before
    with path.open("rb") as reader:
        write_episodes(dataclasses.replace(pictures, notes=("second",)), path)
        assert reader.read() == before, "whoever reads the old file goes on reading it"
    assert read_episodes(path).notes == ("second",)
    assert [file.name for file in tmp_path.iterdir()] == ["store.h5"]


def test_without_h5py_the_error_names_the_extra(tmp_path, pictures, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install 'jepa-scale\[hdf5\]'"):
        write_episodes(pictures, tmp_path / "store.h5")
    assert not list(tmp_path.iterdir())

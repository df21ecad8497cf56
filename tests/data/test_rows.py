import pickle

import h5py
import numpy as np
import pytest
import torch

from jepa_scale.data.rows import CachedRows, Hdf5Rows, Joined, Mapped, MappedRows, Selected, open_rows, windows


@pytest.fixture
def values(generator):
    return generator.integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)


@pytest.fixture
def stored(tmp_path, values):
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file.create_dataset("group/pixels", data=values, chunks=(1, 4, 4, 3))
    return Hdf5Rows(str(tmp_path / "rows.h5"), "group/pixels", values.shape, values.dtype)


KEYS = {
    "number": 7,
    "negative": -1,
    "slice": slice(3, 40, 5),
    "backwards": slice(None, None, -1),
    "run": np.arange(10, 20),
    "any order, repeats": np.array([40, 3, 3, 4, 49, 0]),
    "none": np.array([], dtype=np.int64),
    "mask": np.arange(50) % 3 == 0,
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_sources_index_as_arrays_do(values, stored, key):
    order = np.arange(50)[::-1].copy()
    sources = {
        "hdf5": (stored, values),
        "joined": (Joined([stored, values]), np.concatenate([values, values])),
        "selected": (Selected(stored, order), values[order]),
        "mapped": (Mapped(stored, lambda block: block.max(axis=-1), (4, 4), np.uint8), values.max(axis=-1)),
    }
    for name, (source, expected) in sources.items():
        mask = isinstance(key, np.ndarray) and key.dtype == bool
        chosen = np.resize(key, len(expected)) if mask else key
        np.testing.assert_array_equal(source[chosen], expected[chosen], err_msg=name)
        assert source.nbytes == expected.nbytes


def test_rows_that_are_not_there_are_refused(stored):
    with pytest.raises(IndexError, match=r"rows 0 … 49, got 3 to 50"):
        stored[np.array([3, 50])]
    with pytest.raises(IndexError, match=r"rows 0 … 49"):
        open_rows(stored, cache_bytes=0).take(torch.tensor([50]))


def test_another_file_in_the_same_place_is_read_anew(stored, values):
    np.testing.assert_array_equal(stored[0], values[0])
    other = f"{stored.path}.new"
    with h5py.File(other, "w") as file:
        file.create_dataset("group/pixels", data=values[::-1])
    import os

    os.replace(other, stored.path)
    np.testing.assert_array_equal(stored[0], values[-1])


def test_a_source_travels_to_another_process(stored, values):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored))[5], values[5])


def test_cached_and_mapped_rows_take_the_same(tmp_path, values, stored):
    np.save(tmp_path / "rows.npy", values)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    wanted = windows(torch.tensor([4, 0, 40]), 6)
    expected = torch.from_numpy(values[wanted.numpy()])
    assert wanted.tolist()[0] == [4, 5, 6, 7, 8, 9]
    for source in (mapped, mapped[:], stored):
        small, large = open_rows(source), open_rows(source, cache_bytes=values.nbytes - 1)
        assert isinstance(small, CachedRows)
        assert isinstance(large, MappedRows)
        for rows in (small, large):
            assert len(rows) == 50
            assert torch.equal(rows.take(wanted), expected)
            assert rows.take(wanted[:, 0]).shape == (3, 4, 4, 3)
    # Not in the order of C: the slow way gives the same.
    turned = np.moveaxis(np.load(tmp_path / "rows.npy", mmap_mode="r"), -1, 1)
    assert torch.equal(open_rows(turned, cache_bytes=0).take(wanted), expected.movedim(-1, 2))


def test_an_array_in_memory_is_cached_whatever_its_size(values):
    assert isinstance(open_rows(values, cache_bytes=0), CachedRows)

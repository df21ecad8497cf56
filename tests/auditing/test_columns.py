"""Every format against the arrays it was written from; damaged and foreign files; memory."""

import sys
import tracemalloc
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jepa_scale.auditing.columns import distinct, open_columns

ROWS = 700


@pytest.fixture
def arrays(generator):
    return {
        "z": generator.normal(size=(ROWS, 6)).astype(np.float32),
        "z_next": generator.normal(size=(ROWS, 2, 3)),
        "action": generator.integers(0, 5, ROWS),
        "trajectory": np.array([f"run-{i // 90}" for i in range(ROWS)]),
    }


def write_folder(path, arrays):
    path.mkdir()
    for name, values in arrays.items():
        np.save(path / f"{name}.npy", values)


def write_hdf5(path, arrays, **options):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            text = values.dtype.kind == "U"
            file.create_dataset(name, data=values.astype(h5py.string_dtype()) if text else values, **options)


def write_parquet(path, arrays, **options):
    pq.write_table(pa.table({name: pa.array(values.tolist()) for name, values in arrays.items()}), path, **options)


def write_parquet_fixed(path, arrays):
    columns = {}
    for name, values in arrays.items():
        column = pa.array(values.reshape(-1))
        for length in values.shape[:0:-1]:
            column = pa.FixedSizeListArray.from_arrays(column, length)
        columns[name] = column
    pq.write_table(pa.table(columns), path, row_group_size=100)


FORMATS = {
    "stored.npz": lambda path, arrays: np.savez(path, **arrays),
    "compressed.npz": lambda path, arrays: np.savez_compressed(path, **arrays),
    "folder": write_folder,
    "plain.h5": write_hdf5,
    "chunked.HDF5": lambda path, arrays: write_hdf5(path, arrays, chunks=True, compression="gzip"),
    "lists.parquet": lambda path, arrays: write_parquet(path, arrays, row_group_size=150),
    "fixed.parquet": write_parquet_fixed,
}


@pytest.fixture(params=FORMATS)
def file(request, tmp_path, arrays):
    path = tmp_path / request.param
    FORMATS[request.param](path, arrays)
    return path


def read_all(column, rows, overlap=0):
    blocks = [column.read(start, min(start + rows + overlap, ROWS)) for start in range(0, ROWS, rows)]
    return np.concatenate([block[:rows] for block in blocks])


@pytest.mark.parametrize("rows", [7, 64, ROWS])
@pytest.mark.parametrize("overlap", [0, 1])
def test_blocks_are_the_arrays_on_every_pass(file, arrays, rows, overlap):
    columns = open_columns(file, {})
    assert columns.keys() == arrays.keys()
    for name, values in arrays.items():
        assert columns[name].shape == values.shape
        assert columns[name].dtype.kind == values.dtype.kind
        for _ in range(2):
            np.testing.assert_array_equal(read_all(columns[name], rows, overlap), values)


def test_a_read_may_skip_go_back_or_be_empty(file, arrays):
    column = open_columns(file, {})["z"]
    for start, stop in [(300, 310), (650, 700), (20, 30), (25, 25), (0, 1)]:
        np.testing.assert_array_equal(column.read(start, stop), arrays["z"][start:stop])


def test_blocks_belong_to_the_reader(file, arrays):
    column = open_columns(file, {})["z"]
    column.read(0, 10)[:] = 0
    np.testing.assert_array_equal(column.read(9, 20), arrays["z"][9:20])


def test_names_in_the_file(file, arrays):
    columns = open_columns(file, {"z": "z_next", "weight": "action", "action": ""})
    assert set(columns) == {"z", "z_next", "weight", "trajectory"}
    np.testing.assert_array_equal(columns["z"].read(0, 5), arrays["z_next"][:5])
    with pytest.raises(ValueError, match=r"array features to read as z, got action, trajectory, z, z_next"):
        open_columns(file, {"z": "features"})
    with pytest.raises(ValueError, match=r"names among z, z_next.*got latent"):
        open_columns(file, {"latent": "z"})


@pytest.mark.parametrize("name", FORMATS)
def test_without_z_the_error_lists_what_there_is(tmp_path, arrays, name):
    path = tmp_path / name
    FORMATS[name](path, {"embedding": arrays["z"], "other": arrays["action"]})
    with pytest.raises(ValueError, match=r"got embedding, other.*--columns z=NAME"):
        open_columns(path, {})
    assert open_columns(path, {"z": "embedding"})["z"].shape == (ROWS, 6)


def test_hdf5_groups(tmp_path, arrays):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["test/z"] = arrays["z"]
    np.testing.assert_array_equal(open_columns(tmp_path / "a.h5", {"z": "test/z"})["z"].read(3, 9), arrays["z"][3:9])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", "<f8", "<f2"])
def test_orders_of_axes_and_of_bytes(tmp_path, generator, order, dtype):
    values = np.asarray(generator.normal(size=(50, 4, 3)), dtype=dtype, order=order)
    np.savez(tmp_path / "a.npz", z=values)
    np.save(tmp_path / "z.npy", values)
    for path in (tmp_path, tmp_path / "a.npz"):
        column = open_columns(path, {})["z"]
        assert column.dtype.isnative
        np.testing.assert_array_equal(column.read(7, 31), values[7:31])


def test_compressed_arrays_in_fortran_order_are_refused(tmp_path, arrays):
    np.savez_compressed(tmp_path / "a.npz", z=np.asfortranarray(arrays["z"]), action=arrays["action"])
    with pytest.raises(ValueError, match=r"a\.npz.*Fortran's order.*np\.ascontiguousarray"):
        open_columns(tmp_path / "a.npz", {})


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.endswith("folder")])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path, arrays, name, share):
    path = tmp_path / name
    FORMATS[name](path, arrays)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"{name}: expected .*truncated or damaged"):
        open_columns(path, {})


@pytest.mark.parametrize("size", [0, 5, 40, 200, -1])
def test_truncated_npy(tmp_path, arrays, size):
    np.save(tmp_path / "z.npy", arrays["z"])
    content = (tmp_path / "z.npy").read_bytes()
    (tmp_path / "z.npy").write_bytes(content[:size])
    with pytest.raises(ValueError, match=r"z\.npy: expected .*truncated"):
        open_columns(tmp_path, {})


@pytest.mark.parametrize("name", ["compressed.npz", "chunked.HDF5", "lists.parquet"])
def test_damage_inside_is_found_when_it_is_read(tmp_path, arrays, name):
    path = tmp_path / name
    FORMATS[name](path, {"z": arrays["z"]})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*expected"):
        read_all(open_columns(path, {})["z"], 100)


def test_a_file_cut_after_opening(tmp_path, arrays):
    np.save(tmp_path / "z.npy", arrays["z"])
    column = open_columns(tmp_path, {})["z"]
    with (tmp_path / "z.npy").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ValueError, match=r"z\.npy: expected the array that was there"):
        column.read(ROWS - 5, ROWS)


def test_a_member_that_is_not_where_the_directory_says(tmp_path, arrays):
    path = tmp_path / "a.npz"
    np.savez(path, z=arrays["z"])
    with path.open("r+b") as file:
        file.write(b"????")
    with pytest.raises(ValueError, match=r"a\.npz: expected an \.npz file, got no z\.npy where"):
        open_columns(path, {})


def test_other_kinds_of_files(tmp_path, arrays):
    np.save(tmp_path / "z.npy", arrays["z"])
    with pytest.raises(ValueError, match=r"ending in \.npy: put it into a folder as z\.npy"):
        open_columns(tmp_path / "z.npy", {})
    (tmp_path / "z.csv").touch()
    with pytest.raises(ValueError, match=r"expected an \.npz file, .* got a file ending in \.csv"):
        open_columns(tmp_path / "z.csv", {})
    with pytest.raises(ValueError, match="no such file or folder"):
        open_columns(tmp_path / "absent.npz", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected \.npy files in this folder"):
        open_columns(tmp_path / "empty", {})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_pickled_objects_and_single_numbers_are_refused(tmp_path, save):
    save(tmp_path / "a.npz", z=np.array([[1.0], None], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npz.*pickled objects"):
        open_columns(tmp_path / "a.npz", {})
    save(tmp_path / "b.npz", z=np.float32(3))
    with pytest.raises(ValueError, match="rows along the first axis of z, got a single number"):
        open_columns(tmp_path / "b.npz", {})


def test_an_object_array_nobody_asked_for_does_no_harm(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", z=arrays["z"], notes=np.array([{}, None], dtype=object))
    assert set(open_columns(tmp_path / "a.npz", {})) == {"z"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [3.0]], "lists of one length, got 1 to 2 entries"),
        ([[1.0]] * 5000 + [[1.0, 2.0]] * 70_000, "rows of one shape|lists of one length"),
        ([[1.0], None], "list in every row, got 1 missing"),
        ([{"a": 1}, {"a": 2}], "numbers, strings or lists of numbers, got struct"),
        ([1, None], "value in every row, got 1 missing"),
    ],
)
def test_parquet_columns_that_are_no_array(tmp_path, values, message):
    pq.write_table(pa.table({"z": pa.array(values)}), tmp_path / "a.parquet", row_group_size=5000)
    with pytest.raises(ValueError, match=message):
        open_columns(tmp_path / "a.parquet", {})["z"].read(0, len(values))


def test_missing_floating_numbers_are_nan(tmp_path):
    pq.write_table(pa.table({"z": pa.array([[1.0, None], [3.0, 4.0]])}), tmp_path / "a.parquet")
    np.testing.assert_array_equal(open_columns(tmp_path / "a.parquet", {})["z"].read(0, 2), [[1, np.nan], [3, 4]])


def test_parquet_dictionaries_are_their_values(tmp_path, arrays):
    ids = pa.array(arrays["trajectory"]).dictionary_encode()
    pq.write_table(pa.table({"z": pa.array(arrays["z"].tolist()), "trajectory": ids}), tmp_path / "a.parquet")
    column = open_columns(tmp_path / "a.parquet", {})["trajectory"]
    np.testing.assert_array_equal(read_all(column, 100), arrays["trajectory"])


def test_hdf5_that_is_no_array(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["z"] = h5py.Empty("f4")
    with pytest.raises(ValueError, match="expected numbers or strings in z"):
        open_columns(tmp_path / "a.h5", {})
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("z", (3,), h5py.vlen_dtype(np.float32))
    with pytest.raises(ValueError, match="expected numbers or strings in z"):
        open_columns(tmp_path / "b.h5", {})


def test_hdf5_without_h5py(tmp_path, arrays, monkeypatch):
    write_hdf5(tmp_path / "a.h5", {"z": arrays["z"]})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install 'jepa-scale\[hdf5\]'"):
        open_columns(tmp_path / "a.h5", {})


def test_a_large_compressed_array_takes_little_memory(tmp_path):
    rows = 500_000
    header = {"shape": (rows, 64), "fortran_order": False, "descr": "<f4"}
    compression = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(tmp_path / "a.npz", "w", compression) as archive, archive.open("z.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, 10_000):
            file.write(np.repeat(np.arange(start, start + 10_000, dtype="<f4"), 64).tobytes())
    tracemalloc.start()
    column = open_columns(tmp_path / "a.npz", {})["z"]
    for start in range(0, rows, 5000):
        block = column.read(start, start + 5000)
        assert block[0, 0] == start
        assert block[-1, -1] == start + 4999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The array has 128 MB, a block 1.3.
    assert peak < 30e6


@pytest.mark.parametrize("groups", [1, 10])
def test_a_large_parquet_column_takes_little_memory(tmp_path, generator, groups):
    rows = 100_000
    values = pa.FixedSizeListArray.from_arrays(pa.array(generator.random(rows * 256, dtype=np.float32)), 256)
    pq.write_table(pa.table({"z": values, "z_next": values}), tmp_path / "a.parquet", row_group_size=rows // groups)
    before = most = pa.total_allocated_bytes()
    column = open_columns(tmp_path / "a.parquet", {})["z"]
    for start in range(0, rows, 2000):
        column.read(start, start + 2000)
        most = max(most, pa.total_allocated_bytes())
    # The array has 102 MB.
    assert most - before < 30e6


@pytest.mark.parametrize("fortran", [False, True])
def test_the_end_of_a_large_array_is_read_without_the_rest(tmp_path, fortran):
    with (tmp_path / "z.npy").open("wb") as file:
        header = {"shape": (2**21, 128), "fortran_order": fortran, "descr": "<f4"}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2**30 - 4)
        file.seek(0, 2)
        file.write(np.float32(7).tobytes())
    tracemalloc.start()
    block = open_columns(tmp_path, {})["z"].read(2**21 - 1000, 2**21)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert block.shape == (1000, 128)
    assert block[-1, -1] == 7
    assert block.sum() == 7
    assert peak < 3e6


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
@pytest.mark.parametrize("fortran", [False, True])
def test_reading_forwards_does_not_pile_up_pages(tmp_path, fortran):
    with (tmp_path / "z.npy").open("wb") as file:
        header = {"shape": (2**17, 256), "fortran_order": fortran, "descr": "<f4"}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2**27)
    column = open_columns(tmp_path, {})["z"]
    before = most = resident()
    for start in range(0, 2**17, 4096):
        column.read(start, start + 4096)
        most = max(most, resident())
    assert most - before < 32e6


def test_distinct_values_in_order_of_appearance(generator):
    values = generator.permutation(np.repeat(generator.integers(-(2**62), 2**62, 90_000), 3))
    found, order, count = distinct(iter(np.array_split(values, 40)))
    assert count == len(values)
    np.testing.assert_array_equal(found, np.unique(values))
    firsts = np.array(list(dict.fromkeys(values.tolist())))
    np.testing.assert_array_equal(found[np.argsort(order)], firsts)


def test_distinct_strings_of_any_length_and_nothing():
    found, order, count = distinct(iter([np.array(["b", "a"]), np.array(["longer", "b"]), np.empty(0, dtype="U1")]))
    assert (found.tolist(), order.tolist(), count) == (["a", "b", "longer"], [1, 0, 2], 4)
    assert distinct(iter([np.empty(0, dtype=int)]))[2] == 0

"""Columns of files, read forwards in blocks of rows: one interface for NumPy, HDF5 and Parquet."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jepa_scale.data.hdf5 import h5py_library, open_hdf5
from jepa_scale.foreign import Refused, listed, reading

NAMES = ("z", "z_next", "z_pred", "action", "trajectory", "weight")
"""Canonical names of the arrays; a file uses these names unless the user says otherwise."""

_CHUNK_BYTES = 2**22
_LOCAL_HEADER = 30
_ENCRYPTED = 1
_FORMATS = "an .npz file, a folder of .npy files, an .h5 or .hdf5 file, or a .parquet file"


class Column(Protocol):
    """One array of a file; ``shape`` and ``dtype`` (in native byte order) are known before anything is read."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop − 1 of axis 0, 0 ≤ start ≤ stop ≤ shape[0]: a new array, (stop − start, *shape[1:]).

        Cheap when blocks are read forwards and overlap by one row at most, or start at row 0 again. Some sources have
        to go back to their first row for anything else.

        Raises
        ------
        ValueError
            If the file is damaged or has changed since it was opened.
        """


def open_columns(path: Path, names: Mapping[str, str]) -> dict[str, Column]:
    """Open the arrays of a file by their canonical names (``NAMES``); arrays that the file does not hold are absent.

    Only headers are read. Uncompressed .npz members are read in place, so their checksums are not verified.

    Parameters
    ----------
    path
        An .npz file, a folder of .npy files, an .h5 or .hdf5 file, or a .parquet file.
    names
        Canonical name → name in the file, for the arrays that are called differently there. An empty name leaves an
        array out that the file holds.

    Raises
    ------
    Refused
        If the file cannot be read or is of another kind, has no ``z`` or not the array of a name given, or an array
        would need pickle or has no rows to speak of (a single number).
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise Refused(f"expected names among {', '.join(NAMES)}, got {', '.join(unknown)}: write --columns z=NAME")
    arrays = _arrays(path)
    listing = listed(sorted(arrays)) or "no array"
    columns = {}
    for name in NAMES:
        source = names.get(name, name)
        if source in arrays:
            columns[name] = arrays[source]()
            if not columns[name].shape:
                raise Refused(f"{path}: expected rows along the first axis of {source}, got a single number")
        elif source and name in names:
            raise Refused(f"{path}: expected an array {source} to read as {name}, got {listing}: correct --columns")
    if "z" not in columns:
        raise Refused(
            f"{path}: expected an array z of embeddings, got {listing}: say which one it is with --columns z=NAME"
        )
    return columns


def distinct(blocks: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the sorted distinct values of blocks, the rank of each by first appearance, and the number of values."""
    values, firsts = [np.empty(0, dtype=bool)], [np.empty(0, dtype=np.int64)]
    total = pending = merged = 0
    for block in blocks:
        uniques, first = np.unique(block, return_index=True)
        # An empty start has no type of its own.
        values, firsts = ([*values, uniques], [*firsts, first + total]) if total else ([uniques], [first])
        total += len(block)
        pending += len(uniques)
        # Merging only when the backlog has doubled keeps the work near that of one sort.
        if pending > 2 * merged + _CHUNK_BYTES // 64:
            merged_values, index = np.unique(np.concatenate(values), return_index=True)
            values, firsts = [merged_values], [np.concatenate(firsts)[index]]
            pending = merged = len(merged_values)
    merged_values, index = np.unique(np.concatenate(values), return_index=True)
    order = np.empty(len(merged_values), dtype=np.int64)
    order[np.argsort(np.concatenate(firsts)[index])] = np.arange(len(order))
    return merged_values, order, total


def _arrays(path: Path) -> Mapping[str, Callable[[], Column]]:
    if not path.exists():
        raise Refused(f"{path}: expected {_FORMATS}, got no such file or folder")
    if path.is_dir():
        arrays = {file.stem: partial(_Stored, file) for file in sorted(path.glob("*.npy"))}
        if not arrays:
            raise Refused(f"{path}: expected .npy files in this folder (z.npy at least), got none")
        return arrays
    openers = {".npz": _npz, ".h5": _hdf5, ".hdf5": _hdf5, ".parquet": _parquet}
    suffix = path.suffix.lower()
    if suffix not in openers:
        hint = ": put it into a folder as z.npy, with the other arrays beside it" if suffix == ".npy" else ""
        raise Refused(f"{path}: expected {_FORMATS}, got a file ending in {suffix or 'nothing'}{hint}")
    return openers[suffix](path)


# NumPy


class _Stored:
    """An array stored contiguously in a file. Read, not mapped: pages of a map would add up to the array in memory."""

    def __init__(self, path: Path, offset: int = 0, length: int | None = None):
        with reading(path, "an array of NumPy's format"), path.open("rb") as file:
            end = file.seek(0, 2) if length is None else offset + length
            file.seek(offset)
            self.shape, self._fortran, self._stored = _npy_header(file, str(path))
            self._path, self._offset = path, file.tell()
        needed = math.prod(self.shape) * self._stored.itemsize
        if end - self._offset < needed:
            raise Refused(
                f"{path}: expected {needed} bytes of an array {self.shape}, got {end - self._offset}: it is truncated, "
                "write or copy it again"
            )
        self.dtype = self._stored.newbyteorder("=")

    def read(self, start: int, stop: int) -> np.ndarray:
        shape = (stop - start, *self.shape[1:])
        with reading(self._path, "the array that was there when the file was opened"):
            if self._fortran:
                # The map lives only as long as the copy, so pages do not pile up.
                whole = np.memmap(self._path, self._stored, "r", self._offset, self.shape, "F")
                return np.array(whole[start:stop], dtype=self.dtype, order="C")
            row = math.prod(self.shape[1:])
            offset = self._offset + start * row * self._stored.itemsize
            values = np.fromfile(self._path, self._stored, math.prod(shape), offset=offset)
            return values.reshape(shape).astype(self.dtype, copy=False)


def _npy_header(file: Any, label: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read shape, Fortran order and dtype; the file is left at the first number."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise Refused(f"{label}: expected an array of plain numbers, got format version {version}: save numbers")
    if dtype.hasobject:
        raise Refused(f"{label}: expected numbers or strings, got pickled objects, which are not opened: cast them")
    if min(shape, default=0) < 0:
        raise Refused(f"{label}: expected a shape, got {shape}: the file is damaged, write or copy it again")
    # In one dimension the two orders are one.
    return shape, fortran and len(shape) > 1, dtype


def _npz(path: Path) -> dict[str, Callable[[], Column]]:
    with reading(path, "an .npz file"), zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    return {info.filename.removesuffix(".npy"): partial(_npz_column, path, info) for info in members}


def _npz_column(path: Path, info: zipfile.ZipInfo) -> Column:
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
        return _compressed(path, info)
    with reading(path, "an .npz file"), path.open("rb") as file:
        file.seek(info.header_offset)
        # The local header can be longer than the central directory's copy of it: only its own lengths count.
        magic, name, extra = struct.unpack("<4s22xHH", file.read(_LOCAL_HEADER))
        if magic != b"PK\x03\x04":
            raise zipfile.BadZipFile(f"no {info.filename} where its directory has it")
    return _Stored(path, info.header_offset + _LOCAL_HEADER + name + extra, info.file_size)


def _compressed(path: Path, info: zipfile.ZipInfo) -> Column:
    label = f"{path}: {info.filename}"

    def chunks() -> Iterator[np.ndarray]:
        with reading(path, "an .npz file"), zipfile.ZipFile(path) as archive, archive.open(info) as file:
            shape, _, dtype = _npy_header(file, label)
            row = math.prod(shape[1:]) * dtype.itemsize
            step = max(1, _CHUNK_BYTES // max(row, 1))
            for start in range(0, shape[0], step):
                count = min(step, shape[0] - start)
                values = np.frombuffer(_exactly(file, count * row), dtype)
                yield values.reshape(count, *shape[1:]).astype(dtype.newbyteorder("="), copy=False)

    with reading(path, "an .npz file"), zipfile.ZipFile(path) as archive, archive.open(info) as file:
        shape, fortran, dtype = _npy_header(file, label)
    if fortran:
        raise Refused(
            f"{label}: expected rows one after another, got a compressed array in Fortran's order, whose rows "
            "cannot be read in turn: save np.ascontiguousarray of it, or save with np.savez"
        )
    return _Streamed(label, shape, dtype.newbyteorder("="), chunks)


def _exactly(file: Any, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise EOFError("the array ends before its last row")
    return data


class _Streamed:
    """A source that yields chunks of rows in order and can only restart at its first row."""

    def __init__(self, label: str, shape: tuple[int, ...], dtype: np.dtype, chunks: Callable[[], Iterator[np.ndarray]]):
        self.shape, self.dtype = shape, dtype
        self._label, self._chunks = label, chunks
        self._rewind()

    def _rewind(self) -> None:
        self._source = self._chunks()
        self._first, self._held = 0, np.empty((0, *self.shape[1:]), self.dtype)

    def read(self, start: int, stop: int) -> np.ndarray:
        if stop <= start:
            return np.empty((0, *self.shape[1:]), self.dtype)
        if start < self._first:
            self._rewind()
        parts = [self._held[start - self._first :]]
        end = self._first + len(self._held)
        while end < stop:
            chunk = next(self._source, None)
            if chunk is None:
                raise Refused(f"{self._label}: expected {self.shape[0]} rows, got {end}: write or copy the file again")
            if chunk.shape[1:] != self.shape[1:]:
                raise Refused(
                    f"{self._label}: expected rows of one shape, got {chunk.shape[1:]} after {self.shape[1:]} behind "
                    f"row {end}: pad or cut them to one length"
                )
            parts.append(chunk[max(0, start - end) :])
            end += len(chunk)
        rows = np.concatenate(parts)
        # The next block may begin with the last row of this one.
        self._first, self._held = stop - 1, rows[stop - start - 1 :].copy()
        return rows[: stop - start]


# HDF5


def _hdf5(path: Path) -> dict[str, Callable[[], Column]]:
    datasets: dict[str, Callable[[], Column]] = {}

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "dtype") and hasattr(item, "shape"):
            datasets[name] = partial(_Dataset, path, name)

    with open_hdf5(path) as file:
        file.visititems(visit)
    return datasets


class _Dataset:
    """An HDF5 dataset; the file is opened for each block, so that nothing stays open between two passes."""

    def __init__(self, path: Path, name: str):
        self._path, self._name, self._h5py = path, name, h5py_library(path)
        with self._dataset() as dataset:
            shape, stored = dataset.shape, dataset.dtype
        self._text = stored.kind == "O" and self._h5py.check_string_dtype(stored) is not None
        if shape is None or (stored.hasobject and not self._text):
            raise Refused(f"{path}: expected numbers or strings in {name}, got {stored} of shape {shape}: cast them")
        self.shape, self.dtype = shape, np.dtype(str) if self._text else stored.newbyteorder("=")

    @contextmanager
    def _dataset(self) -> Iterator[Any]:
        with reading(self._path, "an HDF5 file"), self._h5py.File(self._path, "r") as file:
            yield file[self._name]

    def read(self, start: int, stop: int) -> np.ndarray:
        with self._dataset() as dataset:
            rows = dataset.asstr()[start:stop] if self._text else dataset[start:stop]
            return rows.astype(self.dtype, copy=False)


# Parquet


def _parquet(path: Path) -> dict[str, Callable[[], Column]]:
    with _open_parquet(path) as file:
        rows = file.metadata.num_rows
        return {name: partial(_parquet_column, path, name, rows) for name in file.schema_arrow.names}


@contextmanager
def _open_parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet

    # A buffer fetches pages one by one instead of a row group's whole column; Arrow's own would fetch the whole file's.
    options = {"buffer_size": _CHUNK_BYTES, "pre_buffer": False}
    with reading(path, "a Parquet file", pyarrow.ArrowException), pyarrow.parquet.ParquetFile(path, **options) as file:
        yield file


def _parquet_column(path: Path, name: str, rows: int) -> Column:
    label = f"{path}: {name}"

    def chunks(batch_rows: int) -> Iterator[np.ndarray]:
        with _open_parquet(path) as file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=[name]):
                if len(batch):
                    yield _dense(batch.column(name), label)

    first = next(chunks(1), np.empty(0))
    batch_rows = max(1, _CHUNK_BYTES // max(first.nbytes, 64))
    dtype = np.dtype(str) if first.dtype.kind == "U" else first.dtype
    return _Streamed(label, (rows, *first.shape[1:]), dtype, partial(chunks, batch_rows))


def _dense(array: Any, label: str) -> np.ndarray:
    """Turn Arrow's lists of equal length into axes; missing floats become NaN."""
    import pyarrow as pa
    import pyarrow.compute

    shape = [len(array)]
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        if array.null_count:
            raise Refused(f"{label}: expected a list in every row, got {array.null_count} missing ones: drop them")
        lengths = np.unique(pyarrow.compute.list_value_length(array).to_numpy())
        if len(lengths) != 1:
            raise Refused(
                f"{label}: expected lists of one length, got {lengths[0]} to {lengths[-1]} entries: pad or cut them"
            )
        shape.append(int(lengths[0]))
        array = array.flatten()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.null_count and not pa.types.is_floating(array.type):
        raise Refused(f"{label}: expected a value in every row, got {array.null_count} missing ones: drop these rows")
    text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    values = np.array(array.to_pylist(), dtype=str) if text else array.to_numpy(zero_copy_only=False)
    if values.dtype.hasobject:
        raise Refused(f"{label}: expected numbers, strings or lists of numbers, got {array.type}: cast the column")
    return values.reshape(shape)

"""Access to rows of observations that may be larger than memory: rows are taken by index as tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_scale.data.hdf5 import h5py_library, unpacking
from jepa_scale.foreign import reading, short

CACHE_BYTES = 2**30
"""Size in bytes up to which rows are held in memory by default."""


class RowSource:
    """Rows that are fetched on demand: readers use this in place of an array that is too large to load.

    Indexing is NumPy's along the first axis, by number, slice, numbers or mask, and gives new arrays. A view of rows
    (``Selected``), several sources end to end (``Joined``) and a function of each row (``Mapped``) are sources too.
    """

    shape: tuple[int, ...]
    """Shape of all rows, (R, *row)."""
    dtype: np.dtype

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return rows by number, 0 ≤ rows < R, in any order and with repeats: (len(rows), *row)."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """Number of axes, the first one included."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes that all rows would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if isinstance(key, int | np.integer):
            return self.fetch(_numbers(np.array([key]), len(self)))[0]
        if isinstance(key, slice):
            return self.fetch(np.arange(*key.indices(len(self)), dtype=np.int64))
        if isinstance(key, tuple):
            raise TypeError(f"expected an index along the first axis, got {key}: take the rows first, then index those")
        return self.fetch(_numbers(np.asarray(key), len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)


class Hdf5Rows(RowSource):
    """A dataset of an HDF5 file; each process opens the file for itself when it first needs it."""

    def __init__(self, path: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Fetch rows, with one read for each run of consecutive rows: HDF5 is slow per read, not per byte."""
        with reading(self.path, f"the rows of {short(self.name)}"):
            dataset = _hdf5_file(self.path)[self.name]
        wanted, place = np.unique(rows, return_inverse=True)
        rows_read = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        starts = np.flatnonzero(np.diff(wanted, prepend=-2) != 1)
        for start, stop in pairwise([*starts, len(wanted)]):
            first = int(wanted[start])
            with unpacking(self.path, self.name):
                rows_read[start:stop] = dataset[first : first + stop - start]
        # Rows in order need no second copy.
        return rows_read if np.array_equal(wanted, rows) else rows_read[place]


class Joined(RowSource):
    """Concatenation of arrays or sources of one row shape."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape, self.dtype = (int(self.ends[-1]), *parts[0].shape[1:]), parts[0].dtype

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Fetch rows with one request to each part."""
        joined = np.empty((len(rows), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self.ends, rows, side="right")
        for part in np.unique(owner):
            mine = owner == part
            joined[mine] = self.parts[part][rows[mine] - (self.ends[part] - len(self.parts[part]))]
        return joined


class Selected(RowSource):
    """Selected rows of an array or source, in any order."""

    def __init__(self, base: Any, rows: NDArray[np.int64]) -> None:
        self.base, self.rows = base, rows
        self.shape, self.dtype = (len(rows), *base.shape[1:]), base.dtype

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Fetch the selected rows from the base."""
        return np.asarray(self.base[self.rows[rows]])


class Mapped(RowSource):
    """Function of every row of an array or source: ``function`` maps (B, *row) to (B, *row_shape)."""

    def __init__(self, base: Any, function: Callable[[Any], Any], row_shape: tuple[int, ...], dtype: Any) -> None:
        self.base, self.function = base, function
        self.shape, self.dtype = (len(base), *row_shape), np.dtype(dtype)

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Fetch rows from the base and apply the function."""
        return np.asarray(self.function(np.asarray(self.base[rows])), dtype=self.dtype)


class CachedRows:
    """Rows in memory, on any device."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values
        # Kept, as every step of a small model would pay for it again.
        self._row = values.shape[1:]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: torch.Tensor) -> torch.Tensor:
        """Return rows (*indices.shape, *row) on the rows' device; ``indices`` is int64 of any shape, on that device."""
        if indices.ndim == 1:
            return self.values.index_select(0, indices)
        return self.values.index_select(0, indices.reshape(-1)).view(indices.shape + self._row)

    def to(self, device: torch.device) -> CachedRows:
        """Move the rows to a device."""
        return CachedRows(self.values.to(device))


class MappedRows:
    """Rows in a file, read when taken."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self._dtype = torch.from_numpy(np.empty(0, source.dtype)).dtype

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: torch.Tensor) -> torch.Tensor:
        """Return rows (*indices.shape, *row) on the CPU; ``indices`` is int64 of any shape.

        Raises
        ------
        IndexError
            If there is no such row.
        """
        rows = _numbers(indices.reshape(-1).cpu().numpy(), len(self.source))
        row = tuple(self.source.shape[1:])
        if isinstance(self.source, np.ndarray) and self.source.flags.c_contiguous:
            taken = torch.empty((len(rows), *row), dtype=self._dtype)
            # Bounds were checked; "raise" would copy everything a second time, and so would a plain index.
            np.take(self.source, rows, axis=0, out=taken.numpy(), mode="clip")
        else:
            taken = torch.from_numpy(np.ascontiguousarray(self.source[rows]))
        return taken.view(*indices.shape, *row)


def open_rows(values: Any, cache_bytes: int = CACHE_BYTES) -> CachedRows | MappedRows:
    """Return rows ready to be taken: in memory if they are no larger than ``cache_bytes``, else in their file.

    Parameters
    ----------
    values
        (R, *row) array, memory map or source: ``Episodes.observations`` or ``Episodes.actions``.
    cache_bytes
        Largest size that is loaded; an array that is in memory already is never read from anywhere else.
    """
    in_memory = isinstance(values, np.ndarray) and not is_mapped(values)
    if in_memory or values.nbytes <= cache_bytes:
        loaded = np.ascontiguousarray(values)
        # A small map is copied: torch warns of arrays that cannot be written to.
        return CachedRows(torch.from_numpy(loaded if loaded.flags.writeable else loaded.copy()))
    return MappedRows(values)


def windows(starts: torch.Tensor, length: int) -> torch.Tensor:
    """Return the row numbers (B, length) of windows of consecutive rows, for ``take``."""
    return starts[:, None] + torch.arange(length, device=starts.device)


def is_mapped(values: Any) -> bool:
    """Whether an array is a memory map or a view of one: reading it reads a file."""
    while isinstance(values, np.ndarray):
        if isinstance(values, np.memmap):
            return True
        values = values.base
    return False


_OPEN: dict[str, tuple[tuple[int, ...], Any]] = {}
"""Open files by path, with the process and identity of the file: invalid after a fork or a replacement."""


def _hdf5_file(path: str) -> Any:
    status = os.stat(path)
    mark = (os.getpid(), status.st_dev, status.st_ino, status.st_mtime_ns)
    known, file = _OPEN.get(path, (None, None))
    # A closed file is false.
    if known != mark or not file:
        file = h5py_library(path).File(path, "r")
        _OPEN[path] = (mark, file)
    return file


def close_files() -> None:
    """Close all HDF5 files that rows were read from; they are reopened when needed."""
    for _, file in _OPEN.values():
        file.close()
    _OPEN.clear()


def _numbers(rows: NDArray[Any], count: int) -> NDArray[np.int64]:
    if rows.dtype == np.bool_:
        if rows.shape != (count,):
            raise IndexError(f"expected a mask of {count} rows, got {rows.shape}")
        return np.flatnonzero(rows).astype(np.int64)
    rows = rows.astype(np.int64, copy=False)
    if rows.size and (rows.min() < -count or rows.max() >= count):
        raise IndexError(f"expected rows 0 … {count - 1}, got {rows.min()} to {rows.max()}")
    return np.where(rows < 0, rows + count, rows)

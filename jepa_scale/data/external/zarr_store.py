"""Reader of diffusion policy's Zarr stores: flat arrays in ``data`` and ``meta/episode_ends``."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.formats import Format
from jepa_scale.data.external.select import ACTIONS, OBSERVATIONS, Names, chosen, joined
from jepa_scale.data.rows import RowSource
from jepa_scale.foreign import Refused, inside, json_object, listed, reading
from jepa_scale.records import Episodes

_METADATA = (".zarray", ".zgroup", ".zmetadata", "zarr.json")
_RUNS_CODE = "pickle"
"""The codec that unpickles: opening it would run code."""


class _ZarrRows(RowSource):
    """An array of a Zarr store; only requested rows are read."""

    def __init__(self, array: Any, label: str) -> None:
        self.array, self.label = array, label
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read the span of rows that holds those asked for if they lie close, else each of them."""
        if not len(rows):
            return np.zeros((0, *self.shape[1:]), self.dtype)
        low, high = int(rows.min()), int(rows.max()) + 1
        with reading(self.label, "rows of a Zarr array"):
            if high - low <= 4 * len(rows):
                return np.asarray(self.array[low:high])[rows - low]
            wanted, place = np.unique(rows, return_inverse=True)
            return np.asarray(self.array.oindex[wanted])[place]


def read(path: Path, *, observation: Names = None, action: Names = None, load_bytes: int = LOAD_BYTES) -> Episodes:
    """Read ``data/*`` with a row for each step, and ``meta/episode_ends``, the row after each episode's last one.

    ``state`` is the observation unless another array is named, such as ``img``. The last transition of each episode is
    lost. No codec that unpickles is used.

    Raises
    ------
    Refused
        If arrays are missing, do not fit, or would need pickle.
    """
    _check_codecs(path)
    try:
        zarr = importlib.import_module("zarr")
    except ImportError:
        raise Refused(f"{path}: Zarr needs the package zarr, which is absent: pip install 'jepa-scale[zarr]'") from None
    with reading(path, "a Zarr store", Exception):
        root = zarr.open_group(str(path), mode="r")
        arrays = dict(root["data"].arrays())
        ends = np.asarray(root["meta"]["episode_ends"][...])
    if ends.ndim != 1 or ends.dtype.kind not in "iu" or not len(ends):
        raise Refused(f"{path}: expected whole numbers (E,) as meta/episode_ends, got {ends.dtype} {ends.shape}")
    seen = chosen(observation, arrays, ("state", *OBSERVATIONS), "observation", str(path))
    taken = chosen(action, arrays, ACTIONS, "action", str(path))
    state = ["state"] if "state" in arrays and seen != ["state"] else []
    for name in (*seen, *taken, *state):
        if arrays[name].shape[:1] != (int(ends[-1]),):
            raise Refused(
                f"{path}: expected {int(ends[-1])} rows in data/{name}, by episode_ends, got {arrays[name].shape}: "
                "the store is cut off"
            )

    def load(name: str) -> Any:
        return _ZarrRows(arrays[name], f"{path}: data/{name}")

    lengths = np.diff(ends.astype(np.int64), prepend=0)
    unread = sorted(set(arrays) - {*seen, *taken, *state})
    notes = [f"the last transition of each of {len(lengths)} episodes is lost: no observation follows it"]
    if unread:
        notes.append(f"{len(unread)} arrays not read: {listed(unread)}")
    return assemble(
        joined(seen, load, str(path)),
        np.asarray(joined(taken, load, str(path))),
        lengths,
        source=f"Zarr, {path}",
        states=np.asarray(load("state")) if state else None,
        notes=notes,
        load_bytes=load_bytes,
    )


def _check_codecs(path: Path) -> None:
    """Refuse a store whose metadata name the codec that unpickles, or that has files elsewhere."""
    for name in _METADATA:
        for file in path.rglob(name):
            inside(path, path, str(file.relative_to(path)))
            if _RUNS_CODE in json.dumps(json_object(file)):
                raise Refused(
                    f"{file}: expected numbers, got an array of pickled objects, which are not opened since that runs "
                    "code: store numbers"
                )


def _is_zarr(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def _has_ends(path: Path) -> bool:
    return (path / "meta" / "episode_ends").is_dir() and (path / "data").is_dir()


FORMATS = (
    Format(
        "zarr",
        "a Zarr folder with data/* and meta/episode_ends: diffusion policy",
        lambda path: _is_zarr(path) and _has_ends(path),
        read,
        order=20,
        lacks=lambda path: "meta/episode_ends or data is missing" if _is_zarr(path) and not _has_ends(path) else None,
    ),
)

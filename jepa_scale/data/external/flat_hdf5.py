"""Reader of flat HDF5 columns with ``ep_len`` and ``ep_offset``: files of stable-worldmodel, LeWM and our store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.hdf5 import open_hdf5, unpacking
from jepa_scale.data.rows import Hdf5Rows, Selected
from jepa_scale.data.store import VALID, stored_action_space, stored_notes
from jepa_scale.foreign import Refused, listed, reading, short
from jepa_scale.records import Episodes

OBSERVATIONS = ("pixels", "observation")
"""Columns that are read as the observation if none is named, in this order."""


def read(
    path: Path,
    *,
    observation: str | None = None,
    action: str = "action",
    state: str | None = "state",
    verify: bool = False,
    load_bytes: int = LOAD_BYTES,
) -> Episodes:
    """Read the episodes of a flat HDF5 file; columns in groups are called ``a_b`` for ``a/b``.

    Only ``ep_len`` and ``ep_offset`` say what an episode is; episode and step columns are not looked at, except that
    steps counted from 1 are noted. The action in an episode's last row is never used: some recorders put NaN there,
    others the episode's first action.

    Parameters
    ----------
    path
        The file.
    observation
        Column to read as the observation; else ``pixels``, else ``observation``.
    action
        Column of actions, (R, A) floating or (R,) integers.
    state
        Column of the simulator's state; left out where the file has none of that name.
    verify
        Whether to read everything once and compare with the checksum that a store carries.
    load_bytes
        Observations up to this size are loaded; larger ones are mapped where they lie in one piece, else read when
        asked for.

    Raises
    ------
    Refused
        If columns are missing, do not fit each other or cannot be decompressed, or the checksum differs.
    """
    with open_hdf5(path) as file:
        columns = columns_of(file)
        chosen = observation or next((name for name in OBSERVATIONS if name in columns), OBSERVATIONS[0])
        fields = _fields(columns, {"observations": chosen, "actions": action, "states": state, "known": VALID}, path)
        with reading(path, "the notes and action space of a store"):
            space, notes = stored_action_space(file.attrs), stored_notes(file.attrs)
        with unpacking(path, chosen):
            episodes = assemble(
                **fields,
                source=f"flat HDF5, {path}",
                action_space=space,
                notes=(*notes, *_step_note(columns, path)),
                load_bytes=load_bytes,
            )
        checksum = file.attrs.get("checksum")
    if verify:
        _verify(episodes, checksum, path)
    return episodes


def _fields(columns: dict[str, Any], names: dict[str, str | None], path: Path) -> dict[str, Any]:
    """Return rows of all episodes in turn, and their lengths; optional fields are None if the column is missing."""
    for name in ("ep_len", "ep_offset", names["actions"], names["observations"]):
        _require(columns, str(name), path)
    lengths, offsets = (_load(columns[name], path, name) for name in ("ep_len", "ep_offset"))
    count = len(columns[str(names["observations"])])
    rows = _episode_rows(lengths, offsets, count, path)
    fields: dict[str, Any] = {"lengths": lengths}
    for field, name in names.items():
        if name not in columns or (field == "states" and name == names["observations"]):
            fields[field] = None
            continue
        if len(columns[name]) != count:
            raise Refused(
                f"{path}: expected one row for each of {count} observations in {name}, got {len(columns[name])}: the "
                "file may be cut off, or this is no column of rows"
            )
        if field == "observations":
            values = _rows(columns[name], path)
            fields[field] = values if rows is None else Selected(values, rows)
        else:
            values = _load(columns[name], path, name)
            fields[field] = values if rows is None else values[rows]
    return fields


def columns_of(file: Any) -> dict[str, Any]:
    """Return the datasets that have rows, by name; those in groups as ``a_b``."""
    columns: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if getattr(item, "shape", None):
            columns[name.replace("/", "_")] = item

    file.visititems(visit)
    return columns


def _require(columns: dict[str, Any], name: str, path: Path) -> None:
    if name not in columns:
        raise Refused(
            f"{path}: expected a column {name}, got {listed(sorted(columns)) or 'none'}: name the observation and "
            "action columns where they are called differently; ep_len and ep_offset have to be there"
        )


def _load(dataset: Any, path: Path, name: str | None) -> NDArray[Any]:
    with unpacking(path, str(name)):
        return np.asarray(dataset[...])


def _rows(dataset: Any, path: Path) -> Any:
    """Return rows of a dataset: memory-mapped if contiguous, else read on demand."""
    offset = dataset.id.get_offset() if dataset.chunks is None and dataset.external is None else None
    if offset is None:
        rows = Hdf5Rows(str(path), dataset.name, dataset.shape, dataset.dtype)
        # What cannot be decompressed is refused here, not in the middle of an epoch.
        rows.fetch(np.zeros(min(1, len(rows)), dtype=np.int64))
        return rows
    return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)


def _episode_rows(lengths: NDArray[Any], offsets: NDArray[Any], rows: int, path: Path) -> NDArray[np.int64] | None:
    """Return the rows of all episodes in turn; None if these are all rows of the file in order."""
    if lengths.shape != offsets.shape or lengths.ndim != 1 or {lengths.dtype.kind, offsets.dtype.kind} - set("iu"):
        raise Refused(
            f"{path}: expected whole numbers ep_len (E,) and ep_offset (E,), got {lengths.dtype} {lengths.shape} and "
            f"{offsets.dtype} {offsets.shape}: write them again"
        )
    lengths, offsets = lengths.astype(np.int64), offsets.astype(np.int64)
    # No sum of the two: it may overflow.
    outside = (lengths < 1) | (offsets < 0) | (offsets > rows) | (lengths > rows - offsets)
    if outside.any():
        first = int(np.argmax(outside))
        raise Refused(
            f"{path}: expected episodes within the {rows} rows, got {int(outside.sum())} that are not, the first one "
            f"ep_offset[{first}]={offsets[first]}, ep_len[{first}]={lengths[first]}: the file may be cut off"
        )
    if np.array_equal(offsets, np.cumsum(lengths) - lengths) and lengths.sum() == rows:
        return None
    wanted = np.concatenate(
        [np.arange(first, first + count) for first, count in zip(offsets, lengths, strict=True)]
    ).astype(np.int64)
    if len(np.unique(wanted)) < len(wanted):
        raise Refused(f"{path}: expected episodes apart, got rows that ep_offset and ep_len give to two: mend them")
    return wanted


def _step_note(columns: dict[str, Any], path: Path) -> tuple[str, ...]:
    if "step_idx" not in columns:
        return ()
    steps, offsets = (_load(columns[name], path, name) for name in ("step_idx", "ep_offset"))
    if steps.ndim != 1 or len(steps) <= offsets.max() or not (steps[offsets] == 1).all():
        return ()
    return ("steps count from 1: the recorder left the first frame of every episode out",)


def _verify(episodes: Episodes, expected: object, path: Path) -> None:
    if not isinstance(expected, str):
        raise Refused(f"{path}: expected a checksum to verify, got a file without one: write it with `write_episodes`")
    if episodes.checksum != expected:
        raise Refused(
            f"{path}: expected the checksum {short(expected)}, got {episodes.checksum}: the file was changed, or "
            "read with other columns than it was written with; copy it again"
        )

"""Reader of flat HDF5 columns with ``ep_len`` and ``ep_offset``: files of stable-worldmodel, LeWM and our store."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.formats import Format
from jepa_scale.data.external.pieces import unbroken
from jepa_scale.data.external.select import Names, chosen, joined, wanted
from jepa_scale.data.hdf5 import hdf5_names, open_hdf5, unpacking
from jepa_scale.data.rows import Hdf5Rows, Selected
from jepa_scale.data.store import VALID, stored_action_space, stored_notes
from jepa_scale.foreign import Refused, listed, reading, short
from jepa_scale.records import Episodes

OBSERVATIONS = ("pixels", "observation")
"""Columns that are read as the observation if none is named, in this order."""


def read(
    path: Path,
    *,
    observation: Names = None,
    action: Names = "action",
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
        Column to read as the observation, several as "a,b"; else ``pixels``, else ``observation``.
    action
        Column of actions, (R, A) floating or (R,) integers; several are joined.
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
        taken = _named(action, columns, path)
        default = next((name for name in OBSERVATIONS if name in columns), OBSERVATIONS[0])
        seen = _named(default if observation is None else observation, columns, path)
        fields = _fields(columns, {"observations": seen, "actions": taken, "states": [state], "known": [VALID]}, path)
        with reading(path, "the notes and action space of a store"):
            space, notes = stored_action_space(file.attrs), stored_notes(file.attrs)
        with unpacking(path, seen[0]):
            remarks = (*notes, *fields.pop("notes"), *_step_note(columns, path))
            episodes = assemble(
                **fields,
                source=f"flat HDF5, {path}",
                action_space=space,
                notes=remarks,
                load_bytes=load_bytes,
            )
        checksum = file.attrs.get("checksum")
    if verify:
        _verify(episodes, checksum, path)
    return episodes


def _named(names: Names, columns: dict[str, Any], path: Path) -> list[str]:
    if isinstance(names, str) and names in columns:
        return [names]
    for name in wanted(names):
        if not any(fnmatchcase(column, name) for column in columns):
            _require(columns, name, path)
    return chosen(names, columns, (), "columns", str(path))


def _fields(columns: dict[str, Any], names: dict[str, list[Any]], path: Path) -> dict[str, Any]:
    """Return rows of all episodes in turn, and their lengths; optional fields are None if the column is missing."""
    for name in ("ep_len", "ep_offset"):
        _require(columns, name, path)
    lengths, offsets = (load(columns[name], path, name) for name in ("ep_len", "ep_offset"))
    count = len(columns[names["observations"][0]])
    rows = _episode_rows(lengths, offsets, count, path)
    fields: dict[str, Any] = {"lengths": lengths}
    for field, several in names.items():
        if several[0] not in columns or (field == "states" and several == names["observations"]):
            fields[field] = None
            continue
        for name in several:
            if len(columns[name]) != count:
                raise Refused(
                    f"{path}: expected one row for each of {count} observations in {name}, got {len(columns[name])}: "
                    "the file may be cut off, or this is no column of rows"
                )
        if field == "observations":
            values = joined(several, lambda name: rows_of(columns[name], path), str(path))
            fields[field] = values if rows is None else Selected(values, rows)
        else:
            values = joined(several, lambda name: load(columns[name], path, name), str(path))
            fields[field] = values if rows is None else values[rows]
    fields["notes"] = _breaks(fields, columns, rows, path)
    return fields


def _breaks(fields: dict[str, Any], columns: dict[str, Any], rows: NDArray[np.int64] | None, path: Path) -> list[str]:
    """Mark rows before a gap between time stamps as unusable; return what is to be said of it."""
    notes: list[str] = []
    if "timestamp" in columns and len(columns["timestamp"].shape) == 1:
        times = load(columns["timestamp"], path, "timestamp")
        follows = unbroken(fields["lengths"].astype(np.int64), notes, times=times if rows is None else times[rows])
        fields["known"] = follows if fields["known"] is None else follows & fields["known"].astype(bool)
    return notes


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


def load(dataset: Any, path: Path, name: str | None) -> NDArray[Any]:
    """Return all of a dataset."""
    with unpacking(path, str(name)):
        return np.asarray(dataset[...])


def rows_of(dataset: Any, path: Path) -> Any:
    """Return the rows of a dataset: memory-mapped if contiguous, else read on demand."""
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
    steps, offsets = (load(columns[name], path, name) for name in ("step_idx", "ep_offset"))
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


def _lacks(path: Path) -> str | None:
    names = hdf5_names(path)
    missing = [name for name in ("ep_len", "ep_offset") if name not in names]
    return f"{missing[0]} is missing: write it" if len(missing) == 1 else None


FORMATS = (
    Format(
        "flat-hdf5",
        "an HDF5 file with ep_len and ep_offset: a store, LeWM, stable-worldmodel",
        lambda path: {"ep_len", "ep_offset"} <= hdf5_names(path),
        read,
        order=10,
        lacks=_lacks,
    ),
)

"""Store of episodes in one HDF5 file: flat columns with ``ep_len`` and ``ep_offset``, as in stable-worldmodel."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.data.hdf5 import h5py_library
from jepa_scale.foreign import short
from jepa_scale.records import ActionSpace, Episodes

VALID = "action_valid"
"""Column of booleans: rows with an action that was taken and leads to the next row."""

_BLOCK_BYTES = 2**24


def write_episodes(episodes: Episodes, path: Path | str) -> Path:
    """Write a store; an existing file at ``path`` stays intact until the new file is complete.

    Columns: ``pixels`` (R, H, W, C) bytes or ``observation`` (R, D) float32; ``action`` (R, A) float32, NaN where it is
    not usable, or (R,) int64; ``action_valid`` (R,) bool; ``state`` (R, S) float32 where there is one; ``ep_len`` int32
    and ``ep_offset`` int64. Attributes of the root: ``checksum`` (SHA-256 of the episodes), ``action_space``,
    ``source`` and ``notes``. Columns lie in one piece, so that they can be mapped into memory.

    Returns
    -------
    The path.

    Raises
    ------
    ValueError
        If h5py is not installed, or an episode is longer than an int32.
    """
    path = Path(path)
    library = h5py_library(path)
    if episodes.lengths.max() > np.iinfo(np.int32).max:
        raise ValueError(f"{path}: expected episodes below 2³¹ rows, got {episodes.lengths.max()}: cut them")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        with library.File(temporary, "w") as file:
            _write(file, episodes)
        # mkstemp leaves the file to its owner alone; a store is data like any other.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _write(file: Any, episodes: Episodes) -> None:
    images = episodes.observations.dtype == np.uint8
    _column(file, "pixels" if images else "observation", episodes.observations)
    actions = episodes.actions
    if not episodes.action_space.discrete:
        actions = np.where(episodes.usable[:, None], actions, np.nan).astype(np.float32)
    _column(file, "action", actions)
    _column(file, VALID, episodes.usable)
    if episodes.states is not None:
        _column(file, "state", episodes.states)
    file.create_dataset("ep_len", data=episodes.lengths.astype(np.int32))
    file.create_dataset("ep_offset", data=episodes.offsets)
    file.attrs["checksum"] = episodes.checksum
    file.attrs["action_space"] = json.dumps(asdict(episodes.action_space))
    file.attrs["source"] = episodes.source
    file.attrs["notes"] = json.dumps(list(episodes.notes))


def _column(file: Any, name: str, values: Any) -> None:
    """Write a column block by block: the rows may be larger than memory."""
    dataset = file.create_dataset(name, shape=values.shape, dtype=values.dtype)
    step = max(1, _BLOCK_BYTES // max(1, values.nbytes // len(values)))
    for first in range(0, len(values), step):
        dataset[first : first + step] = values[first : first + step]


def stored_action_space(attributes: Any) -> ActionSpace | None:
    """Return the action space recorded in a store; None for files of other programs.

    Raises
    ------
    ValueError
        If it is something else.
    """
    text = attributes.get("action_space")
    if text is None:
        return None
    space = ActionSpace(**json.loads(text))
    whole = [space.size] if space.count is None else [space.size, space.count]
    if not all(type(number) is int for number in whole) or not np.isfinite([space.low, space.high]).all():
        raise ValueError(f"an action space {short(space)}")
    return space


def stored_notes(attributes: Any) -> tuple[str, ...]:
    """Return the notes taken when the episodes of a store were first read.

    Raises
    ------
    ValueError
        If it is something else.
    """
    notes = json.loads(attributes.get("notes", "[]"))
    if not isinstance(notes, list):
        raise ValueError(f"notes {short(notes)}")
    return tuple(short(note) for note in notes)

"""Readers of NumPy archives: those of OGBench, and plain ones."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.foreign import Refused, listed, reading
from jepa_scale.records import Episodes

LENGTHS = ("ep_len", "lengths")
IDS = ("episode", "episode_id", "episode_ids", "episode_index", "episode_idx", "ep_idx", "trajectory")


def read_ogbench(path: Path, *, observation: str = "observations", load_bytes: int = LOAD_BYTES) -> Episodes:
    """Read an OGBench archive: ``observations``, ``actions``, and ``terminals`` 1 in each trajectory's last row.

    ``qpos`` and ``qvel`` become the state. The last row's action is never used. The archive's arrays are loaded whole.

    Raises
    ------
    Refused
        If an array is missing, would need pickle, or does not fit the others.
    """
    arrays = _open(path)
    for name in (observation, "actions", "terminals"):
        _require(arrays, name, path)
    ends = _array(arrays, "terminals", path).reshape(-1) > 0
    notes = []
    if len(ends) and not ends[-1]:
        notes.append("the last trajectory is cut off: the archive ends before its terminal row")
        ends[-1] = True
    lengths = np.diff(np.flatnonzero(ends), prepend=-1)
    joints = [_array(arrays, name, path) for name in ("qpos", "qvel") if name in arrays]
    return assemble(
        _array(arrays, observation, path),
        _array(arrays, "actions", path),
        lengths,
        source=f"OGBench, {path}",
        states=np.concatenate([part.reshape(len(part), -1) for part in joints], axis=1) if joints else None,
        notes=notes,
        load_bytes=load_bytes,
    )


def read_plain(
    path: Path,
    *,
    observation: str = "observations",
    action: str = "actions",
    state: str | None = "states",
    load_bytes: int = LOAD_BYTES,
) -> Episodes:
    """Read the episodes of a plain archive.

    Either flat rows, an action for each (R, …) with ``ep_len`` (E,) or an episode's number for each row, or episodes of
    one length: observations (E, T + 1, …) and actions (E, T) or (E, T, A) and neither.

    Parameters
    ----------
    path
        The archive.
    observation, action, state
        Names of the arrays; the state is left out where there is none of that name.
    load_bytes
        Observations up to this size are loaded; all of them are, as archives cannot be read in part.

    Raises
    ------
    Refused
        If an array is missing, would need pickle, or does not fit the others; or rows of one episode lie apart.
    """
    arrays = _open(path)
    for name in (observation, action):
        _require(arrays, name, path)
    seen, done = _array(arrays, observation, path), _array(arrays, action, path)
    states = _array(arrays, state, path) if state in arrays else None
    counted, marked = (next((name for name in names if name in arrays), None) for names in (LENGTHS, IDS))
    if counted is not None:
        lengths = _array(arrays, counted, path)
    elif marked is not None:
        lengths = run_lengths(_array(arrays, marked, path).reshape(-1), f"{path}: {marked}")
    elif done.ndim >= 2 and seen.ndim >= 3 and (seen.shape[0], seen.shape[1] - 1) == done.shape[:2]:
        lengths = np.full(len(seen), seen.shape[1])
        done = np.concatenate([done, done[:, -1:]], axis=1).reshape(-1, *done.shape[2:])
        states = None if states is None else states.reshape(-1, *states.shape[2:])
        seen = seen.reshape(-1, *seen.shape[2:])
    else:
        raise Refused(
            f"{path}: expected episodes, got observations {seen.shape} and actions {done.shape} with neither "
            f"{' nor '.join((*LENGTHS, *IDS))}: add ep_len, the rows of each episode, or observations (E, T + 1, …) "
            "and actions (E, T, …)"
        )
    return assemble(seen, done, lengths, source=f"NumPy, {path}", states=states, load_bytes=load_bytes)


def run_lengths(ids: NDArray[Any], label: str) -> NDArray[np.int64]:
    """Return the lengths of runs of equal values (R,); a value that recurs is refused: it would be two episodes."""
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    values, counts = np.unique(ids[starts], return_counts=True)
    if (counts > 1).any():
        raise Refused(
            f"{label}: expected the rows of each episode one after another, got {int((counts > 1).sum())} episodes "
            f"whose rows lie apart, such as {values[counts > 1][0]}: sort the rows by episode and time"
        )
    return np.diff(np.append(starts, len(ids))).astype(np.int64)


def names_of(path: Path) -> set[str]:
    """Return the names of an archive's arrays; empty if the file is no archive."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return set()
    with reading(path, "a NumPy archive"), zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def _open(path: Path) -> Any:
    with reading(path, "a NumPy archive"):
        archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise Refused(f"{path}: expected a NumPy archive of several arrays, got a single one: save with np.savez")
    return archive


def _array(archive: Any, name: str | None, path: Path) -> NDArray[Any]:
    with reading(path, f"the array {name}"):
        try:
            array = archive[name]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise Refused(
                f"{path}: expected numbers in {name}, got pickled objects, which are not opened since that runs code: "
                "save arrays of one shape, episodes one after another"
            ) from error
    if not isinstance(array, np.ndarray):
        # The bytes of a member that is no array.
        raise Refused(f"{path}: expected an array {name}, got something else: save with np.savez")
    return array


def _require(arrays: Any, name: str, path: Path) -> None:
    if name not in arrays:
        raise Refused(
            f"{path}: expected an array {name}, got {listed(sorted(arrays)) or 'none'}: name the arrays where they "
            "are called differently"
        )

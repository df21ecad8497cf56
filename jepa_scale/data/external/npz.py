"""Reader of NumPy archives of whole episodes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.formats import Format
from jepa_scale.data.external.pieces import run_lengths, unbroken
from jepa_scale.data.external.select import ACTIONS, EPISODES, OBSERVATIONS, TIMES, Names, chosen, joined
from jepa_scale.foreign import Refused, listed, reading
from jepa_scale.records import Episodes

LENGTHS = ("ep_len", "lengths")
IDS = EPISODES


def read(
    path: Path,
    *,
    observation: Names = None,
    action: Names = None,
    state: str | None = "states",
    load_bytes: int = LOAD_BYTES,
) -> Episodes:
    """Read the episodes of a plain archive.

    Flat rows, an action for each (R, …) with ``ep_len`` (E,) or an episode's number for each row; or actions but for an
    episode's last observation, with ``indices`` (E − 1,) where the actions are cut, as the library imitation has it; or
    episodes of one length: observations (E, T + 1, …) or (E, T, …) and actions (E, T) or (E, T, A) and
    neither. Time stamps end pieces where there is a gap.

    Parameters
    ----------
    path
        The archive.
    observation, action, state
        Names of the arrays, several as "a,b"; the state is left out where there is none of that name.
    load_bytes
        Observations up to this size are loaded; all of them are, as archives cannot be read in part.

    Raises
    ------
    Refused
        If an array is missing, would need pickle, or does not fit the others; or rows of one episode lie apart.
    """
    arrays = opened(path)
    label = str(path)
    seen, done = (
        joined(chosen(names, arrays, proposed, what, label), lambda name: array(arrays, name, path), label)
        for names, proposed, what in ((observation, OBSERVATIONS, "observation"), (action, ACTIONS, "action"))
    )
    states = array(arrays, state, path) if state in arrays and observation != state else None
    counted, marked = (next((name for name in names if name in arrays), None) for names in (LENGTHS, IDS))
    notes: list[str] = []
    if counted is not None:
        lengths = array(arrays, counted, path)
    elif marked is not None:
        lengths = run_lengths(array(arrays, marked, path).reshape(-1), f"{path}: {marked}")
    elif "indices" in arrays:
        done, lengths = _by_indices(array(arrays, "indices", path), len(seen), done, path)
    elif (
        done.ndim >= 2 and seen.ndim >= 3 and seen.shape[0] == done.shape[0] and seen.shape[1] - done.shape[1] in (0, 1)
    ):
        lengths = np.full(len(seen), seen.shape[1])
        if seen.shape[1] == done.shape[1]:
            notes.append(f"the last transition of each of {len(seen)} episodes is lost: no observation follows it")
        else:
            done = np.concatenate([done, done[:, -1:]], axis=1)
        done = done.reshape(-1, *done.shape[2:])
        states = None if states is None else states.reshape(-1, *states.shape[2:])
        seen = seen.reshape(-1, *seen.shape[2:])
    else:
        raise Refused(
            f"{path}: expected episodes, got observations {seen.shape} and actions {done.shape} with neither "
            f"{' nor '.join((*LENGTHS, *IDS))}: add ep_len, the rows of each episode, or observations (E, T + 1, …) "
            "and actions (E, T, …)"
        )
    times = next((array(arrays, name, path) for name in TIMES if name in arrays), None)
    known = None
    if times is not None and lengths.dtype.kind in "iu" and lengths.sum() == len(times):
        known = unbroken(lengths, notes, times=times)
    return assemble(
        seen, done, lengths, source=f"NumPy, {path}", states=states, known=known, notes=notes, load_bytes=load_bytes
    )


def _by_indices(
    indices: NDArray[Any], rows: int, done: NDArray[Any], path: Path
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return actions with one more row for each episode's last observation, and the episodes' lengths."""
    cuts = np.concatenate([[0], indices.reshape(-1), [len(done)]])
    if indices.dtype.kind not in "iu" or (np.diff(cuts) < 1).any() or rows != len(done) + len(cuts) - 1:
        raise Refused(
            f"{path}: expected one observation more than actions in each of {len(cuts) - 1} episodes that indices cut, "
            f"got {rows} observations and {len(done)} actions"
        )
    ends = cuts[1:].astype(np.int64)
    return np.insert(done, ends, done[ends - 1], axis=0), np.diff(cuts).astype(np.int64) + 1


def names_of(path: Path) -> set[str]:
    """Return the names of an archive's arrays; empty if the file is no archive."""
    if not path.is_file() or path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return set()
    with reading(path, "a NumPy archive"), zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def opened(path: Path) -> Any:
    """Open an archive; no pickle in it is opened.

    Raises
    ------
    Refused
        If it is none.
    """
    with reading(path, "a NumPy archive"):
        archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise Refused(f"{path}: expected a NumPy archive of several arrays, got a single one: save with np.savez")
    return archive


def array(archive: Any, name: str | None, path: Path) -> NDArray[Any]:
    """Return an array of an archive.

    Raises
    ------
    Refused
        If it is damaged, or holds objects.
    """
    with reading(path, f"the array {name}"):
        try:
            values = archive[name]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise Refused(
                f"{path}: expected numbers in {name}, got pickled objects, which are not opened since that runs code: "
                "save arrays of one shape, episodes one after another"
            ) from error
    if not isinstance(values, np.ndarray):
        # The bytes of a member that is no array.
        raise Refused(f"{path}: expected an array {name}, got something else: save with np.savez")
    return values


def _lacks(path: Path) -> str | None:
    names = names_of(path)
    return f"it holds {listed(sorted(names))} and no observations and actions: name them" if names else None


FORMATS = (
    Format(
        "npz",
        "an .npz with observations, actions and ep_len, an episode's number for each row, or indices",
        lambda path: bool(names_of(path)) and path.suffix == ".npz",
        read,
        order=60,
        lacks=_lacks,
    ),
)

"""Reader of tables of transitions whose flags end episodes: D4RL, OGBench, stable-baselines, in NumPy or HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external import npz
from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.flat_hdf5 import columns_of, load, rows_of
from jepa_scale.data.external.formats import Format
from jepa_scale.data.external.select import ACTIONS, OBSERVATIONS, Names, chosen, joined
from jepa_scale.data.hdf5 import hdf5_names, open_hdf5
from jepa_scale.data.rows import Joined, RowSource, Selected, is_mapped
from jepa_scale.foreign import Refused
from jepa_scale.records import Episodes

ENDS = ("terminals", "timeouts", "dones", "done", "terminations", "truncations", "terminated", "truncated")
"""Flags of the last row of an episode."""
STARTS = ("episode_starts", "is_first")
NEXT = ("next_observations", "next_obs")
_STATES = (("qpos", "qvel"), ("infos_qpos", "infos_qvel"))
_BLOCK = 4096
_SAME = 1e-5
"""Difference, relative to the deviation, up to which two observations are one."""


def read(path: Path, *, observation: Names = None, action: Names = None, load_bytes: int = LOAD_BYTES) -> Episodes:
    """Read rows (x_t, a_t) with flags that say where episodes end: ``terminals``, ``timeouts``, ``dones`` and the like.

    Any flag ends an episode: a time limit does so as much as a failure. Where there are ``next_observations`` each
    episode gets its last one as a row of its own, so that no transition is lost, and it also ends where the next row is
    not the observation that is said to follow. Without them the last row of an episode has an action that leads nowhere
    known and is not used. ``qpos`` and ``qvel`` (``infos/qpos`` …) become the state.

    Parameters
    ----------
    path
        An .npz, or an HDF5 file with these arrays at its root.
    observation, action
        Names of arrays, several as "a,b".
    load_bytes
        Observations up to this size are loaded.

    Raises
    ------
    Refused
        If an array is missing, would need pickle, or does not fit the others.
    """
    with _arrays(path) as arrays:
        seen = joined(chosen(observation, arrays, OBSERVATIONS, "observation", str(path)), arrays.rows, str(path))
        taken = joined(chosen(action, arrays, ACTIONS, "action", str(path)), arrays.load, str(path))
        notes: list[str] = []
        ends = _ends(arrays, len(taken), path, notes)
        states = _states(arrays)
        following = next((name for name in NEXT if name in arrays and observation is None), None)
        name = (
            "OGBench" if path.suffix == ".npz" and not {"timeouts", *NEXT, *STARTS, "dones"} & set(arrays) else "D4RL"
        )
        label = f"{name}, {path}"
        if len(seen) != len(taken):
            raise Refused(
                f"{label}: expected an observation and an action in each row, got {len(seen)} observations and "
                f"{len(taken)} actions"
            )
        if following is None:
            lengths = np.diff(np.flatnonzero(ends), prepend=-1)
            return assemble(seen, taken, lengths, source=label, states=states, notes=notes, load_bytes=load_bytes)
        after = arrays.rows(following)
        if after.shape != seen.shape:
            raise Refused(f"{label}: expected {following} like the observations {seen.shape}, got {after.shape}")
        _add_breaks(ends, seen, after, notes)
        rows, lengths = _extended(np.flatnonzero(ends), len(taken))
        last = rows >= len(taken)
        within = np.where(last, rows - len(taken), rows)
        # The state after the last action was not recorded.
        return assemble(
            _picked(seen, after, rows), taken[within], lengths, source=label, notes=notes, load_bytes=load_bytes
        )


class _Arrays(Mapping[str, Any]):
    """Arrays of an .npz or HDF5 file by name."""

    def __init__(self, names: list[str], load: Any, rows: Any) -> None:
        self._names, self.load, self.rows = names, load, rows

    def __getitem__(self, name: str) -> Any:
        return self.load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


@contextmanager
def _arrays(path: Path) -> Iterator[_Arrays]:
    if hdf5_names(path):
        with open_hdf5(path) as file:
            columns = columns_of(file)
            yield _Arrays(
                sorted(columns), lambda name: load(columns[name], path, name), lambda name: rows_of(columns[name], path)
            )
        return
    archive = npz.opened(path)

    def array(name: str) -> NDArray[Any]:
        return npz.array(archive, name, path)

    yield _Arrays(sorted(archive), array, array)


def _ends(arrays: _Arrays, rows: int, path: Path, notes: list[str]) -> NDArray[np.bool_]:
    ends = np.zeros(rows, dtype=bool)
    for name in (*ENDS, *STARTS):
        if name not in arrays:
            continue
        flags = arrays.load(name).reshape(-1)
        if len(flags) != rows or flags.dtype.kind not in "biuf":
            raise Refused(f"{path}: expected a flag of {name} for each of {rows} rows, got {flags.dtype} {flags.shape}")
        if name in STARTS:
            ends[:-1] |= flags[1:] > 0
            # That the last row ends the last episode needs no flag of starts.
            ends[-1:] = True
        else:
            ends |= flags > 0
    if rows and not ends[-1]:
        notes.append("the last trajectory is cut off: the archive ends before its terminal row")
        ends[-1] = True
    if rows and ends.sum() == 1:
        notes.append(f"one episode of {rows} rows: no flag ends another one before the last row")
    return ends


def _states(arrays: _Arrays) -> NDArray[Any] | None:
    for names in _STATES:
        joints = [arrays.load(name) for name in names if name in arrays]
        if joints:
            return np.concatenate([part.reshape(len(part), -1) for part in joints], axis=1)
    return None


def _add_breaks(ends: NDArray[np.bool_], seen: Any, after: Any, notes: list[str]) -> None:
    """End episodes where the next row does not hold the observation that is recorded to follow."""
    count = 0
    for first in range(0, len(seen) - 1, _BLOCK):
        stop = min(first + _BLOCK, len(seen) - 1)
        said = np.asarray(after[first:stop]).reshape(stop - first, -1).astype(np.float64)
        is_there = np.asarray(seen[first + 1 : stop + 1]).reshape(stop - first, -1).astype(np.float64)
        apart = ~np.isclose(said, is_there, rtol=_SAME, atol=_SAME * max(1e-12, float(np.nanstd(said))), equal_nan=True)
        broken = apart.any(axis=1) & ~ends[first:stop]
        count += int(broken.sum())
        ends[first:stop] |= broken
    if count:
        notes.append(f"{count} episodes end where no flag says so: the next row is not the observation that follows")


def _extended(stops: NDArray[np.int64], rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows with, after each episode's last row r, row R + r of the next observations, and the lengths."""
    lengths = np.diff(stops, prepend=-1)
    order = np.insert(np.arange(rows), stops + 1, rows + stops)
    return order, lengths + 1


def _picked(seen: Any, after: Any, rows: NDArray[np.int64]) -> Any:
    lazy = any(isinstance(part, RowSource) or is_mapped(part) for part in (seen, after))
    return Selected(Joined([seen, after]), rows) if lazy else np.concatenate([seen, after])[rows]


def _names(path: Path) -> set[str]:
    return npz.names_of(path) | hdf5_names(path)


def _is_flagged(path: Path) -> bool:
    names = _names(path)
    return bool(
        {"observations", "obs"} & names and {"actions", "acts"} & names and {*ENDS, *STARTS} & names
        and not {*npz.LENGTHS, *npz.IDS, "indices"} & names
    )  # fmt: skip


def _lacks(path: Path) -> str | None:
    names = hdf5_names(path)
    if {"observations", "actions"} <= names and path.is_file():
        return "nothing ends episodes: add terminals and timeouts, flags of each row"
    return None


FORMATS = (
    Format(
        "d4rl",
        "an HDF5 file or .npz with observations, actions and terminals, timeouts or dones: D4RL, OGBench",
        _is_flagged,
        read,
        order=30,
        lacks=_lacks,
    ),
)

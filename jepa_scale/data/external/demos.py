"""Reader of HDF5 with a group or file for each demonstration: robomimic, LIBERO, ALOHA, ACT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.flat_hdf5 import load
from jepa_scale.data.external.formats import Format, visible
from jepa_scale.data.external.select import Names, chosen
from jepa_scale.data.hdf5 import h5py_library, hdf5_names, open_hdf5
from jepa_scale.data.rows import Hdf5Rows, Joined
from jepa_scale.foreign import Refused, listed, reading
from jepa_scale.records import Episodes

_ACTIONS = ("actions", "action")


def read_groups(
    path: Path, *, observation: Names = None, action: Names = None, load_bytes: int = LOAD_BYTES
) -> Episodes:
    """Read robomimic's or LIBERO's file: groups ``data/demo_<i>`` with ``obs``, ``actions``, and ``states``.

    All vectors in ``obs`` are the observation, in the order of their names, unless parts are named: a camera alone, or
    several vectors. ``next_obs`` gives each episode its last observation; without it the last transition is lost.
    ``states`` are the simulator's.

    Raises
    ------
    Refused
        If groups are missing or do not fit each other.
    """
    with open_hdf5(path) as file:
        demos = _demos(file, path)
        parts = [_demo(group, path, observation, action, load_bytes // len(demos)) for group in demos]
    return _together(parts, f"robomimic, {path}", load_bytes)


def read_files(
    path: Path, *, observation: Names = None, action: Names = None, load_bytes: int = LOAD_BYTES
) -> Episodes:
    """Read a folder of ALOHA or ACT: ``episode_<i>.hdf5`` with ``observations/qpos`` and ``action``.

    ``qpos`` is the observation unless others are named: ``images/top``, or ``qpos,qvel``. The last transition of each
    episode is lost.

    Raises
    ------
    Refused
        If files are missing or do not fit each other.
    """
    parts = []
    files = _episode_files(path)
    for file_path in files:
        with open_hdf5(file_path) as file:
            wanted = "qpos" if observation is None and "qpos" in file.get("observations", {}) else observation
            parts.append(_demo(file, file_path, wanted, action, load_bytes // len(files)))
    return _together(parts, f"ALOHA, {path}", load_bytes)


class _Part:
    """Rows of one demonstration."""

    def __init__(self, observations: Any, actions: NDArray[Any], states: NDArray[Any] | None, lost: bool) -> None:
        self.observations, self.actions, self.states, self.lost = observations, actions, states, lost


def _demos(file: Any, path: Path) -> list[Any]:
    data = file["data"]
    names = sorted((name for name in data if name.startswith("demo")), key=lambda name: (len(name), name))
    if not names:
        raise Refused(f"{path}: expected groups data/demo_0, …, got {listed(data) or 'nothing'}")
    return [data[name] for name in names]


def _demo(group: Any, path: Path, observation: Names, action: Names, load_bytes: int) -> _Part:
    label = f"{path}: {group.name}"
    root = next((name for name in ("obs", "observations") if name in group), None)
    if root is None:
        raise Refused(f"{label}: expected obs or observations, got {listed(group) or 'nothing'}")
    seen = _leaves(group[root])
    taken = {name: item for name, item in _leaves(group).items() if not name.startswith((root, "next_obs"))}
    actions = load(taken[chosen(action, taken, _ACTIONS, "action", label)[0]], path, "actions")
    if observation is None:
        names = [name for name, item in seen.items() if len(item.shape) <= 2 and item.dtype.kind in "fiu"]
        if not names:
            raise Refused(f"{label}: expected vectors in {root}, got {listed(seen)}: name a camera as the observation")
    else:
        names = chosen(observation, seen, (), "observation", label)
    following = _leaves(group["next_obs"]) if "next_obs" in group else {}
    has_next = set(names) <= set(following)
    lazy = len(names) == 1 and len(seen[names[0]].shape) > 2
    if lazy and seen[names[0]].size > load_bytes:
        rows: Any = Hdf5Rows(str(path), seen[names[0]].name, seen[names[0]].shape, seen[names[0]].dtype)
        rows = Joined([rows, np.asarray(following[names[0]][-1:])]) if has_next else rows
    else:
        rows = _vectors([seen[name][...] for name in names])
        if has_next:
            rows = np.concatenate([rows, _vectors([following[name][-1:] for name in names])])
    count = len(actions)
    if len(rows) - count not in ((1,) if has_next else (0, 1)):
        raise Refused(f"{label}: expected an observation for each of {count} actions, got {len(rows)}: drop it")
    states = load(group["states"], path, "states") if "states" in group and not has_next else None
    if len(rows) > count:
        actions = np.concatenate([actions, actions[-1:]])
    return _Part(rows, actions, states if states is not None and len(states) == len(rows) else None, len(rows) == count)


def _leaves(group: Any) -> dict[str, Any]:
    """Return data sets by name, ``images/top`` for those in groups."""
    leaves: dict[str, Any] = {}
    for name in sorted(group):
        item = group[name]
        if isinstance(item, Mapping):
            leaves |= {f"{name}/{inner}": leaf for inner, leaf in _leaves(item).items()}
        elif getattr(item, "shape", None):
            leaves[name] = item
    return leaves


def _vectors(parts: list[Any]) -> NDArray[Any]:
    arrays = [np.asarray(part) for part in parts]
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate([part.reshape(len(part), -1) for part in arrays], axis=1).astype(np.float32)


def _together(parts: list[_Part], source: str, load_bytes: int) -> Episodes:
    shapes = {part.observations.shape[1:] for part in parts} | set()
    if len(shapes) > 1 or len({part.actions.shape[1:] for part in parts}) > 1:
        raise Refused(f"{source}: expected demonstrations of one shape, got observations {sorted(shapes)}")
    lazy = any(not isinstance(part.observations, np.ndarray) for part in parts)
    seen = [part.observations for part in parts]
    states = [part.states for part in parts if part.states is not None]
    lost = sum(part.lost for part in parts)
    notes = [f"the last transition of {lost} episodes is lost: no observation follows it"] if lost else []
    same = len(states) == len(parts) and len({state.shape[1:] for state in states}) == 1
    return assemble(
        Joined(seen) if lazy else np.concatenate(seen),
        np.concatenate([part.actions for part in parts]),
        np.array([len(part.actions) for part in parts]),
        source=source,
        states=np.concatenate(states) if same else None,
        notes=notes,
        load_bytes=load_bytes,
    )


def _episode_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return [file for file in visible(path.glob("episode*.h*5")) if file.suffix in (".hdf5", ".h5")]


def _is_robomimic(path: Path) -> bool:
    if "data" not in hdf5_names(path):
        return False
    with reading(path, "an HDF5 file"), h5py_library(path).File(path, "r") as file:
        return isinstance(file["data"], Mapping) and any(name.startswith("demo") for name in file["data"])


FORMATS = (
    Format(
        "robomimic", "an HDF5 file with groups data/demo_<i>: robomimic, LIBERO", _is_robomimic, read_groups, order=20
    ),
    Format(
        "aloha",
        "a folder with episode_<i>.hdf5: ALOHA, ACT",
        lambda path: bool(_episode_files(path)),
        read_files,
        order=20,
    ),
)

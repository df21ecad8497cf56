"""Columns by name: patterns, several of them joined to one vector, and what is proposed where none is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.foreign import Refused, listed

Names = str | Sequence[str] | None
"""Name of a column, several of them, or patterns such as ``x*``; "a,b" is both."""

OBSERVATIONS = ("observation.state", "observations", "observation", "obs", "state", "states", "qpos", "proprio")
ACTIONS = ("action", "actions", "acts")
EPISODES = (
    "episode_index", "episode_idx", "episode", "episode_id", "episode_ids", "ep_idx", "ep", "trajectory",
    "trajectory_id", "traj_id", "traj", "demo",
)  # fmt: skip
STEPS = ("step_idx", "frame_index", "step", "t", "timestep", "time_step", "frame", "step_id")
TIMES = ("timestamp", "time", "timestamps")


def wanted(names: Names) -> list[str]:
    """Return the names in a list."""
    if names is None:
        return []
    parts = names.split(",") if isinstance(names, str) else list(names)
    return [part.strip() for part in parts]


def chosen(names: Names, available: Iterable[str], proposed: Sequence[str], what: str, label: str) -> list[str]:
    """Return the columns that are named, or the first proposed one that there is.

    Raises
    ------
    Refused
        If a name or pattern fits none; lists those that there are.
    """
    there = list(available)
    if names is None:
        found = next((name for name in proposed if name in there), None)
        if found is None:
            raise Refused(
                f"{label}: expected the {what} as {', '.join(proposed[:3])}, …, got {listed(there) or 'none'}: "
                f"name the {what}'s column, several as a,b or by a pattern"
            )
        return [found]
    picked: list[str] = []
    for pattern in wanted(names):
        fitting = [pattern] if pattern in there else [name for name in there if fnmatchcase(name, pattern)]
        if not fitting:
            raise Refused(
                f"{label}: expected {pattern} for the {what}, got {listed(there) or 'none'}: name one or several of "
                "these"
            )
        picked += [name for name in fitting if name not in picked]
    return picked


def joined(names: Sequence[str], load: Callable[[str], Any], label: str) -> Any:
    """Return one column as it is, several as vectors (R, sum of sizes) one after another.

    Raises
    ------
    Refused
        If images are among several, or they have different numbers of rows.
    """
    if len(names) == 1:
        return load(names[0])
    parts: list[NDArray[Any]] = []
    for name in names:
        part = np.asarray(load(name))
        if part.ndim > 2 or part.dtype.kind not in "fiub":
            raise Refused(f"{label}: expected vectors to join, got {part.dtype} {part.shape} in {name}: name it alone")
        parts.append(part.reshape(len(part), -1))
    if len({len(part) for part in parts}) > 1:
        raise Refused(f"{label}: expected columns of one length, got {[len(part) for part in parts]} rows")
    kinds = {part.dtype.kind for part in parts}
    values = np.concatenate(parts, axis=1)
    return values if kinds <= set("iub") else values.astype(np.float32)

"""Assembly of episodes: arrays read from any format are checked and become ``Episodes``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.rows import Mapped, RowSource, is_mapped
from jepa_scale.foreign import Refused
from jepa_scale.records import ActionSpace, Episodes

LOAD_BYTES = 2**28
"""Size in bytes up to which observations are loaded; larger ones stay in their file if the format allows it."""

_BLOCK = 4096
_IMAGES = 256
_COMBINED = 1024
"""Largest number of combinations of discrete coordinates that are numbered as actions."""


def assemble(
    observations: Any,
    actions: NDArray[Any],
    lengths: Any,
    *,
    source: str,
    states: Any = None,
    known: NDArray[np.bool_] | None = None,
    action_space: ActionSpace | None = None,
    notes: Sequence[str] = (),
    load_bytes: int = LOAD_BYTES,
) -> Episodes:
    """Assemble episodes from flat arrays, or refuse them with a sentence that says why.

    The action in an episode's last row is never usable, nor is an action that is not finite, nor one that starts from
    or leads to an observation that is not finite. Images must be bytes, and are turned to (H, W, C).

    Parameters
    ----------
    observations
        (R, *row) array, memory map or source; integers of one axis a row become floating vectors.
    actions
        (R,) or (R, 1) integers for discrete actions, (R,) or (R, A) floating numbers for continuous ones.
    lengths
        (E,) rows of each episode, observations included.
    source
        Format and path, in words; every error begins with it.
    states
        (R, S) simulator's state, where there is one.
    known
        (R,) whether the format says that the action is one; all of them where it says nothing.
    action_space
        What the format says about actions; else it is read off the usable ones.
    load_bytes
        Observations up to this size are loaded.

    Raises
    ------
    Refused
        If arrays do not fit each other or the lengths, or are no observations or actions.
    """
    lengths = _checked_lengths(lengths, len(observations), len(actions), source)
    notes = list(notes)
    rows = _observations(observations, source, notes, load_bytes)
    usable = np.ones(len(actions), dtype=bool) if known is None else known.astype(bool)
    usable[np.cumsum(lengths) - 1] = False
    broken = ~_finite(rows)
    broken[:-1] |= broken[1:] & usable[:-1]
    _drop(usable, broken, "an observation that is not finite", notes)
    values = _shaped_actions(actions, usable, source, notes)
    if values.dtype.kind == "f":
        # As episodes keep them: some finite numbers are none in float32.
        with np.errstate(over="ignore"):
            kept = values.astype(np.float32)
        _drop(usable, np.asarray(~np.isfinite(kept).all(axis=1)), "an action that is not finite", notes)
    _check_any(usable, lengths, source, notes)
    space = action_space or _action_space(values, usable, source)
    values = _blanked(values, usable, space, source)
    # A store that is read again carries notes that come up a second time.
    remarks = tuple(dict.fromkeys(notes))
    return Episodes(rows, values, lengths, usable, space, _states(states, len(usable), source), source, remarks)


def _checked_lengths(lengths: Any, rows: int, action_rows: int, source: str) -> NDArray[np.int64]:
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or not len(lengths) or lengths.dtype.kind not in "iu" or lengths.min() < 1:
        raise Refused(
            f"{source}: expected whole episode lengths of 1 row or more, got {lengths.dtype} {lengths.shape}"
            + (f" with {lengths.min()}" if lengths.size and lengths.dtype.kind in "iuf" else "")
            + ": write one positive number for each episode"
        )
    # Sums of larger ones may overflow into the right number.
    total = int(lengths.sum()) if lengths.max() <= rows else sum(map(int, lengths))
    lengths = lengths.astype(np.int64)
    if rows != action_rows or rows != total:
        raise Refused(
            f"{source}: expected as many observations and actions as the episode lengths sum to ({total}), "
            f"got {rows} observations and {action_rows} actions: an episode has one row for each observation, with "
            "a last action that is not read"
        )
    return lengths


def _check_any(usable: NDArray[np.bool_], lengths: NDArray[np.int64], source: str, notes: list[str]) -> None:
    if single := int((lengths == 1).sum()):
        notes.append(f"{single} of {len(lengths)} episodes of a single row, which have no transition")
    if not usable.any():
        raise Refused(
            f"{source}: expected at least one transition, got {len(lengths)} episodes without a usable action"
            + (f" ({'; '.join(notes)})" if notes else "")
            + ": is this the right action column?"
        )


def _drop(usable: NDArray[np.bool_], bad: NDArray[np.bool_], why: str, notes: list[str]) -> None:
    """Drop unusable transitions; the note counts those that would have been usable, so not an episode's last row."""
    if count := int((usable & bad).sum()):
        notes.append(f"{count} of {int(usable.sum())} transitions skipped: {why}")
    usable &= ~bad


def _observations(values: Any, source: str, notes: list[str], load_bytes: int) -> Any:
    kind, row = values.dtype.kind, tuple(values.shape[1:])
    if kind not in "fiub" or 0 in row:
        raise Refused(f"{source}: expected observations of numbers, got {values.dtype} {values.shape}: cast them")
    values, row = _stacked(values, notes)
    if len(row) >= 2 and values.dtype != np.uint8:
        values = _bytes(values, source, notes)
    if len(row) > 3:
        raise Refused(f"{source}: expected images (R, H, W, C), got {values.shape}: keep one camera")
    if len(row) == 3 and _channels_first(row, values.shape, source):
        notes.append(f"images (C, H, W) = {row} turned to (H, W, C)")
        values = Mapped(values, _channels_last, (row[1], row[2], row[0]), np.uint8)
    elif len(row) == 2:
        values = Mapped(values, _one_channel, (*row, 1), np.uint8)
    elif len(row) < 2 and (values.dtype != np.float32 or not row):
        values = Mapped(values, _as_vectors, row or (1,), np.float32)
    if not isinstance(values, RowSource) and not is_mapped(values):
        return np.ascontiguousarray(values)
    # What was in memory stays there, whatever was done to it.
    base = values
    while isinstance(base, Mapped):
        base = base.base
    inside = isinstance(base, np.ndarray) and not is_mapped(base)
    return np.array(values) if inside or values.nbytes <= load_bytes else values


def _stacked(values: Any, notes: list[str]) -> tuple[Any, tuple[int, ...]]:
    """Return frames (K, H, W, C) or (K, C, H, W) of one row as one image of K C channels."""
    row = tuple(values.shape[1:])
    if len(row) != 4:
        return values, row
    last = row[3] <= 4
    if not last and row[1] > 4:
        return values, row
    height, width, channels = row[1:] if last else (row[2], row[3], row[1])
    notes.append(f"{row[0]} frames a row read as one image of {row[0] * channels} channels")
    axes = (0, 2, 3, 1, 4) if last else (0, 3, 4, 1, 2)
    flat = (height, width, row[0] * channels)

    def together(block: NDArray[Any]) -> NDArray[Any]:
        return block.transpose(axes).reshape(len(block), *flat)

    return Mapped(values, together, flat, values.dtype), flat


def _bytes(values: Any, source: str, notes: list[str]) -> Any:
    """Return images as bytes: floating ones in [0, 1] or [0, 255], or whole numbers 0 … 255."""
    low, high = math.inf, -math.inf
    for first in range(0, len(values), _IMAGES):
        block = np.asarray(values[first : first + _IMAGES])
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    # NaN compares with nothing.
    if len(values.shape) < 4 or not (low >= 0 and high <= 255):
        raise Refused(
            f"{source}: expected vectors (R, D) or images (R, H, W, C) as bytes 0 … 255 or numbers in [0, 1], got "
            f"{values.dtype} {tuple(values.shape)} from {low:g} to {high:g}: store images as uint8, flatten anything "
            "else"
        )
    scale = 255.0 if high <= 1 and values.dtype.kind == "f" else 1.0
    notes.append(f"images of {values.dtype} in [0, {1 if scale > 1 else 255}] turned to bytes")

    def rounded(block: NDArray[Any]) -> NDArray[Any]:
        return np.rint(np.asarray(block) * scale).astype(np.uint8)

    return Mapped(values, rounded, tuple(values.shape[1:]), np.uint8)


def _channels_first(row: tuple[int, ...], shape: tuple[int, ...], source: str) -> bool:
    """Whether channels come first: they are the short axis; 1 to 4 on the last axis decide for tiny images."""
    if row[2] <= 4 or (row[2] < row[0] and row[2] < row[1]):
        return False
    if row[0] <= 4 or (row[0] < row[1] and row[0] < row[2]):
        return True
    raise Refused(
        f"{source}: expected images (R, H, W, C) or (R, C, H, W), got {shape}, in which no axis looks like channels: "
        "put the channels last"
    )


def _channels_last(block: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(block, 1, -1)


def _one_channel(block: NDArray[Any]) -> NDArray[Any]:
    return block[..., None]


def _as_vectors(block: NDArray[Any]) -> NDArray[np.float32]:
    # What is infinite in float32 is left out as such.
    with np.errstate(over="ignore"):
        return block.reshape(len(block), -1).astype(np.float32)


def _finite(values: Any) -> NDArray[np.bool_]:
    if values.dtype == np.uint8:
        return np.ones(len(values), dtype=bool)
    blocks = [values[first : first + _BLOCK] for first in range(0, len(values), _BLOCK)]
    return np.concatenate([np.isfinite(block).all(axis=1) for block in blocks])


def _shaped_actions(actions: NDArray[Any], usable: NDArray[np.bool_], source: str, notes: list[str]) -> NDArray[Any]:
    """Return actions as (R,) integers or (R, A) floats."""
    if actions.dtype.kind not in "fiub" or actions.size == 0:
        raise Refused(f"{source}: expected actions of numbers, got {actions.dtype} {actions.shape}: cast them")
    flat = actions.reshape(len(actions), -1)
    if actions.dtype.kind == "f":
        return _one_hot(flat, usable, notes)
    if flat.shape[1] == 1:
        return flat[:, 0].astype(np.int64)
    return _combined(flat.astype(np.int64), usable, notes)


def _one_hot(flat: NDArray[Any], usable: NDArray[np.bool_], notes: list[str]) -> NDArray[Any]:
    taken = flat[usable]
    if flat.shape[1] < 2 or not len(taken) or not (((taken == 0) | (taken == 1)).all() and (taken.sum(1) == 1).all()):
        return flat
    notes.append(f"one-hot actions read as {flat.shape[1]} discrete ones")
    return np.argmax(np.nan_to_num(flat), axis=1).astype(np.int64)


def _combined(flat: NDArray[np.int64], usable: NDArray[np.bool_], notes: list[str]) -> NDArray[Any]:
    """Return several whole numbers as one, the last one counting fastest, or as coordinates if they are many."""
    taken = flat[usable]
    counts = [int(count) for count in taken.max(axis=0) + 1] if len(taken) else [1]
    if len(taken) and taken.min() >= 0 and math.prod(counts) <= _COMBINED:
        notes.append(f"{len(counts)} discrete coordinates of {counts} values read as {math.prod(counts)} actions")
        places = np.append(np.cumprod(counts[:0:-1])[::-1], 1)
        return np.where(usable, flat @ places, 0).astype(np.int64)
    notes.append(f"{flat.shape[1]} coordinates of whole numbers read as continuous ones")
    return flat.astype(np.float32)


def _action_space(values: NDArray[Any], usable: NDArray[np.bool_], source: str) -> ActionSpace:
    taken = values[usable]
    if values.dtype.kind != "f":
        if taken.min() < 0:
            raise Refused(f"{source}: expected discrete actions 0, 1, …, got {taken.min()}: number them from 0")
        return ActionSpace(count=int(taken.max()) + 1)
    low, high = float(taken.min()), float(taken.max())
    # One value only, as in a recording of somebody who does nothing, still needs room.
    return ActionSpace(size=values.shape[1], low=low, high=high if high > low else low + 1.0)


def _blanked(values: NDArray[Any], usable: NDArray[np.bool_], space: ActionSpace, source: str) -> NDArray[Any]:
    """Return actions as episodes store them, with NaN or 0 where they are not usable."""
    if not space.discrete:
        least, most = float(values[usable].min()), float(values[usable].max())
        slack = 1e-6 * (space.high - space.low)
        if least < space.low - slack or most > space.high + slack:
            raise Refused(
                f"{source}: expected actions in [{space.low:g}, {space.high:g}], as their space says, got {least:g} to "
                f"{most:g}: correct the action space, or clip the column if the recorded robot did"
            )
        return np.where(usable[:, None], values, np.nan).astype(np.float32)
    if values.dtype.kind == "f":
        raise Refused(f"{source}: expected whole numbers for {space.count} discrete actions, got {values.dtype}")
    taken = values[usable]
    if taken.min() < 0 or taken.max() >= (space.count or 0):
        raise Refused(
            f"{source}: expected discrete actions 0 … {(space.count or 0) - 1}, got {taken.min()} to {taken.max()}: "
            "correct the action space or the column"
        )
    return np.where(usable, values, 0).astype(np.int64)


def _states(states: Any, rows: int, source: str) -> NDArray[np.float32] | None:
    if states is None:
        return None
    if len(states) != rows or states.dtype.kind not in "fiub":
        raise Refused(
            f"{source}: expected a state of numbers for each of {rows} rows, got {states.dtype} {tuple(states.shape)}: "
            "name another state column or none"
        )
    return _as_vectors(np.asarray(states))

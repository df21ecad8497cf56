"""Order of rows: runs of one episode, steps left out, and gaps between time stamps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.foreign import Refused

_LATE = 1.5
"""Periods between two rows from which a frame is missing in between."""


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


def unbroken(
    lengths: NDArray[np.int64],
    notes: list[str],
    *,
    steps: NDArray[Any] | None = None,
    times: NDArray[Any] | None = None,
    period: float | None = None,
) -> NDArray[np.bool_]:
    """Return which rows (R,) are followed by the next step of their episode; breaks are counted in ``notes``.

    Steps have to grow by one. Time stamps have to grow by less than 1.5 periods, and by more than nothing.

    Parameters
    ----------
    lengths
        (E,) rows of each episode.
    notes
        Remarks, to which the numbers of breaks are added.
    steps
        (R,) number of each row within its episode.
    times
        (R,) seconds.
    period
        Seconds between rows; the median step of the time stamps if none is given.
    """
    rows = int(lengths.sum())
    inside = np.ones(rows, dtype=bool)
    inside[np.cumsum(lengths) - 1] = False
    follows = inside.copy()
    if steps is not None and steps.shape == (rows,) and steps.dtype.kind in "iuf":
        follows[:-1] &= np.diff(steps.astype(np.float64)) == 1
        if count := int((inside & ~follows).sum()):
            notes.append(f"{count} transitions skipped: the next row is not one step later")
    if times is not None and times.shape == (rows,) and times.dtype.kind in "iuf" and inside.any():
        passed = np.diff(times.astype(np.float64), append=np.nan)
        usual = float(np.median(passed[inside])) if period is None else period
        # Where all time stamps are equal nobody took the time.
        if usual > 0:
            late = inside & follows & ~((passed > 0) & (passed < _LATE * usual))
            if count := int(late.sum()):
                worst = float(np.nanmax(passed[late]))
                notes.append(
                    f"{count} transitions skipped: gaps between time stamps, the longest {worst:.3g} s where rows are "
                    f"{usual:.3g} s apart"
                )
            follows &= ~late
    return follows

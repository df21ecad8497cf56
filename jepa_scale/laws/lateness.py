"""Whether runs learnt late: the sign that runs with more data, given the same steps, will not learn at all."""

from __future__ import annotations

import numpy as np

from jepa_scale.laws.cells import Cells
from jepa_scale.records.findings import Finding
from jepa_scale.shapes import Float64

LATE = 0.4
"""Share of what is learnt, expected at the next size, from which a width learns late."""
_TREND = 0.5
"""Share of the last change of the share of late learning that is expected to come again."""
_LATEST = 1.3
"""Largest share: above 1 nothing was learnt in the first half, and it is noise by how much."""
_LEARNT = 0.1
"""Share of the level of random plans below which too little was learnt to say when."""


def late_shares(cells: Cells) -> Float64[np.ndarray, " cells"]:
    """Return the share of what each cell learnt that came in the second half of its epochs; NaN where it is not known.

    (y_half − y_end) / (y_random − y_end), means over seeds. It is 1 where nothing was learnt in the first half, 0 where
    the second half changed nothing, below 0 where regret rose again. Only regret is followed over epochs.
    """
    if cells.target != "regret" or "regret_halfway" not in cells.others:
        return np.full(len(cells), np.nan)
    halfway = cells.others["regret_halfway"]
    learnt = cells.ceiling - cells.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (halfway - cells.mean) / learnt
    return np.where(learnt > _LEARNT * cells.ceiling, share, np.nan)


def expected_share(late: Float64[np.ndarray, " sizes"]) -> Float64[np.ndarray, " sizes"]:
    """Return the share of late learning that is expected at the next size, from those of a width by ascending n.

    That of the size itself, and half of the change from the one before, cut to [0, 1.3].
    """
    before = np.concatenate([[np.nan], np.clip(late[:-1], 0.0, _LATEST)])
    change = np.where(np.isfinite(before), np.clip(late, 0.0, _LATEST) - before, 0.0)
    return np.clip(np.clip(late, 0.0, _LATEST) + _TREND * change, 0.0, _LATEST)


def learns_late(cells: Cells) -> Finding | None:
    """Return the finding that the best width at the largest n learns late; None where it does not, or is not known."""
    last = np.flatnonzero(cells.n == cells.n.max())
    best = last[cells.mean[last].argmin()]
    curve = np.flatnonzero(cells.k == cells.k[best])
    shares = late_shares(cells)[curve[np.argsort(cells.n[curve])]]
    if not expected_share(shares)[-1] >= LATE:
        return None
    return Finding("learns_late", f"k = {cells.k[best]:.0f}", {"n": int(cells.n[best]), "share": min(shares[-1], 1.0)})

"""Whether runs learnt late: the sign that runs with more data, given the same steps, will not learn at all."""

from __future__ import annotations

import numpy as np

from jepa_scale.laws.cells import Cells
from jepa_scale.records.findings import Finding
from jepa_scale.shapes import Float64

LATE = 0.5
"""Share of what a run learnt from which most of it came in the second half of its epochs."""
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


def learns_late(cells: Cells) -> Finding | None:
    """Return the finding that the best width learnt late at the largest n; None where it did not, or is not known."""
    last = np.flatnonzero(cells.n == cells.n.max())
    best = last[cells.mean[last].argmin()]
    share = float(late_shares(cells)[best])
    if not share >= LATE:
        return None
    return Finding("learns_late", f"k = {cells.k[best]:.0f}", {"n": int(cells.n[best]), "share": min(share, 1.0)})

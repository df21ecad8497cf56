"""Whether a study was trained far enough for its cells to tell anything of n and k: the one rule for that claim."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from jepa_scale.laws.cells import Cells
from jepa_scale.laws.distributions import student_quantile
from jepa_scale.records.findings import Finding
from jepa_scale.shapes import Float64

BARELY = 0.05
"""Share of what knowing nothing costs that a study must remove to be called trained."""

RISK = 0.05
"""Probability with which a study that knows nothing may be called better than that."""


def trouble_of(cells: Cells, floors: Mapping[str, float], quantity: str) -> Finding | None:
    """Return ``untrained``, ``barely_trained``, or None for a study whose training tells of n and k.

    Untrained: no cell is better than what some way to know nothing reaches, beyond chance for the whole grid. Barely
    trained: some cell is, but none removes 5 % of it.

    Parameters
    ----------
    cells
        Every cell of the study, those at the level of random plans among them.
    floors
        What each way to know nothing reaches, such as random plans.
    quantity
        What is to be low, as sentences call it.
    """
    if not len(cells):
        return None
    lowest = np.lexsort((cells.k, cells.n, cells.mean))[0]
    least, upper = float(cells.mean[lowest]), _upper(cells)
    values = {"quantity": quantity, "lowest": least, "n": int(cells.n[lowest]), "k": int(cells.k[lowest])}
    for name, floor in floors.items():
        if (upper >= floor).all():
            return Finding("untrained", name, values | {"floor": floor})
    for name, floor in floors.items():
        if least > (1 - BARELY) * floor:
            return Finding("barely_trained", name, values | {"floor": floor, "share": least / floor})
    return None


def _upper(cells: Cells) -> Float64[np.ndarray, " cells"]:
    """Return upper ends of the means that hold for all cells together, by t with pooled scatter; means without any."""
    degrees = int((cells.seeds - 1).sum())
    if not degrees:
        return cells.mean
    sd = math.sqrt(float(np.nansum((cells.seeds - 1) * cells.sd**2)) / degrees)
    # The best of many cells is too good by chance: each is held to its share of the risk.
    return np.asarray(cells.mean + student_quantile(1 - RISK / len(cells), degrees) * sd / np.sqrt(cells.seeds))

"""What more data would change and what binds, all from the same joint draws, so that no share contradicts another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.outlook import Outlook
from jepa_scale.records import Ask, MoreData
from jepa_scale.shapes import Float64

SLACK = 0.1
"""Decades beyond the largest checked distance that still count as checked; sizes (300, 1000, 3000) step unevenly."""
_MOST = 10.0
"""Factor of data by which what the samples cost is told from what stays."""
_NOTHING = 1e-3
"""Regret, as a share of random plans', below which nothing is left to remove."""
_NEARLY = 0.1
"""The same as a share of the target."""


@dataclass(frozen=True)
class Prospects:
    """What would lower the regret at (n, k)."""

    more: tuple[MoreData, ...] = ()
    """Twice the data, and ten times the data or as much as forecasts were checked for."""
    limits: dict[str, float] | None = None
    """Shares of the regret: ``samples`` goes with the most data, ``tail`` then with the best width that was run,
    ``floor`` stays; None where nothing is said."""


def prospects(outlook: Outlook, n: int, k: int, ask: Ask, seed: int) -> Prospects:
    """Return what more data and another width would change; nothing where little is left to remove.

    Who has more data can leave some of it out: in each draw the most data are at least as good as twice the data, so
    that they help with at least the same probability and remove at least the same share.
    """
    reach = outlook.cells.n.max() * 10 ** outlook.checked[0]
    sizes = [float(n), 2.0 * n]
    if reach > 2.0 * n:
        sizes.append(min(n * _MOST, reach))
    widths = np.unique(np.append(outlook.cells.k, float(k)))
    far_n, far_k = outlook.decades(np.full(len(sizes), float(k)), np.array(sizes))
    if far_n.max() > outlook.checked[0] + SLACK or far_k.max() > outlook.checked[1] + SLACK:
        return Prospects()
    # In one call: what the sizes and widths share is in the joint draws.
    at_k = np.concatenate([np.full(len(sizes), float(k)), widths])
    at_n = np.concatenate([sizes, np.full(len(widths), sizes[-1])])
    draws = outlook.draws(at_k, at_n, seed)
    now, later, others = draws[:, 0], np.minimum.accumulate(draws[:, 1 : len(sizes)], axis=1), draws[:, len(sizes) :]
    least = max(_NOTHING * outlook.seen.ceiling, _NEARLY * ask.target_regret)
    place = outlook.measured_place(n, k)
    if not now.mean() > least or (place is not None and not outlook.cells.mean[place] > least):
        return Prospects()
    shares = later / np.maximum(now, least)[:, None]
    more = tuple(
        _more(size / n, shares[:, place], later[:, place] < now, ask.level) for place, size in enumerate(sizes[1:])
    )
    best = others[:, others.mean(axis=0).argmin()] / np.maximum(now, least)
    left = min(float(np.median(shares[:, -1])), 1.0)
    floor = min(float(np.median(best)), left)
    return Prospects(more, {"samples": 1 - left, "tail": left - floor, "floor": floor})


def _more(factor: float, shares: Float64[np.ndarray, " draws"], helps: np.ndarray, level: float) -> MoreData:
    low, middle, high = np.quantile(shares - 1, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return MoreData(factor, float(middle), float(low), float(high), float(helps.mean()))

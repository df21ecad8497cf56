"""Sentences on ranked diagnostics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jepa_scale.laws.ranking import Ranked
from jepa_scale.report.wording import interval, listed, number, percent, plural

_SURE = 0.9
"""Share of draws in which a diagnostic must come first to be called the best."""


def sentences(ranked: Sequence[Ranked], target: str, cluster: str) -> list[str]:
    """Return what the ranking says, and what it does not."""
    first = ranked[0]
    lines = []
    telling = [one for one in ranked if one.tells]
    if not telling:
        lines.append(f"No diagnostic tells {target}: every interval holds 0.")
    else:
        way = "rises" if first.correlation > 0 else "falls"
        lines.append(
            f"{first.name} goes with {target} most: {target} {way} with it, ρ = {number(first.correlation, 2)} "
            f"{interval(first.low, first.high)}; it comes first in {percent(first.best)} of the draws."
        )
        if first.best < _SURE and len(telling) > 1:
            others = listed([one.name for one in telling[1:4]])
            lines.append(f"It is not told apart from others that predict {target} too: {others}.")
    flat = [one.name for one in telling if math.isfinite(one.within) and abs(one.within) < 0.5 * abs(one.correlation)]
    if flat:
        lines.append(
            f"{listed(flat[:4])}: less than half of that inside a run, so that it tells runs apart and picks no "
            "checkpoint of one."
        )
    if not cluster:
        lines.append("Every row was taken as independent; name the run with --cluster where several are of one.")
    elif first.clusters < 10:
        lines.append(f"Only {plural(first.clusters, 'cluster')}: such intervals are too short.")
    return lines

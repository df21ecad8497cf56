"""The verdict on a latent's width: energies of a sample, compared with the thresholds of ``WidthVerdict``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from jepa_scale.auditing.leaks import notes_of
from jepa_scale.auditing.sampled import Sample
from jepa_scale.estimators.energy import Energy, energy, joined, room, total_energy
from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.estimators.moments import GROUPS
from jepa_scale.records.findings import Finding
from jepa_scale.records.verdicts import EnergyCurve, Interval, WidthStatus, WidthVerdict

SHARE = 0.95
"""Share of the predictable energy that the width needed holds."""

_CURVE_BIAS = 0.005
"""What the ends of a curve may be wrong by beside their standard errors: the closed form for the values above the edge
holds for few values far apart (``Energy``)."""
_NEARLY_ALL = 0.99
"""Share of the variance of leading principal directions that stand for all."""
_LEAST_ROWS = 100
_LEAST_PRESENT = 0.5
"""Share of rows that must have a row before them, or the past is another law's."""


@dataclass(frozen=True)
class _Question:
    """What is known when a verdict is to be reached."""

    sample: Sample
    level: float
    source: str

    @property
    def width(self) -> int:
        return int(self.sample.z.shape[1])

    @property
    def directions(self) -> int:
        return int(self.sample.left.rows.shape[1])

    @property
    def projected(self) -> bool:
        """Whether directions that vary were left out."""
        return self.directions < self.sample.left.rank


def decide(sample: Sample, level: float, source: str) -> WidthVerdict:
    """Reach a verdict; ``source`` is the file's path, for commands."""
    asked = _Question(sample, level, source)
    rows, groups = int(sample.effective), len(np.unique(sample.trajectories % GROUPS))
    notes = notes_of(sample, level)
    if sample.effective < _LEAST_ROWS:
        reason = Finding("rows_missing", values={"rows": rows, "needed": _LEAST_ROWS})
        return _unknown(asked, reason, _more(asked), notes)
    if groups < 2:
        return _unknown(asked, Finding("groups_missing"), Finding("name_trajectories"), notes)
    collapsed = next((note for note in notes if note.code == "collapsed"), None)
    if collapsed is not None:
        return _unknown(asked, collapsed, Finding("train_anew"), notes)
    measured = energy(sample.context, sample.right.rows, sample.trajectories, sample.weights)
    return _verdict(asked, measured, notes)


def _verdict(asked: _Question, measured: Energy, notes: tuple[Finding, ...]) -> WidthVerdict:
    sample, width = asked.sample, asked.width
    total = interval_of(measured.total, asked.level)
    curve = _curve(measured, asked.level)
    told = min(measured.count, len(curve.widths))
    held, bends = _held(asked)
    needed = _first(curve.high, curve.widths), _first(curve.low, curve.widths)
    if (total.low or 0) <= 0:
        needed = 0, None
    values: dict[str, Any] = {"directions": asked.directions, "width": width, "variance": sample.left.kept}
    if asked.projected:
        notes = (*notes, Finding("projected", values=dict(values)))
    values |= {
        "low": needed[0],
        "high": "all" if needed[1] is None else needed[1],
        "needed": _range(*needed),
        "share": SHARE,
        "half": (width - 1) // 2,
        "told": told,
        **{f"told_{name}": getattr(curve, name)[max(told, 1) - 1] for name in ("share", "low", "high")},
        **{f"held{name}": getattr(held, name.removeprefix("_") or "value") for name in ("", "_low", "_high")},
        "energy": total.value,
        "energy_high": total.high,
    }
    status, reason, remedy = _status(asked, total, held, bends, needed, values)
    return WidthVerdict(
        status=status,
        width=width,
        low=needed[0],
        high=0 if reason.code == "nothing_predictable" else needed[1],
        reason=reason,
        remedy=remedy,
        command=_command(asked, remedy),
        energy=total,
        held=held,
        curve=curve,
        directions=asked.directions,
        variance=sample.left.kept,
        told=told,
        rows=len(sample.z),
        notes=notes,
    )


def _status(
    asked: _Question,
    total: Interval,
    held: Interval,
    bends: bool,
    needed: tuple[int | None, int | None],
    values: Mapping[str, Any],
) -> tuple[WidthStatus, Finding, Finding]:
    """Return the status, its reason, which has the ``values``, and what to do next."""
    width, (low, high) = asked.width, needed
    if asked.projected and asked.sample.left.kept < _NEARLY_ALL:
        width = asked.directions
    assert total.low is not None
    assert total.high is not None
    wider = {"most": 2 * asked.width}
    if held.high is not None and held.high < SHARE:
        reason = Finding("bends_add", values=values) if bends else Finding("past_adds", values=values)
        return "too narrow", reason, Finding("train_wider", values=wider)
    if total.low <= 0:
        # A direction with ρ² of some hundredths may hide among so many.
        if total.high < max(0.1, 0.01 * width) and not asked.projected:
            return "cannot tell", Finding("nothing_predictable", values=values), Finding("check_pairs")
        return "cannot tell", Finding("share_undecided", values=values), _more(asked)
    if high is not None and 2 * high < width:
        narrower = {"least": max(high, 1), "most": 2 * max(high, 1)}
        return "over-provisioned", Finding("wide", values=values), Finding("train_narrower", values=narrower)
    if asked.projected:
        return "cannot tell", Finding("directions_undecided", values=values), _more(asked)
    if low is None or 2 * low < width:
        return "cannot tell", Finding("share_undecided", values=values), _more(asked)
    if held.low is None:
        return "cannot tell", Finding("history_missing", values=values), Finding("order_rows")
    if held.low < SHARE:
        return "cannot tell", Finding("held_undecided", values=values), _more(asked)
    return "in range", Finding("fits", values=values), Finding("compare_wider", values=wider)


def _range(low: int | None, high: int | None) -> str:
    """Return the interval of the width needed; one number where both ends agree."""
    return str(low) if low == high else f"{low} … {'all' if high is None else high}"


def _more(asked: _Question) -> Finding:
    """Four times the rows halve the intervals; of a projection, as many as all directions need."""
    rows = max(4 * len(asked.sample.z), _LEAST_ROWS, asked.projected * 25 * asked.width)
    return Finding("record_more", values={"needed": rows})


def _command(asked: _Question, remedy: Finding) -> str:
    if remedy.code == "check_pairs":
        return ""  # the same embeddings give the same answer
    files = {"train_narrower": "NARROWER.npz", "train_wider": "WIDER.npz", "compare_wider": "WIDER.npz"}
    files |= {"train_anew": "ANEW.npz", "record_more": "LONGER.npz"}
    options = {"name_trajectories": " --columns trajectory=NAME", "order_rows": " --columns trajectory=NAME"}
    return f"jepa-scale audit {files.get(remedy.code, asked.source)}{options.get(remedy.code, '')}"


def _unknown(asked: _Question, reason: Finding, remedy: Finding, notes: tuple[Finding, ...]) -> WidthVerdict:
    missing, rows = Interval(None, None, None), len(asked.sample.z)
    notes = tuple(note for note in notes if note != reason)
    command = _command(asked, remedy)
    return WidthVerdict(
        "cannot tell", asked.width, None, None, reason, remedy, command, missing, missing, None, 0, 0.0, 0, rows, notes
    )


def interval_of(statistic: Jackknifed, level: float) -> Interval:
    """Return a scalar statistic with the ends of its interval."""
    low, high = (float(end) for end in statistic.interval(level))
    value = float(statistic.value)
    return Interval(value, low if np.isfinite(low) else None, high if np.isfinite(high) else None)


def _first(shares: tuple[float, ...], widths: tuple[int, ...]) -> int | None:
    return next((k for k, share in zip(widths, shares, strict=True) if share >= SHARE), None)


def _curve(measured: Energy, level: float) -> EnergyCurve:
    """Return shares by width, between two estimates of which one is too low and one too high where rows are few.

    Low: the values above the noise edge, corrected, and of the rest of E an equal share for each other direction, as
    the leading ones of them hold no less. High: the plug-in sum with the jackknife's correction. Both ± t SE.
    """
    widths = np.arange(1, len(measured.leading.whole) + 1)
    total = max(float(measured.total.value), 1e-12)
    shares = [part.over(measured.total) for part in (measured.leading, measured.resolved)]
    # Each end is crossed with probability 1 − level.
    times = student.ppf(level, max(measured.total.groups - 1, 1))
    errors = [np.asarray(share.standard_error) * times + _CURVE_BIAS for share in shares]
    plain, sure = np.asarray(measured.leading.value) / total, measured.resolved.whole / total
    rest = max(1 - float(sure[-1]), 0.0)
    sure = sure + rest * np.clip(widths - measured.count, 0, None) / max(len(widths) - measured.count, 1)
    low, high = np.minimum(sure - errors[1], plain), np.maximum(plain + errors[0], sure + errors[1])
    # All directions hold all of it.
    middle = (sure + plain) / 2
    low[-1] = middle[-1] = high[-1] = 1.0
    parts = (tuple(map(float, np.clip(part, 0, 1))) for part in (middle, low, high))
    return EnergyCurve(tuple(map(int, widths)), *parts)


def _held(asked: _Question) -> tuple[Interval, bool]:
    """Return E/E⁺ on the rows with a row before them, and whether bent functions add more to E than the past does.

    E⁺ is at least E, so that the ratio is at most 1. Where there is no past only bends are added, and then the ratio
    has no lower end: the past may add.
    """
    sample, level = asked.sample, asked.level
    present = sample.before >= 0
    enough = present.mean() >= _LEAST_PRESENT and present.sum() >= _LEAST_ROWS
    kept = present if enough else np.ones(len(present), dtype=bool)
    right, groups = sample.right.rows[kept], sample.trajectories[kept]
    weights = None if sample.weights is None else sample.weights[kept]
    blocks = [sample.context[kept], sample.bent[kept], *([sample.past[kept]] if enough else [])]
    totals: list[Jackknifed] = []
    for count in range(1, len(blocks) + 1):
        left = joined(*blocks[:count])
        if left.shape[1] + right.shape[1] > room(sample.effective * float(kept.mean())):
            break
        totals.append(total_energy(left, right, groups, weights))
    if not totals:
        return Interval(None, None, None), False
    first, last = totals[0], totals[-1]
    if not float(last.interval(level)[0]) > 0:
        return Interval(None, None, None), False
    ratio = interval_of(first.over(last), level)
    assert ratio.value is not None
    gains = np.diff([float(one.value) for one in totals])
    bends = len(gains) > 0 and gains[0] >= gains[1:].sum()
    ends = [None if end is None else min(end, 1.0) for end in (ratio.low, ratio.high)]
    complete = len(totals) == 3
    return Interval(min(ratio.value, 1.0), ends[0] if complete else None, ends[1]), bool(bends)

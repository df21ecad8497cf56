"""What forecasts of other studies were worth: the prior of a stack's weights and of the width of its intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from jepa_scale.laws.forecasters.averaging import Forecasts
from jepa_scale.laws.forecasters.base import Seen
from jepa_scale.laws.forecasters.odds import log_odds
from jepa_scale.laws.lateness import expected_share
from jepa_scale.shapes import Float64, Int64

VERSION = 4
DISTANCES = (0.55, 1.05)
"""Ends, in decades beyond the largest n seen, of the classes of distance: near, farther, far."""
_ALIKE = np.array([0.19, 0.26, 0.9, 1.1, 0.25, 0.1])
"""Scales on which two situations are alike, one for each entry of ``situation``."""
_PARTS = {"exact": 1 / 3, "trained": 2 / 3}
"""Shares of a library: exact learners are many and cheap, but only networks stay where they are for want of steps."""
_LEAST_ALIKE = 0.003
"""Share of a library below which a cut is left out."""
_MOST_ERRORS = 10.0
"""Standard errors beyond which a change is just clear."""


def situation(seen: Seen) -> Float64[np.ndarray, "6"]:
    """Return where a study stands, in six numbers.

    Last and last but one slope of the log odds in ln n, last level, ln of the noise, ln of how many standard errors the
    last change was, and the share of learning that is expected to come late at the next size (``expected_share``): runs
    that still learn when they end are held up by their steps, and more data changes less. Slopes, level, standard
    errors and shares are means over widths; NaN where there is one size, or the share is not known.
    """
    last, before, level, errors, late = [], [], [], [], []
    for k in np.unique(seen.k):
        curve = seen.curve(float(k))
        odds = log_odds(curve.mean)
        slopes = np.diff(odds) / np.diff(np.log(curve.n))
        level.append(odds[-1])
        last += slopes[-1:].tolist()
        before += slopes[-2:-1].tolist()
        if curve.late is not None and np.isfinite(share := expected_share(curve.late)[-1]):
            late.append(float(share))
        sd = seen.deviation(curve.mean[-2:], curve.seeds[-2:])
        errors += np.minimum(np.abs(np.diff(curve.mean[-2:])) / np.hypot(sd[0], sd[-1]), _MOST_ERRORS).tolist()
    slope = float(np.mean(last)) if last else np.nan
    noise = float(np.log(seen.noise[0] + seen.noise[1] * float(seen.mean.mean())))
    clear = float(np.log(np.mean(errors) + 0.3)) if errors else np.nan
    slopes = [slope, float(np.mean(before)) if before else slope]
    return np.array([*slopes, float(np.mean(level)), noise, clear, float(np.mean(late)) if late else np.nan])


def distance_class(decades: np.ndarray) -> Int64[np.ndarray, " points"]:
    """Return the class of each distance: 0, 1 or 2."""
    return np.digitize(decades, DISTANCES, right=True).astype(np.int64)


@dataclass(frozen=True)
class Remembered:
    """One cut of a study of the library."""

    study: str
    weight: float
    """Of all trained studies two thirds, of the exact ones the rest; shared evenly by studies of a kind, then cuts."""
    situation: Float64[np.ndarray, "6"]
    forecasts: Forecasts
    """Of cells of larger sizes, some of them."""
    unit: float
    """CRPS of the better of no change and the power law on that study."""
    misses: tuple[Float64[np.ndarray, " _"], ...]
    """|y − median| over the half-width of the stack's 90 % interval on that side, by class of distance."""


@dataclass(frozen=True)
class Learnt:
    """When the runs of a trained study learnt, and what happened at the next size."""

    study: str
    late: Float64[np.ndarray, " pairs"]
    """Share of what is learnt that was expected to come in the second half of the epochs at the next size."""
    setback: Float64[np.ndarray, " pairs"]
    """(y_next − y) / (1 − y) where y rose, else 0."""


@dataclass(frozen=True)
class Library:
    """Studies whose larger runs are known."""

    members: tuple[str, ...]
    cuts: tuple[Remembered, ...] = field(repr=False)
    curves: tuple[Learnt, ...] = field(default=(), repr=False)

    def without(self, study: str) -> Library:
        """Return the library without one study, by its name here or that of its file in ``sweeps/library``."""
        names = study, f"library {study}"
        return Library(
            self.members,
            tuple(cut for cut in self.cuts if cut.study not in names),
            tuple(curve for curve in self.curves if curve.study not in names),
        )

    def recalled(self, members: Sequence[str], at: np.ndarray) -> tuple[list[Forecasts], list[float]]:
        """Return forecasts of these members where other studies stood alike, and how much each part counts.

        The parts count as much as they are alike, in units of the simple forecasts' CRPS, one in all; those that would
        hardly count are left out. Nothing is returned if the library does not know all members.
        """
        if not self.cuts or not set(members) <= set(self.members):
            return [], []
        places = [self.members.index(name) for name in members]
        alike = self._alike(at)
        chosen = np.flatnonzero(alike >= min(_LEAST_ALIKE, float(alike.max())))
        total = float(alike[chosen].sum())
        return (
            [self.cuts[place].forecasts.of_members(places) for place in chosen],
            [float(alike[place]) / total / self.cuts[place].unit for place in chosen],
        )

    def misses(self, distance: int) -> tuple[Float64[np.ndarray, " _"], Float64[np.ndarray, " _"]]:
        """Return misses at a class of distance and their weights, which add up to 1."""
        parts = [(cut.misses[distance], cut.weight) for cut in self.cuts if len(cut.misses[distance])]
        if not parts:
            return np.zeros(0), np.zeros(0)
        weights = np.concatenate([np.full(len(part), weight / len(part)) for part, weight in parts])
        return np.concatenate([part for part, _ in parts]), weights / weights.sum()

    @cached_property
    def late(self) -> Float64[np.ndarray, " pairs"]:
        """Expected share of late learning of each curve, size by size but the last."""
        return np.concatenate([np.zeros(0), *(curve.late for curve in self.curves)])

    @cached_property
    def setback(self) -> Float64[np.ndarray, " pairs"]:
        """What it was set back by at the next size."""
        return np.concatenate([np.zeros(0), *(curve.setback for curve in self.curves)])

    def _alike(self, at: np.ndarray) -> np.ndarray:
        there = np.array([cut.situation for cut in self.cuts])
        far = np.nan_to_num((there - at) / _ALIKE)
        weights = np.array([cut.weight for cut in self.cuts]) * (np.exp(-0.5 * (far**2).sum(axis=1)) + 1e-6)
        return np.asarray(weights / weights.sum())


@lru_cache
def shipped() -> Library:
    """Return the library of this package, made by ``benchmarks/library.py``.

    Raises
    ------
    ValueError
        If the file is of another version.
    """
    content = json.loads(files("jepa_scale.laws.forecasters").joinpath("library.json").read_text(encoding="utf-8"))
    if content["version"] != VERSION:
        raise ValueError(
            f"expected a library of version {VERSION}, got {content['version']}: install the package again"
        )
    return from_dict(content)


def from_dict(content: Mapping[str, Any]) -> Library:
    """Return a library from its JSON."""
    studies = content["studies"]
    counts = {source: sum(study["source"] == source for study in studies) for source in ("exact", "trained")}
    cuts = [
        Remembered(
            study["name"],
            _PARTS[study["source"]] / counts[study["source"]] / len(study["cuts"]),
            np.array(cut["situation"], float),
            Forecasts(np.array(cut["quantiles"], float), np.array(cut["observed"], float)),
            float(study["unit"]),
            tuple(np.array(part, float) for part in cut["misses"]),
        )
        for study in studies
        for cut in study["cuts"]
    ]
    curves = [
        Learnt(study["name"], np.array(study["late"], float), np.array(study["setback"], float))
        for study in studies
        if study.get("late")
    ]
    return Library(tuple(content["members"]), tuple(cuts), tuple(curves))

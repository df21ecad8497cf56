"""What forecasts of other studies were worth: the prior of a stack's weights and of the width of its intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from jepa_scale.laws.forecasters.base import Seen
from jepa_scale.laws.forecasters.odds import log_odds
from jepa_scale.shapes import Float64, Int64

VERSION = 3
DISTANCES = (0.55, 1.05)
"""Ends, in decades beyond the largest n seen, of the classes of distance: near, farther, far."""
_ALIKE = np.array([0.375, 0.525, 1.8, 2.25, 0.5])
"""Scales on which two situations are alike, one for each entry of ``situation``."""


_MOST_ERRORS = 10.0
"""Standard errors beyond which a change is just clear."""


def situation(seen: Seen) -> Float64[np.ndarray, "5"]:
    """Return where a study stands, in five numbers.

    Last and last but one slope of the log odds in ln n, last level, ln of the noise, and ln of how many standard errors
    the last change was. Slopes, level and standard errors are means over widths; NaN where there is one size.
    """
    last, before, level, errors = [], [], [], []
    for k in np.unique(seen.k):
        curve = seen.curve(float(k))
        odds = log_odds(curve.mean)
        slopes = np.diff(odds) / np.diff(np.log(curve.n))
        level.append(odds[-1])
        last += slopes[-1:].tolist()
        before += slopes[-2:-1].tolist()
        sd = seen.deviation(curve.mean[-2:], curve.seeds[-2:])
        errors += np.minimum(np.abs(np.diff(curve.mean[-2:])) / np.hypot(sd[0], sd[-1]), _MOST_ERRORS).tolist()
    slope = float(np.mean(last)) if last else np.nan
    noise = float(np.log(seen.noise[0] + seen.noise[1] * float(seen.mean.mean())))
    clear = float(np.log(np.mean(errors) + 0.3)) if errors else np.nan
    return np.array([slope, float(np.mean(before)) if before else slope, float(np.mean(level)), noise, clear])


def distance_class(decades: np.ndarray) -> Int64[np.ndarray, " points"]:
    """Return the class of each distance: 0, 1 or 2."""
    return np.digitize(decades, DISTANCES, right=True).astype(np.int64)


@dataclass(frozen=True)
class Energy:
    """Mean absolute errors and distances, from which the CRPS of any mixture follows: w·a − ½ wᵀ B w."""

    a: Float64[np.ndarray, " members"]
    """E|X − y| of each member, mean over forecasts."""
    b: Float64[np.ndarray, "members members"]
    """E|X − X′| of each pair of members."""


@dataclass(frozen=True)
class Remembered:
    """One cut of a study of the library."""

    study: str
    weight: float
    """Trained and exact studies share the library in halves, studies of a kind equally, cuts of a study equally."""
    situation: Float64[np.ndarray, "5"]
    energy: Energy
    """In units of the CRPS of the better of no change and the power law on that study."""
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

    def energy(self, members: Sequence[str], at: np.ndarray) -> Energy | None:
        """Return what members were worth in situations like this one; None if the library does not know them all."""
        if not self.cuts or not set(members) <= set(self.members):
            return None
        places = [self.members.index(name) for name in members]
        weights = self._alike(at)
        a = np.einsum("c,cm->m", weights, self._a[:, places])
        return Energy(a, np.einsum("c,cij->ij", weights, self._b[:, places][:, :, places]))

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

    @cached_property
    def _a(self) -> np.ndarray:
        return np.array([cut.energy.a for cut in self.cuts])

    @cached_property
    def _b(self) -> np.ndarray:
        return np.array([cut.energy.b for cut in self.cuts])

    def _alike(self, at: np.ndarray) -> np.ndarray:
        there = np.array([cut.situation for cut in self.cuts])
        far = np.where(np.isfinite(at), (there - at) / _ALIKE, 0.0)
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
            1.0 / counts[study["source"]] / len(study["cuts"]),
            np.array(cut["situation"], float),
            Energy(np.array(cut["a"], float), np.array(cut["b"], float)),
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

"""Choose runs one after another so that a forecast becomes as sure as its cost allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jepa_scale.laws.design import deviations, observe, variance_gain
from jepa_scale.laws.forecasters.base import Forecaster, Seen
from jepa_scale.laws.forecasters.stack import Stack
from jepa_scale.shapes import Float64

_DRAWS = 800
_LEAST = 0.02
"""Share of the level of random plans below which the sd of a forecast is no longer compared with the forecast."""


@dataclass(frozen=True)
class DesignSettings:
    """Settings of an adaptive design: the target of the forecast and the cells to choose from."""

    widths: tuple[int, ...]
    sizes: tuple[int, ...]
    target_k: int
    target_n: int
    cap: int = 3
    """Largest number of runs of one cell."""
    tolerance: float = 0.0
    """Stop when the relative sd of the forecast is below this; 0: never."""
    ceiling: float = np.inf
    """Regret of random plans; ∞: the largest value so far stands in for it."""
    forecaster: Forecaster = field(default_factory=Stack)

    @cached_property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return k and n of the candidates, one entry for each cell."""
        k, n = np.meshgrid(np.array(self.widths, float), np.array(self.sizes, float))
        return k.ravel(), n.ravel()

    def start(self) -> tuple[tuple[int, int], ...]:
        """Return the first cells (k, n): four widths at two of the smaller sizes, so that both dials vary at once.

        The cheapest cells alone leave n almost constant, and with it unknown how regret falls.
        """
        widths = [self.widths[round(share * (len(self.widths) - 1))] for share in (0, 1 / 3, 2 / 3, 1)]
        middle = (len(self.sizes) - 1) // 2 if len(self.sizes) > 2 else len(self.sizes) - 1
        sizes = (self.sizes[0], self.sizes[middle])
        return tuple((k, n) for n in dict.fromkeys(sizes) for k in dict.fromkeys(widths))


@dataclass(frozen=True)
class Runs:
    """The runs so far, finished or still going."""

    k: Float64[np.ndarray, " runs"]
    n: Float64[np.ndarray, " runs"]
    value: Float64[np.ndarray, " runs"]
    """Regret; NaN for runs that are still going."""

    def seen(self, ceiling: float) -> Seen:
        """Return the cells of the finished runs, as a forecaster takes them."""
        known = np.isfinite(self.value)
        values = np.maximum(self.value[known], 0.0)
        if not np.isfinite(ceiling):
            ceiling = float(values.max()) or 1.0
        places, cell = np.unique(np.stack([self.n[known], self.k[known]]), axis=1, return_inverse=True)
        seeds = np.bincount(cell.ravel())
        mean = np.bincount(cell.ravel(), values) / seeds
        squares = np.bincount(cell.ravel(), (values - mean[cell.ravel()]) ** 2)
        return Seen.of_runs(places[0], places[1], mean, np.sqrt(squares / np.maximum(seeds - 1, 1)), seeds, ceiling)


@dataclass(frozen=True)
class Proposal:
    """The cell to run next."""

    k: int
    n: int
    forecast_sd: float
    """Relative sd of the forecast before it, given the runs so far, those still going included; NaN at the start."""
    reason: str


def propose(settings: DesignSettings, runs: Runs, cost: Float64[np.ndarray, " cells"]) -> Proposal | None:
    """Return the cell to run next; None where nothing is affordable or the forecast is sure enough.

    After the factorial start: the cell whose run takes most of the target's variance for its cost, read off the joint
    draws of the forecaster fitted to the runs so far (V-optimality per cost). Runs still going count with the variance
    that they will take away: that needs no outcome, so any number of workers may ask.

    ``cost`` has one entry for each of ``settings.cells``; infinite: not affordable.
    """
    k, n = settings.cells
    taken = np.array([np.sum((runs.k == width) & (runs.n == size)) for width, size in zip(k, n, strict=True)])
    open_ = (taken < settings.cap) & np.isfinite(cost)
    if not open_.any():
        return None
    for first_k, first_n in settings.start():
        place = np.flatnonzero((k == first_k) & (n == first_n))
        if len(place) and taken[place[0]] == 0 and open_[place[0]]:
            return Proposal(first_k, first_n, float("nan"), "start: a factorial over both dials")
    if np.isfinite(runs.value).sum() < 3:
        return _at(settings, int(np.where(open_, cost, np.inf).argmin()), np.nan, "cheapest: too few are finished")
    gain, spread = _gains(settings, runs)
    if spread < settings.tolerance:
        return None
    if not (gain[open_] > 0).any():
        return _at(
            settings, int(np.where(open_, cost, np.inf).argmin()), spread, "cheapest: no run narrows the forecast"
        )
    chosen = int(np.where(open_, gain / cost, -np.inf).argmax())
    return _at(settings, chosen, spread, "largest variance gain at the target for its cost")


def _gains(settings: DesignSettings, runs: Runs) -> tuple[Float64[np.ndarray, " cells"], float]:
    """Return by how much a run of each cell reduces the target's variance, and the target's relative sd."""
    k, n = settings.cells
    going = np.isnan(runs.value)
    at_k = np.concatenate([k, runs.k[going], [settings.target_k]])
    at_n = np.concatenate([n, runs.n[going], [settings.target_n]])
    seen = runs.seen(settings.ceiling)
    # In one call: what the answer shares with a cell is in the joint draws.
    drawn = settings.forecaster.fit(seen).draws(at_n, at_k, _DRAWS, np.random.default_rng(0))
    mean, columns = drawn.mean(axis=0), deviations(drawn)
    noise = seen.deviation(mean, 1.0)
    for place in range(len(k), len(k) + int(going.sum())):
        columns, _ = observe(place, columns, columns[:, :0], noise)
    target = columns[:, -1:]
    spread = float(np.sqrt((target**2).sum())) / max(float(mean[-1]), _LEAST)
    return variance_gain(target, columns[:, : len(k)], noise[: len(k)]), spread


def _at(settings: DesignSettings, place: int, spread: float, reason: str) -> Proposal:
    k, n = settings.cells
    return Proposal(int(k[place]), int(n[place]), spread, reason)

"""Choose runs one after another so that a forecast becomes as sure as its cost allows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jepa_scale.laws.design import variance_gain
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import Squares
from jepa_scale.laws.newton import minimise
from jepa_scale.laws.noise import pooled_noise
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.rows import Rows
from jepa_scale.laws.varpro import Grid
from jepa_scale.shapes import Float64

NESTED = Law("nested", "R = c + (A k^-g + B k^p n^-q)^0.5", bounds={"g": (0.02, 6), "p": (-2, 6), "q": (0.02, 6)})
GENERIC = Law("generic", "R = E + A k^-alpha + B n^-beta", bounds={"alpha": (0.02, 6), "beta": (0.02, 6)})
"""Rival laws whose forecasts a design should tell apart."""

_PRIOR = {"g": (1.0, 1.0), "p": (1.0, 1.0), "q": (0.6, 0.4), "alpha": (1.0, 1.0), "beta": (0.6, 0.4)}
"""Mean and sd of the prior of exponents: weak, around the values that studies find."""
_UNKNOWN = 0.1
"""Relative sd of one run that is assumed until cells have been repeated."""
_SATURATED = 0.7
"""Share of the level of random plans from which a cell is not worth a run: it says how the scale ends, not how the
law bends, and optimal designs that do not know this chase such cells."""
_CYCLE = 5
"""Of five runs one fills space or tells the laws apart, in turns: a fifth of the runs for what the law may hide."""


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
    """Stop when sd(ln R) at the target is below this; 0: never."""
    ceiling: float = np.inf
    """Regret of random plans."""
    law: Law = NESTED
    rival: Law = GENERIC

    @cached_property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return k and n of the candidates, one entry for each cell."""
        k, n = np.meshgrid(np.array(self.widths, float), np.array(self.sizes, float))
        return k.ravel(), n.ravel()

    def start(self) -> tuple[tuple[int, int], ...]:
        """Return the first cells (k, n): four widths at two of the smaller sizes, so that both dials vary at once.

        The cheapest cells alone leave n almost constant, and with it every exponent in n unknown.
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


@dataclass(frozen=True)
class Proposal:
    """The cell to run next."""

    k: int
    n: int
    forecast_sd: float
    """sd of ln R at the target before it, given the runs so far, those still going included; NaN at the start."""
    reason: str


@dataclass(frozen=True)
class _Posterior:
    """A law fitted under a weak prior: predictions at points and their joint covariance."""

    predicted: Float64[np.ndarray, " points"]
    root: Float64[np.ndarray, "parameters points"]
    """Lᵀ j: columns whose inner products are covariances of R at two points."""


def propose(settings: DesignSettings, runs: Runs, cost: Float64[np.ndarray, " cells"]) -> Proposal | None:
    """Return the cell to run next; None where nothing is affordable or the forecast is sure enough.

    After the factorial start: the cell with the largest variance gain at the target for its cost, under the law
    fitted with a weak prior (V-optimality per cost). Runs still going count with the variance that they will take
    away: that needs no outcome, so any number of workers may ask. Every fifth run is chosen where the two laws differ
    most for their noise, or farthest from all runs, in turns, both for their cost.

    ``cost`` has one entry for each of ``settings.cells``; infinite: not affordable.
    """
    k, n = settings.cells
    taken = np.array([np.sum((runs.k == width) & (runs.n == size)) for width, size in zip(k, n, strict=True)])
    open_ = (taken < settings.cap) & np.isfinite(cost)
    for first_k, first_n in settings.start():
        place = np.flatnonzero((k == first_k) & (n == first_n))
        if len(place) and taken[place[0]] == 0 and open_[place[0]]:
            return Proposal(first_k, first_n, float("nan"), "start: a factorial over both dials")
    known = np.isfinite(runs.value)
    if not open_.any() or known.sum() < 3:
        return (
            None if not open_.any() else _at(settings, int(np.where(open_, cost, np.inf).argmin()), np.nan, "cheapest")
        )
    points_k, points_n = np.append(k, settings.target_k), np.append(n, settings.target_n)
    noise = _noise(runs)
    main = _posterior(settings.law, runs, points_k, points_n, noise)
    spread = float(np.sqrt((main.root[:, -1] ** 2).sum())) / max(float(main.predicted[-1]), 1e-12)
    if spread < settings.tolerance:
        return None
    predicted = main.predicted[:-1]
    useful = open_ & (predicted < _SATURATED * settings.ceiling)
    open_ = useful if useful.any() else open_
    sd = np.hypot(noise[0], noise[1] * predicted)
    turn = len(runs.k) - len(settings.start())
    if turn % _CYCLE == _CYCLE - 1:
        if (turn // _CYCLE) % 2 == 0:
            rival = _posterior(settings.rival, runs, points_k, points_n, noise)
            apart = (predicted - rival.predicted[:-1]) ** 2 / sd**2
            return _at(
                settings, _best(apart / cost, open_), spread, "where the laws differ most for their noise and cost"
            )
        return _at(settings, _best(_emptiness(k, n, runs) / cost, open_), spread, "farthest from all runs")
    gain = variance_gain(main.root[:, -1:], main.root[:, :-1], sd)
    return _at(settings, _best(gain / cost, open_), spread, "largest variance gain at the target for its cost")


def forecast(law: Law, runs: Runs, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
    """Return R at points by the law fitted to finished runs under the weak prior of a design."""
    return _posterior(law, runs, np.asarray(k, float), np.asarray(n, float), _noise(runs)).predicted


def _at(settings: DesignSettings, place: int, spread: float, reason: str) -> Proposal:
    k, n = settings.cells
    return Proposal(int(k[place]), int(n[place]), spread, reason)


def _best(score: np.ndarray, allowed: np.ndarray) -> int:
    return int(np.where(allowed, score, -np.inf).argmax())


def _emptiness(k: np.ndarray, n: np.ndarray, runs: Runs) -> np.ndarray:
    """Return the distance of each cell to the nearest run, each dial scaled to its range."""
    scaled = []
    for cells, seen in ((k, runs.k), (n, runs.n)):
        low, span = np.log(cells.min()), max(float(np.log(cells.max() / cells.min())), 1e-12)
        scaled.append(((np.log(cells) - low) / span)[:, None] - ((np.log(seen) - low) / span)[None])
    return np.sqrt(scaled[0] ** 2 + scaled[1] ** 2).min(axis=1)


def _noise(runs: Runs) -> tuple[float, float]:
    """Return (s0, c) of one run from repeated cells, or a tenth of R where there are too few."""
    known = np.isfinite(runs.value)
    groups: dict[tuple[float, float], list[float]] = {}
    for k, n, value in zip(runs.k[known], runs.n[known], runs.value[known], strict=True):
        groups.setdefault((k, n), []).append(value)
    repeated = [np.array(values) for values in groups.values() if len(values) > 1]
    floor = 1e-3 * max(float(np.abs(runs.value[known]).max()), 1e-12)
    if sum(len(values) - 1 for values in repeated) < 4:
        return floor, _UNKNOWN
    variance = np.array([values.var(ddof=1) for values in repeated])
    degrees = np.array([len(values) - 1.0 for values in repeated])
    level = np.array([values.mean() for values in repeated])
    return pooled_noise(variance, degrees, level, floor)


def _posterior(law: Law, runs: Runs, k: np.ndarray, n: np.ndarray, noise: tuple[float, float]) -> _Posterior:
    known = np.isfinite(runs.value)
    columns = {"k": runs.k[known], "n": runs.n[known]}
    target = np.maximum(runs.value[known], 0.0)
    rows = Rows(columns, target, np.ones(len(target)), np.arange(len(target)))
    size = max(float(target.max()), 1e-12)
    centre = np.array([0.0] * len(law.terms) + [_PRIOR[shape.name][0] for shape in law.shapes])
    sd = np.array([3 * size] * len(law.terms) + [_PRIOR[shape.name][1] for shape in law.shapes])
    problem = Problem(law, rows, Squares(), (centre, sd**-2))
    weights = 1.0 / (noise[0] ** 2 + (noise[1] * target) ** 2)
    starts = Grid(problem, 256).starts(weights[None], target[None], 4)[0]
    best = minimise(problem, weights[None], starts).best_of(1).theta[0]
    # Runs still going: their sensitivity is known, their outcome is not needed.
    everywhere = Problem(
        law,
        Rows(
            {"k": np.append(runs.k, k), "n": np.append(runs.n, n)},
            np.ones(len(runs.k) + len(k)),
            np.ones(len(runs.k) + len(k)),
            np.arange(len(runs.k) + len(k)),
        ),
        Squares(),
    )
    theta = everywhere.centred(problem.natural(best))
    state = everywhere.state(theta[None])
    predicted = np.exp(state.y[0])
    jacobian = (everywhere.sensitivity(state)[0] * predicted).T
    # Coefficients in units of their own size, so that the prior means the same in either centring.
    scale = np.where(np.arange(len(theta)) < len(law.terms), np.maximum(theta, 0.05 * size), 1.0)
    jacobian = jacobian * scale
    seen = jacobian[: len(runs.k)] / np.hypot(noise[0], noise[1] * predicted[: len(runs.k)])[:, None]
    precision = np.where(np.arange(len(theta)) < len(law.terms), 0.25, sd**-2)
    covariance = np.linalg.inv(seen.T @ seen + np.diag(precision))
    root = np.linalg.cholesky((covariance + covariance.T) / 2).T @ jacobian[len(runs.k) :].T
    return _Posterior(predicted[len(runs.k) :], root)

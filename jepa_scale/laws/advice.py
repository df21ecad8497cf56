"""Advice from a study: whether (n, k) is sufficient, and which runs to buy next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from jepa_scale.laws.cells import cells_from_table, finite_mean
from jepa_scale.laws.cost import Cost, cost_from_table
from jepa_scale.laws.design import deviations, greedy
from jepa_scale.laws.forecasters.base import Forecaster, thinned
from jepa_scale.laws.lateness import learns_late
from jepa_scale.laws.more_data import SLACK, prospects
from jepa_scale.laws.outlook import Outlook
from jepa_scale.laws.training import trouble_of
from jepa_scale.records import Advice, Ask, NextRun, RunTable, Surface, Verdict
from jepa_scale.records.findings import Finding
from jepa_scale.shapes import Float64

Status = Literal["sufficient", "insufficient", "undecided", "cannot say"]

TOLERANCE = 1.05
"""Ratio of regret to its minimum above which a width is called too far from the best."""
_PER_DECADE = 6
"""Number of sizes tried per decade."""
_MOST = 12
"""Sizes and widths run that are looked at, at most: of those of a random search some, the ends among them."""


def advise(forecaster: Forecaster, table: RunTable, ask: Ask, *, seed: int = 0, steps: int = 3) -> Advice:
    """Answer one question from the runs of a study.

    P(regret of one more run ≤ target) comes from the forecaster's draws; where the cell itself was run, from its own
    runs. Sufficient means P ≥ ``level``, insufficient P ≤ 1 − ``level``. Beyond the distance in n or k at which
    forecasts were checked nothing is said. Least data and the verdict are read off the same probabilities, and the best
    width is sought among those that were run, so that no line contradicts another.

    Raises
    ------
    ValueError
        If the target is not inside (0, 1), or there is no run to learn from; the message says what to run.
    """
    if not 0 < ask.target_regret < 1 or not 0.5 < ask.level < 1:
        raise ValueError(
            f"expected a target regret inside (0, 1) and a level inside (0.5, 1), got {ask.target_regret}, {ask.level}"
        )
    outlook = Outlook.of(forecaster, table)
    n = int(outlook.cells.n.max()) if ask.n is None else ask.n
    best, tolerated = _best_width(outlook, n, ask.level, seed)
    k = _width_asked(outlook, ask, n, best)
    asked = verdict(outlook, n, k, ask, seed)
    noise = float(outlook.noise(outlook.predicted(np.array([k]), np.array([n]), seed))[0])
    cost = cost_from_table(table)
    grid = _Grid(outlook, ask, cost, seed)
    open_to = prospects(outlook, n, k, ask, seed)
    return Advice(
        ask=replace(ask, n=n, k=k),
        verdict=asked,
        cheapest=grid.cheapest,
        cheapest_n=grid.least_n,
        best_k=best,
        tolerated_k=tolerated,
        limits={} if asked.status in ("cannot say", "sufficient") else open_to.limits or {},
        noise=noise,
        more_data=open_to.more,
        next_runs=_next(outlook, asked, grid.cheapest, cost, ask, steps, seed),
        weights=dict(outlook.shares),
        checked=outlook.checked,
        warnings=_warnings(outlook, table, ask, n, best, noise),
        surface=_surface(outlook, grid, ask.level, seed),
    )


def _width_asked(outlook: Outlook, ask: Ask, n: int, best: tuple[int, int, int] | None) -> int:
    """Return the width asked about: the best one that was run at n, else the best one predicted."""
    if ask.k is not None:
        return ask.k
    row = np.flatnonzero(outlook.cells.n == n)
    if len(row):
        return int(outlook.cells.k[row[outlook.cells.mean[row].argmin()]])
    return best[0] if best else int(outlook.cells.k.max())


def verdict(outlook: Outlook, n: int, k: int, ask: Ask, seed: int = 0) -> Verdict:
    """Say whether one run at (n, k) reaches the target."""
    at_k, at_n = np.array([k], float), np.array([n], float)
    far_n, far_k = (float(part[0]) for part in outlook.decades(at_k, at_n))
    place = outlook.measured_place(n, k)
    if place is not None:
        probability, *ends = outlook.measured(place, ask.target_regret, ask.level)
        mean, count = float(outlook.cells.mean[place]), int(outlook.cells.seeds[place])
        status = _status(probability, ask.level)
        return Verdict(
            n, k, status, probability, mean, ends[0], ends[1], f"measured, {count} run{'s' * (count != 1)}", (0.0, 0.0)
        )
    checked = outlook.checked
    if far_n > checked[0] + SLACK or far_k > checked[1] + SLACK:
        reason = (
            f"{far_n:.2f} decades beyond the runs in n and {far_k:.2f} in k, forecasts were checked up to "
            f"{checked[0]:.2f} and {checked[1]:.2f}"
        )
        return Verdict(n, k, "cannot say", None, None, None, None, reason, (far_n, far_k))
    draws = outlook.run_draws(at_k, at_n, seed)[:, 0]
    probability = float((draws <= ask.target_regret).mean())
    low, high = np.quantile(draws, [(1 - ask.level) / 2, (1 + ask.level) / 2])
    predicted = float(outlook.predicted(at_k, at_n, seed)[0])
    ends = [float(min(low, predicted)), float(max(high, predicted))]
    status = _status(probability, ask.level)
    return Verdict(n, k, status, probability, predicted, ends[0], ends[1], "forecast", (far_n, far_k))


def _status(probability: float, level: float) -> Status:
    return "sufficient" if probability >= level else "insufficient" if probability <= 1 - level else "undecided"


@dataclass(frozen=True)
class _Grid:
    """Widths that were run, and sizes from the smallest run to as far as forecasts were checked."""

    outlook: Outlook
    ask: Ask
    cost: Cost | None
    seed: int

    @cached_property
    def widths(self) -> Float64[np.ndarray, " widths"]:
        return thinned(np.unique(self.outlook.cells.k), _MOST)

    @cached_property
    def sizes(self) -> Float64[np.ndarray, " sizes"]:
        cells = self.outlook.cells
        low, high = np.log10(cells.n.min()), np.log10(cells.n.max()) + self.outlook.checked[0]
        run = thinned(np.unique(cells.n), _MOST)
        return np.unique(np.concatenate([np.round(10 ** np.arange(low, high + 1e-9, 1 / _PER_DECADE)), run]))

    @cached_property
    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """k and n of every point, sizes slowest."""
        k, n = np.meshgrid(self.widths, self.sizes)
        return k.ravel(), n.ravel()

    @cached_property
    def probability(self) -> Float64[np.ndarray, "sizes widths"]:
        """P(one more run ≤ target); 0 for a new run that the budget does not pay."""
        k, n = self.points
        probability = self.outlook.reaches(k, n, self.ask.target_regret, self.seed)
        if self.ask.budget_hours is not None and self.cost is not None:
            cells = self.outlook.cells
            seen = {*zip(cells.k.tolist(), cells.n.tolist(), strict=True)}
            done = np.array([cell in seen for cell in zip(k.tolist(), n.tolist(), strict=True)])
            probability = np.where(done | (self.cost.hours(k, n) <= self.ask.budget_hours), probability, 0.0)
        return np.asarray(probability.reshape(len(self.sizes), len(self.widths)))

    @cached_property
    def cheapest(self) -> Verdict | None:
        """The least sufficient n with its best width."""
        for row in np.flatnonzero((self.probability >= self.ask.level).any(axis=1)):
            n, k = int(self.sizes[row]), int(self.widths[self.probability[row].argmax()])
            # By other draws: the best of many probabilities is a little too good. And by those that a question about
            # this very cell is answered by, which must not say otherwise.
            judged = [verdict(self.outlook, n, k, self.ask, self.seed + more) for more in (1, 0)]
            if all(one.status == "sufficient" for one in judged):
                return judged[0]
        return None

    @cached_property
    def least_n(self) -> tuple[float, float, float]:
        """The n at which the best width's P reaches ½, 1 − level and level; the last is that of ``cheapest``."""
        best = self.probability.max(axis=1)

        def first(level: float) -> float:
            reached = np.flatnonzero(best >= level)
            return float(self.sizes[reached[0]]) if len(reached) else np.inf

        top = float(self.cheapest.n) if self.cheapest else np.inf
        return min(first(0.5), top), min(first(1 - self.ask.level), top), top


def _best_width(
    outlook: Outlook, n: int, level: float, seed: int
) -> tuple[tuple[int, int, int] | None, tuple[int, int] | None]:
    """Return k*(n) among the widths run, with its interval over draws, and the widths within 1.05 of its regret."""
    widths = np.unique(outlook.cells.k)
    at = np.full(len(widths), float(n))
    if (outlook.decades(widths, at)[0] > outlook.checked[0] + SLACK).any():
        return None, None
    draws = outlook.draws(widths, at, seed)
    predicted = draws.mean(axis=0)
    low, high = np.quantile(widths[draws.argmin(axis=1)], [(1 - level) / 2, (1 + level) / 2], method="nearest")
    star = int(predicted.argmin())
    good = predicted <= TOLERANCE * predicted[star] + 1e-12
    left, right = star, star
    while left > 0 and good[left - 1]:
        left -= 1
    while right + 1 < len(widths) and good[right + 1]:
        right += 1
    best = int(widths[star])
    return (best, min(int(low), best), max(int(high), best)), (int(widths[left]), int(widths[right]))


def _surface(outlook: Outlook, grid: _Grid, level: float, seed: int) -> Surface:
    k, n = grid.points
    draws = outlook.draws(k, n, seed).reshape(-1, len(grid.sizes), len(grid.widths))
    regret = draws.mean(axis=0)
    ends = [(1 - level) / 2, (1 + level) / 2]
    drawn = np.quantile(grid.widths[draws.argmin(axis=2)], ends, axis=0, method="nearest")
    return Surface(grid.widths, grid.sizes, regret, np.vstack([grid.widths[regret.argmin(axis=1)], drawn]))


def _next(
    outlook: Outlook, asked: Verdict, cheapest: Verdict | None, cost: Cost | None, ask: Ask, steps: int, seed: int
) -> tuple[NextRun, ...]:
    """Return the runs that settle an open answer; where its own runs have, one of the least data that is to suffice."""
    if outlook.measured_place(asked.n, asked.k) is None or asked.status == "undecided":
        return next_runs(outlook, asked.n, asked.k, cost, ask, steps, seed)
    if asked.status == "sufficient":
        return ()
    if cheapest is None:
        # Nothing that was looked at suffices: what is learnt from is the next size.
        sizes = np.unique(outlook.cells.n)
        beyond = int(sizes[-1] * (sizes[-1] / sizes[-2] if len(sizes) > 1 else 3.0))
        return next_runs(outlook, beyond, asked.k, cost, ask, steps, seed)
    if outlook.measured_place(cheapest.n, cheapest.k) is not None:
        return ()
    hours = None if cost is None else float(cost.hours(np.array([cheapest.k]), np.array([cheapest.n]))[0])
    return (NextRun(cheapest.n, cheapest.k, 1, hours, None, "the least data that is forecast to suffice"),)


def next_runs(
    outlook: Outlook, n: int, k: int, cost: Cost | None, ask: Ask, steps: int, seed: int
) -> tuple[NextRun, ...]:
    """Return the runs that narrow the answer at (n, k) most per cost.

    The answer is the expected regret at (n, k). Candidates are the cells of the study and those between and a step
    beyond them; what they would tell is read off the joint scatter of the draws (V-optimality), each next run given
    those before.
    """
    cells = outlook.cells
    run = thinned(np.unique(cells.k), _MOST)
    widths = np.unique(
        np.concatenate([run, np.round(np.sqrt(cells.k.min() * cells.k.max()))[None], cells.k.max()[None] * 2])
    )
    sizes = thinned(np.unique(cells.n), _MOST)
    step = sizes[-1] / sizes[-2] if len(sizes) > 1 else 3.0
    sizes = np.concatenate([sizes, [np.round(sizes[-1] * step)]])
    points_k, points_n = (axis.ravel() for axis in np.meshgrid(widths, sizes))
    if n <= cells.n.max() and k <= cells.k.max():
        # Inside the runs the cell itself can be bought; a run beyond them is what the others are to spare.
        points_k, points_n = np.append(points_k, float(k)), np.append(points_n, float(n))
    # In one call: what the answer shares with a candidate is in the joint draws.
    joint = outlook.draws(np.append(points_k, float(k)), np.append(points_n, float(n)), seed)
    predicted = joint[:, :-1].mean(axis=0)
    # A cell at the level of random plans tells nothing about how regret falls.
    usable = predicted < 0.7 * outlook.seen.ceiling
    hours = None if cost is None else cost.hours(points_k, points_n)
    if ask.budget_hours is not None and hours is not None:
        usable &= hours <= ask.budget_hours
    if not usable.any():
        return ()
    points_k, points_n, draws = points_k[usable], points_n[usable], joint[:, :-1][:, usable]
    noise = outlook.noise(predicted[usable])
    price = np.ones(len(points_k)) if hours is None else hours[usable]
    chosen = greedy(deviations(joint[:, -1:]), deviations(draws), noise, price, steps)
    # Several seeds of one cell are one line; the answer's interval is that after all of them.
    runs: dict[int, NextRun] = {}
    for index, remaining in zip(chosen.order, chosen.remaining, strict=True):
        seeds = runs[index].seeds + 1 if index in runs else 1
        at_n, at_k = int(points_n[index]), int(points_k[index])
        place = np.flatnonzero((cells.n == at_n) & (cells.k == at_k))
        first = int(cells.seeds[place[0]]) + 1 if len(place) else 1
        which = f"seed {first}" if seeds == 1 else f"seeds {first} to {first + seeds - 1}"
        why = (
            f"{which} of a cell that was run" if len(place) else "a new cell" if seeds == 1 else f"a new cell, {which}"
        )
        price_of = None if hours is None else float(price[index])
        runs[index] = NextRun(at_n, at_k, seeds, price_of, float(np.sqrt(remaining)), why)
    return tuple(runs.values())


def _warnings(
    outlook: Outlook, table: RunTable, ask: Ask, n: int, best: tuple[int, int, int] | None, noise: float
) -> tuple[Finding, ...]:
    cells, warnings = outlook.cells, list[Finding]()
    trouble = trouble_of(cells, _floors(table, ask.quantity), ask.quantity)
    if trouble is not None:
        warnings.append(trouble)
    if cells.excluded:
        warnings.append(Finding("runs_left_out", values={"count": len(cells.excluded), "first": cells.excluded[0]}))
    if np.isfinite(cells.ceiling).any() and ask.target_regret >= outlook.seen.ceiling:
        values = {"random": outlook.seen.ceiling, "target": ask.target_regret}
        warnings.append(Finding("target_above_random", values=values))
    widths = np.unique(cells.k)
    if best is not None and len(widths) > 1 and best[0] in (widths[0], widths[-1]):
        side, inner = ("wider", widths[-2]) if best[0] == widths[-1] else ("narrower", widths[1])
        near, star = outlook.predicted(np.array([inner, best[0]], float), np.full(2, float(n)))
        # Where the width inside is as good, so will be one outside.
        if near - star > noise:
            warnings.append(Finding("edge_of_widths", "k*", {"best": best[0], "side": side}))
    late = learns_late(cells)
    if late is not None:
        warnings.append(late)
    if len(np.unique(cells.n)) < 3:
        warnings.append(Finding("few_sizes", "n"))
    if noise > 0.5 * ask.target_regret:
        warnings.append(Finding("noisy_run", values={"noise": noise}))
    return tuple(warnings)


def _floors(table: RunTable, quantity: str) -> dict[str, float]:
    """Return what planning or predicting without a model reaches, by its name; what is not known is left out."""
    columns = {"random plans": "regret_random", "doing nothing": "regret_do_nothing"}
    if quantity != Ask(0.5).quantity:
        columns = {"knowing nothing": "regret_random"}
    known = {
        name: finite_mean(table[column].astype(float)) for name, column in columns.items() if column in table.columns
    }
    return {name: floor for name, floor in known.items() if floor > 0}


def score(
    forecaster: Forecaster, table: RunTable, target_regret: float, *, level: float = 0.9
) -> tuple[tuple[Verdict, float], ...]:
    """Advise on every larger cell from the smaller half of the sizes; return verdicts with the observed mean regret.

    The forecast is for one more run, the truth the mean over seeds.

    Raises
    ------
    ValueError
        If there are fewer than four sizes or no cell to learn from.
    """
    sizes = np.unique(table["n"])
    if len(sizes) < 4:
        raise ValueError(f"expected at least four sizes n, two to learn from and two to judge by, got {sizes.tolist()}")
    cut = sizes[(len(sizes) + 1) // 2 - 1]
    outlook = Outlook.of(forecaster, table.where(table["n"] <= cut))
    later = cells_from_table(table.where(table["n"] > cut), "regret", np.inf)
    ask = Ask(target_regret, level)
    return tuple(
        (verdict(outlook, int(n), int(k), ask), float(mean))
        for n, k, mean in zip(later.n, later.k, later.mean, strict=True)
    )

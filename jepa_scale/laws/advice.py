"""Advice from a study: whether (n, k) is sufficient, and which runs to buy next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from scipy import stats

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.cost import Cost, cost_from_table
from jepa_scale.laws.design import deviations, greedy
from jepa_scale.laws.forecast import columns_at
from jepa_scale.laws.law import Law, LawFamily
from jepa_scale.laws.mixture import Mixture, mix
from jepa_scale.records import Advice, Ask, NextRun, RunTable, Surface, Verdict
from jepa_scale.shapes import Float64

Status = Literal["sufficient", "insufficient", "undecided", "cannot say"]

TOLERANCE = 1.05
"""Ratio of regret to its minimum above which a width is called too far from the best."""
_PER_DECADE = 6
"""Number of sizes and widths tried per decade."""
_SLACK = 0.1
"""Decades beyond the largest checked distance that still count as checked; sizes (300, 1000, 3000) step unevenly."""


def advise(
    families: Sequence[LawFamily], table: RunTable, ask: Ask, *, draws: int = 200, seed: int = 0, steps: int = 3
) -> Advice:
    """Answer one question from the runs of a study.

    P(regret of one more run ≤ target) comes from the average of all laws, widened by λ(d); where the cell itself was
    run, from its own runs. Sufficient means P ≥ ``level``, insufficient P ≤ 1 − ``level``. Beyond the distance in n
    or k at which a forecast was ever checked, or where no law has what it needs, nothing is said.

    Raises
    ------
    ValueError
        If the target is not inside (0, 1), or no law can be fitted; the message says what to run.
    """
    if not 0 < ask.target_regret < 1 or not 0.5 < ask.level < 1:
        raise ValueError(
            f"expected a target regret inside (0, 1) and a level inside (0.5, 1), got {ask.target_regret}, {ask.level}"
        )
    model = mix(families, table, "regret", level=ask.level, draws=draws, seed=seed)
    cost = cost_from_table(table)
    n = int(model.cells.n.max()) if ask.n is None else ask.n
    widths, sizes = _candidates(model)
    # A law without a best width always finds the widest that is offered: beyond the runs that would say nothing.
    tried = widths[(widths >= model.cells.k.min()) & (widths <= model.cells.k.max())]
    best, tolerated = _best_width(model, tried, n, ask.level, seed)
    k = _width_asked(model, ask, n, best)
    asked = verdict(model, n, k, ask, seed)
    cheapest = _cheapest(model, widths, sizes, ask, cost, seed)
    limits = {} if asked.status == "cannot say" else _limits(model, k, n)
    noise = float(model.noise(np.array([k]), np.array([n]))[0])
    return Advice(
        ask=replace(ask, n=n, k=k),
        verdict=asked,
        cheapest=cheapest,
        cheapest_n=_least_n(model, tried, sizes, ask, seed),
        best_k=best,
        tolerated_k=tolerated,
        limits=limits,
        noise=noise if np.isfinite(noise) else None,
        next_runs=next_runs(model, n, k, cost, ask, steps, seed),
        laws=dict(model.weights),
        inflation=_calibration(model),
        warnings=_warnings(model, ask),
        surface=_surface(model, widths, sizes, ask.level, seed),
    )


def _width_asked(model: Mixture, ask: Ask, n: int, best: tuple[int, int, int] | None) -> int:
    """Return the width asked about: the best one that was run at n, else the best one predicted."""
    if ask.k is not None:
        return ask.k
    row = np.flatnonzero((model.cells.n == n) & (model.cells.seeds > 1))
    if len(row):
        return int(model.cells.k[row[model.cells.mean[row].argmin()]])
    return best[0] if best else int(model.cells.k.max())


def verdict(model: Mixture, n: int, k: int, ask: Ask, seed: int = 0) -> Verdict:
    """Say whether one run at (n, k) reaches the target."""
    far_n, far_k = (float(part[0]) for part in model.decades(np.array([k], float), np.array([n], float)))
    place = np.flatnonzero((model.cells.n == n) & (model.cells.k == k))
    if len(place) and model.cells.seeds[place[0]] > 1:
        return _measured(model, int(place[0]), ask)
    decades = (far_n, far_k)
    if far_n > model.validated[0] + _SLACK or far_k > model.validated[1] + _SLACK:
        reason = (
            f"{far_n:.2f} decades beyond the runs in n and {far_k:.2f} in k, forecasts were checked up to "
            f"{model.validated[0]:.2f} and {model.validated[1]:.2f}"
        )
        return Verdict(n, k, "cannot say", None, None, None, None, reason, decades)
    draws = model.draws(np.array([k]), np.array([n]), seed, runs=1.0)[:, 0]
    if not np.isfinite(draws).all():
        return Verdict(
            n,
            k,
            "cannot say",
            None,
            None,
            None,
            None,
            f"the tail at k = {k} is not known: run a cell of that width, or add the law nested",
            decades,
        )
    probability = float((draws <= ask.target_regret).mean())
    low, high = np.quantile(draws, [(1 - ask.level) / 2, (1 + ask.level) / 2])
    predicted = float(model.predicted(np.array([k]), np.array([n]))[0])
    ends = float(min(low, predicted)), float(max(high, predicted))
    return Verdict(n, k, _status(probability, ask.level), probability, predicted, *ends, "forecast", decades)


def _measured(model: Mixture, place: int, ask: Ask) -> Verdict:
    """Answer from the runs of the cell itself: t of one more run, with the noise pooled over the study."""
    cells = model.cells
    mean, count = float(cells.mean[place]), int(cells.seeds[place])
    sd = float(np.hypot(model.models[0].fit.noise[0], model.models[0].fit.noise[1] * mean)) * np.sqrt(1 + 1 / count)
    degrees = max(int((cells.seeds - 1).sum()), 1)
    probability = float(stats.t.cdf((ask.target_regret - mean) / sd, degrees))
    half = float(stats.t.ppf((1 + ask.level) / 2, degrees)) * sd
    status = _status(probability, ask.level)
    ends = max(mean - half, 0.0), min(mean + half, 1.0)
    return Verdict(
        int(cells.n[place]),
        int(cells.k[place]),
        status,
        probability,
        mean,
        *ends,
        f"measured, {count} runs",
        (0.0, 0.0),
    )


def _status(probability: float, level: float) -> Status:
    return "sufficient" if probability >= level else "insufficient" if probability <= 1 - level else "undecided"


def _candidates(model: Mixture) -> tuple[Float64[np.ndarray, " widths"], Float64[np.ndarray, " sizes"]]:
    """Return widths and sizes within the range of the runs, and as far beyond as forecasts were checked."""
    cells = model.cells
    low, high = np.log10(cells.k.min()), np.log10(cells.k.max()) + model.validated[1]
    widths = np.unique(np.concatenate([np.round(10 ** np.arange(low, high + 1e-9, 1 / _PER_DECADE)), cells.k]))
    if all("tail" in member.law.columns for member in model.models):
        widths = widths[np.isfinite(columns_at(model.table, widths, widths)["tail"])]
    low, high = np.log10(cells.n.min()), np.log10(cells.n.max()) + model.validated[0]
    sizes = np.unique(np.concatenate([np.round(10 ** np.arange(low, high + 1e-9, 1 / _PER_DECADE)), cells.n]))
    return widths, sizes


def _best_width(
    model: Mixture, widths: np.ndarray, n: int, level: float, seed: int
) -> tuple[tuple[int, int, int] | None, tuple[int, int] | None]:
    """Return k*(n) with its interval over draws, and the widths whose regret stays below 1.05 of the least."""
    at = np.full(len(widths), float(n))
    far = model.decades(widths, at)
    inside = (far[0] <= model.validated[0] + _SLACK) & (far[1] <= model.validated[1] + _SLACK)
    predicted, order = model.predicted(widths, at), model.unclipped(widths, at)
    inside &= np.isfinite(predicted)
    if not inside.any():
        return None, None
    widths, predicted, order = widths[inside], predicted[inside], order[inside]
    stars = widths[model.curves(widths, at[inside], seed).argmin(axis=1)]
    low, high = np.quantile(stars, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    star = int(order.argmin())
    good = predicted <= TOLERANCE * predicted[star] + 1e-12
    left, right = star, star
    while left > 0 and good[left - 1]:
        left -= 1
    while right + 1 < len(widths) and good[right + 1]:
        right += 1
    best = int(widths[star])
    return (best, min(int(low), best), max(int(high), best)), (int(widths[left]), int(widths[right]))


def _cheapest(
    model: Mixture, widths: np.ndarray, sizes: np.ndarray, ask: Ask, cost: Cost | None, seed: int
) -> Verdict | None:
    """Return the least sufficient n with its best width; a cell that was run costs nothing more."""
    k, n = (axis.ravel() for axis in np.meshgrid(widths, sizes))
    allowed = np.isfinite(model.predicted(k, n))
    if ask.budget_hours is not None and cost is not None:
        seen = {*zip(model.cells.k.tolist(), model.cells.n.tolist(), strict=True)}
        done = np.array([cell in seen for cell in zip(k.tolist(), n.tolist(), strict=True)])
        allowed &= done | (cost.hours(k, n) <= ask.budget_hours)
    if not allowed.any():
        return None
    k, n = k[allowed], n[allowed]
    probability = (model.draws(k, n, seed, runs=1.0) <= ask.target_regret).mean(axis=0)
    for place in np.flatnonzero(model.cells.seeds > 1):
        here = (k == model.cells.k[place]) & (n == model.cells.n[place])
        probability[here] = _measured(model, int(place), ask).probability
    for size in np.unique(n[probability >= ask.level]):
        row = np.flatnonzero(n == size)
        place = row[probability[row].argmax()]
        # Again by itself: the best of many probabilities is a little too good.
        judgement = verdict(model, int(n[place]), int(k[place]), ask, seed + 1)
        if judgement.status == "sufficient":
            return judgement
    return None


def _least_n(
    model: Mixture, widths: np.ndarray, sizes: np.ndarray, ask: Ask, seed: int
) -> tuple[float, float, float] | None:
    """Return, for each draw, the least n at which it reaches the target at the predicted best width.

    Not each draw at a width of its own: the least of many noisy numbers arrives long before any of them.
    """
    k, n = (axis.ravel() for axis in np.meshgrid(widths, sizes))
    order = model.unclipped(k, n).reshape(len(sizes), len(widths))
    known = np.isfinite(order).all(axis=0)
    if not known.any():
        return None
    best = widths[known][order[:, known].argmin(axis=1)]
    reached = model.draws(best, sizes, seed) <= ask.target_regret
    least = np.where(reached.any(axis=1), sizes[reached.argmax(axis=1)], np.inf)
    ends = np.quantile(least, [0.5, (1 - ask.level) / 2, (1 + ask.level) / 2], method="nearest")
    return float(ends[0]), float(ends[1]), float(ends[2])


def _limits(model: Mixture, k: int, n: int) -> dict[str, float]:
    """Return the share of each kind of term in the sum inside the law of largest weight, at (k, n)."""
    heaviest = max(model.models, key=lambda member: model.weights[member.fit.law])
    columns = columns_at(model.table, np.array([float(k)]), np.array([float(n)]))
    values = {parameter.name: parameter.value for parameter in heaviest.fit.parameters}
    if not isinstance(heaviest.law, Law):
        return {}
    shares: dict[str, float] = {}
    for term in heaviest.law.parsed.terms:
        size = values[term.coefficient]
        names = {power.column for power in term.powers}
        for power in term.powers:
            exponent = values[power.exponent] if isinstance(power.exponent, str) else power.exponent
            size *= float(columns[power.column][0]) ** (power.sign * exponent)
        kind = "samples" if "n" in names else "tail" if names else "floor"
        shares[kind] = shares.get(kind, 0.0) + size
    if heaviest.law.parsed.floor is not None:
        # On the scale of the sum, so that the parts can be compared.
        m = heaviest.law.parsed.power
        shares["floor"] = values[heaviest.law.parsed.floor] ** (1 / (values[m] if isinstance(m, str) else m))
    total = sum(shares.values())
    return {kind: size / total for kind, size in shares.items()} if np.isfinite(total) and total > 0 else {}


def _surface(model: Mixture, widths: np.ndarray, sizes: np.ndarray, level: float, seed: int) -> Surface:
    k, n = (axis.ravel() for axis in np.meshgrid(widths, sizes))
    regret = model.predicted(k, n).reshape(len(sizes), len(widths))
    known = np.isfinite(regret).all(axis=0) & (widths >= model.cells.k.min()) & (widths <= model.cells.k.max())
    stars = np.full((3, len(sizes)), np.nan)
    if known.any():
        k, n = (axis.ravel() for axis in np.meshgrid(widths[known], sizes))
        curves = model.curves(k, n, seed).reshape(-1, len(sizes), int(known.sum()))
        drawn = widths[known][curves.argmin(axis=2)]
        stars[0] = widths[known][model.unclipped(k, n).reshape(len(sizes), -1).argmin(axis=1)]
        stars[1:] = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0, method="nearest")
    return Surface(widths, sizes, regret, stars)


def next_runs(
    model: Mixture, n: int, k: int, cost: Cost | None, ask: Ask, steps: int, seed: int
) -> tuple[NextRun, ...]:
    """Return the runs that narrow the answer at (n, k) most per cost.

    The answer is the expected regret at (n, k). Candidates are the cells of the study and those between and a step
    beyond them; what they would tell is read off the joint scatter of the draws (V-optimality), each next run given
    those before.
    """
    cells = model.cells
    widths = np.unique(
        np.concatenate([cells.k, np.round(np.sqrt(cells.k.min() * cells.k.max()))[None], cells.k.max()[None] * 2])
    )
    sizes = np.unique(cells.n)
    step = sizes[-1] / sizes[-2] if len(sizes) > 1 else 3.0
    sizes = np.concatenate([sizes, [np.round(sizes[-1] * step)]])
    points_k, points_n = (axis.ravel() for axis in np.meshgrid(widths, sizes))
    if n <= cells.n.max() and k <= cells.k.max():
        # Inside the runs the cell itself can be bought; a run beyond them is what the others are to spare.
        points_k, points_n = np.append(points_k, float(k)), np.append(points_n, float(n))
    predicted = model.predicted(points_k, points_n)
    ceiling = columns_at(model.table, points_k, points_n)["regret_random"]
    # A saturated cell tells nothing about the law; one whose law is not known cannot be valued.
    usable = np.isfinite(predicted) & ~(predicted >= 0.7 * ceiling)
    hours = None if cost is None else cost.hours(points_k, points_n)
    if ask.budget_hours is not None and hours is not None:
        usable &= hours <= ask.budget_hours
    if not usable.any():
        return ()
    points_k, points_n = points_k[usable], points_n[usable]
    # In one call: what the answer shares with a candidate is in the joint draws.
    joint = model.draws(np.append(points_k, k), np.append(points_n, n), seed)
    if not np.isfinite(joint[:, -1]).all():
        return ()
    draws, noise = joint[:, :-1], model.noise(points_k, points_n)
    price = np.ones(len(points_k)) if hours is None else hours[usable]
    chosen = greedy(deviations(joint[:, -1:]), deviations(draws), noise, price, steps)
    runs = []
    for index, remaining in zip(chosen.order, chosen.remaining, strict=True):
        at_n, at_k = int(points_n[index]), int(points_k[index])
        place = np.flatnonzero((cells.n == at_n) & (cells.k == at_k))
        why = f"seed {int(cells.seeds[place[0]]) + 1} of a cell that was run" if len(place) else "a new cell"
        runs.append(
            NextRun(at_n, at_k, 1, None if hours is None else float(price[index]), float(np.sqrt(remaining)), why)
        )
    return tuple(runs)


def _calibration(model: Mixture) -> str:
    parts = []
    for place, axis in enumerate("nk"):
        learned = [pair[place] for law, pair in model.inflation.items() if model.weights[law] > 0]
        count, farthest = (
            sum(inflation.forecasts for inflation in learned),
            max(inflation.farthest for inflation in learned),
        )
        parts.append(f"along {axis} by {count} forecasts up to {farthest:.2f} decades")
    return " and ".join(parts)


def _warnings(model: Mixture, ask: Ask) -> tuple[str, ...]:
    warnings = list(model.reasons)
    if model.cells.excluded:
        warnings.append(f"{len(model.cells.excluded)} runs left out, the first: {model.cells.excluded[0]}")
    random = np.nanmean(model.cells.ceiling) if np.isfinite(model.cells.ceiling).any() else np.inf
    if ask.target_regret >= random:
        warnings.append(f"random plans reach {random:.3g}: the target {ask.target_regret:g} asks for nothing")
    for place, axis in enumerate("nk"):
        learned = [pair[place] for law, pair in model.inflation.items() if model.weights[law] > 0]
        if not any(inflation.forecasts for inflation in learned):
            warnings.append(f"intervals along {axis} are {learned[0].source}")
    idle = [law for law, weight in model.weights.items() if weight == 0]
    if idle:
        warnings.append(f"{', '.join(idle)} could not be back-tested along n, and has no weight")
    for member in model.models:
        if member.fit.lack_of_fit_p is not None and member.fit.lack_of_fit_p < 0.01:
            warnings.append(
                f"{member.fit.law} misses cell means by more than seeds scatter (p = {member.fit.lack_of_fit_p:.1g})"
            )
    noisy = np.median(model.noise(model.cells.k, model.cells.n))
    if noisy > 0.5 * ask.target_regret:
        warnings.append(
            f"one run scatters by {noisy:.2g}, more than half the target: no law can be sure of a single run"
        )
    return tuple(warnings)


def score(
    families: Sequence[LawFamily], table: RunTable, target_regret: float, *, level: float = 0.9, draws: int = 200
) -> tuple[tuple[Verdict, float], ...]:
    """Advise on every larger cell from the smaller half of the sizes; return verdicts with the observed mean regret.

    The forecast is for one more run, the truth the mean over seeds.

    Raises
    ------
    ValueError
        If there are fewer than four sizes or no law can be fitted to the smaller half.
    """
    sizes = np.unique(table["n"])
    if len(sizes) < 4:
        raise ValueError(f"expected at least four sizes n, two to learn from and two to judge by, got {sizes.tolist()}")
    cut = sizes[(len(sizes) + 1) // 2 - 1]
    model = mix(families, table.where(table["n"] <= cut), "regret", level=level, draws=draws)
    later = cells_from_table(table.where(table["n"] > cut), "regret", np.inf)
    ask = Ask(target_regret, level)
    return tuple(
        (verdict(model, int(n), int(k), ask), float(mean))
        for n, k, mean in zip(later.n, later.k, later.mean, strict=True)
    )

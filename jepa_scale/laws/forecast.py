"""Forecast the cells of the largest sample size by a law fitted without them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from jepa_scale.laws.base import Law, cells_from_table, finite_mean
from jepa_scale.laws.fit import fit
from jepa_scale.records import Forecast, ForecastPoint, LawFit, RunTable
from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class _Inflation:
    factor: float
    source: str


def forecast(
    law: Law,
    table: RunTable,
    target: str,
    held_out_n: int,
    *,
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
    saturation: float = 0.9,
) -> Forecast:
    """Fit ``law`` on n < ``held_out_n`` and forecast the mean over seeds of each cell (k, ``held_out_n``).

    One point for each k of the table. Held-out values enter ``observed`` and nothing else; the tail of a k is a
    property of the world and is read wherever that k was run. The uncalibrated interval holds the middle ``level`` of
    R_θb(k, n) + ε_b, with θ_b the cluster bootstrap and ε_b normal with sd √((s0² + (c R_θb)²)/m), m the seeds of the
    held-out cell (of the training cells, at most, where it has not been run).

    Bootstrap intervals do not know that a law bends beyond its data: nominal 90 % intervals covered 58 % of ten public
    held-out sets. Both half-widths are therefore multiplied by λ = max(1, ``level`` quantile of |error| / half-width on
    the error's side), learned by the same forecast one step earlier: the largest training n from the smaller ones.
    λ = 1 where that is impossible, as ``inflation_source`` then says.

    Ranges: every number of a point is clipped at 0 below; for the regret, a lost probability, at 1 above, not at
    ``regret_random``: a planner can be worse than chance. Saturated cells leave the fit, never the forecast. If
    the law is not identified on n < ``held_out_n`` there are no points and ``inflation_source`` has the reason.

    Raises
    ------
    ValueError
        If no run of the table has n < ``held_out_n``, or an argument is out of range as in ``fit``.
    """
    training = table.where(table["n"] < held_out_n)
    if len(training) == 0:
        raise ValueError(f"expected runs with n below {held_out_n=} to fit to; the smallest n is {table['n'].min()}")
    settings = {"level": level, "draws": draws, "seed": seed, "saturation": saturation}
    fitted = fit(law, training, target, **settings)  # type: ignore[arg-type]
    largest = int(cells_from_table(training, target, np.inf).n.max(initial=training["n"].min()))
    blank = Forecast(law.name, target, level, (), 1.0, "", float(np.log10(held_out_n / largest)))
    if fitted.status != "converged" or len(fitted.bootstrap_draws) == 0:
        return replace(blank, inflation_source=f"no forecast, {law.name} {fitted.status}: {fitted.reason}")
    points = _points(law, fitted, table, held_out_n, seed)
    inflation = _learn_inflation(law, training, target, largest, settings)
    return replace(
        blank,
        points=tuple(_calibrate(point, inflation.factor, target) for point in points),
        inflation=inflation.factor,
        inflation_source=inflation.source,
    )


def _points(law: Law, fitted: LawFit, table: RunTable, held_out_n: int, seed: int) -> tuple[ForecastPoint, ...]:
    """Return the uncalibrated, unclipped points of every k whose tail is known, if the law needs it."""
    observed = cells_from_table(table.where(table["n"] == held_out_n), fitted.target, np.inf)
    training = cells_from_table(table.where(table["n"] < held_out_n), fitted.target, np.inf)
    k = np.unique(table["k"]).astype(float)
    tail = np.array([finite_mean(table["tail"][table["k"] == width].astype(float)) for width in k])
    if law.uses_tail:
        k, tail = k[np.isfinite(tail)], tail[np.isfinite(tail)]
    where = [np.flatnonzero(observed.k == width) for width in k]
    seeds = np.array([observed.seeds[i[0]] if len(i) else training.seeds.max() for i in where])
    theta = np.array([parameter.value for parameter in fitted.parameters])
    n = np.full(len(k), float(held_out_n))
    predicted = law.predict(theta, k, n, tail, fitted.target)
    draws = law.predict(fitted.bootstrap_draws, k, n, tail, fitted.target)
    # A stream of its own: the bootstrap drew its cells from ``seed`` alone.
    normal = np.random.default_rng([seed, held_out_n]).standard_normal(draws.shape)
    draws = draws + normal * np.sqrt((fitted.noise[0] ** 2 + (fitted.noise[1] * draws) ** 2) / seeds)
    low, high = np.quantile(draws, [(1 - fitted.level) / 2, (1 + fitted.level) / 2], axis=0)
    # A skewed bootstrap can lie on one side of the fit altogether; an interval holds its own forecast.
    low, high = np.minimum(low, predicted), np.maximum(high, predicted)
    return tuple(
        ForecastPoint(
            k=int(k[i]),
            n=held_out_n,
            predicted=float(predicted[i]),
            low=float(low[i]),
            high=float(high[i]),
            uncalibrated_low=float(low[i]),
            uncalibrated_high=float(high[i]),
            observed=float(observed.mean[cell[0]]) if len(cell) else None,
            observed_standard_error=_standard_error(observed.sd[cell], observed.seeds[cell]),
            seeds=int(observed.seeds[cell[0]]) if len(cell) else 0,
        )
        for i, cell in enumerate(where)
    )


def _standard_error(sd: Float64[np.ndarray, " _"], seeds: np.ndarray) -> float | None:
    """Return the standard error of a cell's mean; None for one seed or none."""
    return float(sd[0] / np.sqrt(seeds[0])) if len(sd) and seeds[0] > 1 else None


def _learn_inflation(
    law: Law, training: RunTable, target: str, largest: int, settings: dict[str, float | int]
) -> _Inflation:
    """Return λ from the forecast of the largest training n by the smaller ones."""
    earlier = training.where(training["n"] < largest)
    if len(earlier) == 0:
        return _Inflation(1.0, f"not calibrated: n={largest} is the only training level")
    fitted = fit(law, earlier, target, **settings)  # type: ignore[arg-type]
    if fitted.status != "converged" or len(fitted.bootstrap_draws) == 0:
        return _Inflation(1.0, f"not calibrated: without n={largest}, {law.name} {fitted.status}: {fitted.reason}")
    points = _points(law, fitted, training, largest, int(settings["seed"]))
    ratios = [_error_ratio(point) for point in points if point.observed is not None]
    if not ratios:
        return _Inflation(1.0, f"not calibrated: nothing was observed at n={largest}")
    factor = max(1.0, float(np.quantile(ratios, settings["level"])))
    return _Inflation(factor, f"{len(ratios)} cells at n={largest}, forecast from n<{largest}")


def _error_ratio(point: ForecastPoint) -> float:
    """Return |error| / half-width on the side where the observation fell."""
    assert point.observed is not None
    error = point.observed - point.predicted
    half_width = point.high - point.predicted if error > 0 else point.predicted - point.low
    # A skewed bootstrap can leave this side without width; the mean half-width is positive, as s0 is.
    return abs(error) / (half_width or (point.high - point.low) / 2)


def _calibrate(point: ForecastPoint, factor: float, target: str) -> ForecastPoint:
    """Multiply the half-widths by λ and clip every number to the target's range."""
    ceiling = 1.0 if target == "regret" else np.inf
    below, above = point.predicted - point.low, point.high - point.predicted

    def clip(value: float) -> float:
        return float(np.clip(value, 0.0, ceiling))

    return replace(
        point,
        predicted=clip(point.predicted),
        low=clip(point.predicted - factor * below),
        high=clip(point.predicted + factor * above),
        uncalibrated_low=clip(point.low),
        uncalibrated_high=clip(point.high),
    )

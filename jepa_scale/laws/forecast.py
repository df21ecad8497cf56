"""Forecasts of runs that a law was not fitted to, with intervals widened by back-tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from jepa_scale.laws.backtest import Calibration, Track, learn_calibration, rolling
from jepa_scale.laws.cells import Cells, cells_from_table, finite_mean
from jepa_scale.laws.fit import fit, rows_of_cells
from jepa_scale.laws.general import GeneralLaw
from jepa_scale.laws.law import Law, LawFamily
from jepa_scale.laws.predictive import Band, Predictive, band
from jepa_scale.records import Finding, Forecast, ForecastPoint, RunTable
from jepa_scale.records.quantities import BY_NAME
from jepa_scale.shapes import Float64

KNOWN = ("n", "k", "tail", "regret_random")
"""Columns that ``columns_at`` can compute at any point."""
DECIDED = ("parameters", "flops_per_step", "steps", "compute", "episodes")
"""Columns that a run's configuration determines, so that they are known before the run."""


def forecast(
    family: LawFamily,
    table: RunTable,
    target: str,
    held_out_n: int,
    *,
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
    saturation: float = 0.9,
) -> Forecast:
    """Fit a law on n < ``held_out_n`` and forecast the mean over seeds of each cell (k, ``held_out_n``).

    One point for each k of the table. Held-out values enter ``observed`` and nothing else; the tail of a k is a
    property of the world and is read wherever that k was run. The uncalibrated interval holds the middle ``level`` of
    R_θb(k, n) + ε_b, with θ_b the bootstrap and ε_b normal with sd √((s0² + (c R_θb)²)/m), m the seeds of the
    held-out cell (of the training cells, at most, where it has not been run).

    Forecast and interval are corrected by what the same forecasts erred by inside the training part: each n from all
    smaller ones, see ``backtest.Calibration``. Where there is none they stay as they are, and ``inflation_source`` says
    so; ``inflation`` is the largest ratio of a calibrated width to a plain one.

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
    options = {"level": level, "draws": draws, "seed": seed, "saturation": saturation}
    fitted = fit(family, training, target, **options)  # type: ignore[arg-type]
    largest = int(cells_from_table(training, target, np.inf).n.max(initial=training["n"].min()))
    blank = Forecast(family.name, target, level, (), 1.0, "", float(np.log10(held_out_n / largest)))
    law = family.on(target)
    outcomes = [name for name in law.columns if name not in (*KNOWN, *DECIDED, *table.dials)]
    if outcomes:
        reason = Finding("reads_outcomes", family.name, {"columns": ", ".join(outcomes), "decided": ", ".join(DECIDED)})
        return replace(blank, inflation_source=str(reason), reason=reason)
    model = Predictive(law, fitted, relative=False)
    if not model.usable:
        status, why = fitted.status.replace("_", " "), str(fitted.reason or "no draws")
        reason = Finding("no_forecast", family.name, {"status": status, "why": why})
        return replace(blank, inflation_source=str(reason), reason=reason)
    calibration = learn_calibration(backtest(family, training, target, **options))  # type: ignore[arg-type]
    points, factor = _points(model, table, target, held_out_n, calibration, blank.extrapolation_decades, seed)
    return replace(
        blank,
        points=points,
        inflation=factor,
        inflation_source=calibration.source,
        validated_decades=calibration.farthest,
    )


def backtest(
    family: LawFamily,
    table: RunTable,
    target: str,
    *,
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
    saturation: float = 0.9,
) -> Track:
    """Forecast the cells of each n of a study from all smaller n, as soon as the law can be fitted to these."""
    cells = cells_from_table(table, target, np.inf)
    rows = rows_of_cells(family.on(target), cells)
    options = {"level": level, "draws": draws, "seed": seed, "saturation": saturation}

    def fit_to(inside: np.ndarray) -> Predictive:
        earlier = table.where(table["n"] <= cells.n[inside].max())
        return Predictive(family.on(target), fit(family, earlier, target, **options), relative=False)  # type: ignore[arg-type]

    # One level of n never fits, and the largest has nothing to forecast.
    cuts = np.unique(cells.n)[1:-1].tolist()
    return rolling(rows, cells.n, cuts, fit_to, runs=cells.seeds, level=level, seed=seed)


def columns_at(
    table: RunTable, k: Float64[np.ndarray, " points"], n: Float64[np.ndarray, " points"]
) -> dict[str, Float64[np.ndarray, " points"]]:
    """Return the columns of a law at points (k, n); the tail is interpolated log-linearly between widths that were run.

    NaN where the tail is not known: beyond the widths of the study, unless it is 0 at a smaller one.
    """
    widths = np.unique(table["k"]).astype(float)
    tails = np.array([finite_mean(table["tail"][table["k"] == width].astype(float)) for width in widths])
    known = np.isfinite(tails)
    tail = np.full(len(k), np.nan)
    if known.any():
        inside = (k >= widths[known][0]) & (k <= widths[known][-1])
        tail[inside] = np.interp(np.log(k[inside]), np.log(widths[known]), tails[known])
        tail[(k > widths[known][-1]) & (tails[known][-1] <= 1e-12)] = 0.0
    ceiling = finite_mean(np.asarray(table["regret_random"], dtype=float))
    return {"k": k, "n": n, "tail": tail, "regret_random": np.full(len(k), ceiling)}


def _points(
    model: Predictive,
    table: RunTable,
    target: str,
    held_out_n: int,
    calibration: Calibration,
    distance: float,
    seed: int,
) -> tuple[tuple[ForecastPoint, ...], float]:
    """Return the points, and the largest ratio of a calibrated width to a plain one."""
    observed = cells_from_table(table.where(table["n"] == held_out_n), target, np.inf)
    training = cells_from_table(table.where(table["n"] < held_out_n), target, np.inf)
    places = np.unique(np.column_stack([table[name].astype(float) for name in ("k", *table.dials)]), axis=0)
    k = places[:, 0]
    columns = columns_at(table, k, np.full(len(k), float(held_out_n)))
    columns |= {name: places[:, 1 + index] for index, name in enumerate(table.dials)}
    columns |= _others(model.law, table, held_out_n, places, columns)
    if "tail" in model.law.columns:
        known = np.isfinite(columns["tail"])
        places, columns = places[known], {name: column[known] for name, column in columns.items()}
    k, there = places[:, 0], np.column_stack([observed.k, *(observed.dials[name] for name in table.dials)])
    where = [np.flatnonzero((there == place).all(axis=1)) for place in places]
    seeds = np.array([observed.seeds[i[0]] if len(i) else training.seeds.max() for i in where])
    plain = band(model, columns, seeds, model.fit.level, seed)
    wide = calibration.applied(model, plain, distance, model.fit.level)
    factor = float(np.max((wide.high - wide.low) / np.maximum(plain.high - plain.low, 1e-300), initial=1.0))
    ceiling = BY_NAME[target].high if target in BY_NAME else np.inf
    plain, wide = (Band(*(np.clip(part, 0.0, ceiling) for part in (b.predicted, b.low, b.high))) for b in (plain, wide))
    points = tuple(
        ForecastPoint(
            k=int(k[i]),
            n=held_out_n,
            predicted=float(wide.predicted[i]),
            low=float(wide.low[i]),
            high=float(wide.high[i]),
            uncalibrated_low=float(plain.low[i]),
            uncalibrated_high=float(plain.high[i]),
            observed=float(observed.mean[cell[0]]) if len(cell) else None,
            observed_standard_error=_standard_error(observed, cell),
            seeds=int(observed.seeds[cell[0]]) if len(cell) else 0,
            dials={name: float(columns[name][i]) for name in table.dials},
        )
        for i, cell in enumerate(where)
    )
    return points, factor


def _others(
    law: Law | GeneralLaw, table: RunTable, n: int, places: np.ndarray, known: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return further columns, such as the compute of a run: means over the runs at k, at this n if there are any.

    These are of ``DECIDED``: outcomes of the held-out runs are not for a forecast to see.
    """
    missing = [name for name in law.columns if name not in known]
    columns = {name: np.full(len(places), np.nan) for name in missing}
    for index, place in enumerate(places):
        rows = np.all([table[key] == value for key, value in zip(("k", *table.dials), place, strict=True)], axis=0)
        same = rows & (table["n"] == n)
        for name in missing:
            columns[name][index] = finite_mean(table[name][same if same.any() else rows].astype(float))
    return columns


def _standard_error(cells: Cells, cell: np.ndarray) -> float | None:
    """Return the standard error of a cell's mean; None for one seed or none."""
    if not len(cell) or cells.seeds[cell[0]] < 2:
        return None
    return float(cells.sd[cell[0]] / np.sqrt(cells.seeds[cell[0]]))

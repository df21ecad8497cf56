"""Fits, back-tests and forecasts of any table of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.allocation import Allocation, Cost, allocate
from jepa_scale.laws.backtest import Calibration, Track, beyond, learn_calibration, rolling
from jepa_scale.laws.compare import akaike_weights
from jepa_scale.laws.fit import fit_table
from jepa_scale.laws.general import GeneralLaw
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import Loss
from jepa_scale.laws.predictive import Band, Predictive, band, stretched
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.profile import Profile, profile
from jepa_scale.laws.rows import Rows
from jepa_scale.records import LawFit
from jepa_scale.records.findings import Finding
from jepa_scale.shapes import Float64

SHARES = (0.4, 0.5, 0.6, 0.75, 0.9)
"""Shares of the runs, smallest first, from which back-tests forecast the rest."""


@dataclass(frozen=True)
class TableForecast:
    """Forecasts of a law fitted to a table."""

    plain: Band
    """Interval from the bootstrap and the noise of one run, not calibrated."""
    calibrated: Band
    """Forecast and interval corrected by what back-tests erred by."""
    distance: Float64[np.ndarray, " points"]
    """Decades of scale beyond the largest run; 0 within the range of the runs."""
    refused: np.ndarray
    """(points,) boolean: whether the point lies beyond the largest distance at which a forecast was checked."""
    calibration: Calibration
    draws: Float64[np.ndarray, "draws points"]
    """Calibrated draws of one run, for the probability of a target."""


def default_scale(law: Law | GeneralLaw, columns: Mapping[str, np.ndarray]) -> Float64[np.ndarray, " rows"]:
    """Return the product of the columns that a law takes powers of: compute, up to a constant, for N and D."""
    return np.exp(sum(np.log(np.asarray(columns[name], dtype=float)) for name in _scaled_by(law)))


def _scaled_by(law: Law | GeneralLaw) -> list[str]:
    if isinstance(law, GeneralLaw):
        return sorted(law.columns)
    return sorted({power.column for term in law.parsed.terms for power in term.powers})


def backtest_table(
    law: Law | GeneralLaw,
    columns: Mapping[str, np.ndarray],
    scale: Float64[np.ndarray, " rows"],
    loss: Loss,
    *,
    cluster: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    episodes: np.ndarray | None = None,
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
) -> Track:
    """Fit the smaller 40, 50, 60, 75 and 90 % of the runs by ``scale`` and forecast the others."""
    rows = Rows.of(law, columns, cluster=cluster, weight=weight, episodes=episodes)

    def part(values: np.ndarray | None, mask: np.ndarray) -> np.ndarray | None:
        return None if values is None else np.asarray(values)[mask]

    def fit_to(inside: np.ndarray) -> Predictive:
        fitted = fit_table(
            law,
            {name: np.asarray(columns[name])[inside] for name in (*law.columns, law.target)},
            loss,
            cluster=part(cluster, inside),
            weight=part(weight, inside),
            episodes=part(episodes, inside),
            level=level,
            draws=draws,
            seed=seed,
        )
        return Predictive(law, fitted, loss.relative)

    cuts = np.unique(np.quantile(scale, SHARES, method="lower")).tolist()
    return rolling(rows, scale, cuts, fit_to, level=level, seed=seed)


def forecast_table(
    law: Law | GeneralLaw,
    fitted: LawFit,
    track: Track,
    at: Mapping[str, np.ndarray],
    scale: Float64[np.ndarray, " rows"],
    at_scale: Float64[np.ndarray, " points"],
    relative: bool,
    *,
    columns: Mapping[str, np.ndarray],
    seed: int = 0,
) -> TableForecast:
    """Forecast one more run at each point, corrected by what this law erred by in back-tests.

    ``columns`` are those of the fitted rows, by which a point's distance is told.

    Raises
    ------
    ValueError
        If the fit has no interval.
    """
    model = Predictive(law, fitted, relative)
    if not model.usable:
        raise ValueError(f"{law.name} has no interval to forecast with: {fitted.status}, {fitted.reason or 'no draws'}")
    calibration = learn_calibration(track)
    distance = beyond({name: np.asarray(columns[name]) for name in law.columns}, at, scale, at_scale)
    plain = band(model, at, 1.0, fitted.level, seed)
    calibrated = calibration.applied(model, plain, distance, fitted.level)
    return TableForecast(
        plain,
        calibrated,
        distance,
        (distance > 0) & (distance > calibration.farthest),
        calibration,
        stretched(model, model.draws(at, 1.0, seed), plain, calibrated),
    )


@dataclass(frozen=True)
class FittedLaw:
    """One law fitted to a table, with its profiles, back-tests and forecast."""

    law: Law | GeneralLaw
    fit: LawFit
    track: Track
    profiles: tuple[Profile, ...]
    fitted: Float64[np.ndarray, " rows"]
    """R of the fit at every row; empty if the fit failed."""
    forecast: TableForecast | None
    allocation: Allocation | None = None
    """Best use of the budgets that were asked for."""


@dataclass(frozen=True)
class TableStudy:
    """Any table of runs, fitted by one or several laws."""

    source: str
    columns: Mapping[str, Float64[np.ndarray, " rows"]]
    target: str
    scale: Float64[np.ndarray, " rows"]
    scale_name: str
    dropped: int
    """Number of rows left out because a number is missing."""
    loss: str
    relative: bool
    laws: tuple[FittedLaw, ...]
    akaike: Mapping[str, float]
    """Akaike weights exp(−ΔAICc/2), normalised, if several laws can be compared."""
    at: Mapping[str, Float64[np.ndarray, " points"]]
    """Points at which a forecast was asked for, as columns; these are empty if none was."""
    goal: float | None
    """Value of the target whose probability is asked for."""
    remarks: tuple[str, ...] = ()
    """Sentences on how the table was read."""
    findings: tuple[Finding, ...] = ()
    """What in the table speaks against the fits."""


_FACTORS = (2.0, 1.5, 1.2, 1.1)


def point_within_reach(study: TableStudy) -> dict[str, float] | None:
    """Return a point beyond the largest of every column at which forecasts of the best law were checked.

    It is twice the largest run, or nearer, and holds ``scale`` where runs are ordered by a column of their own. None
    where no law was fitted, or not even a tenth beyond was checked.
    """
    fitted = [law for law in study.laws if law.fit.status == "converged"]
    if not fitted:
        return None
    best = max(fitted, key=lambda law: study.akaike.get(law.fit.law, 0.0))
    farthest = learn_calibration(best.track).farthest
    names = sorted({name for law in study.laws for name in law.law.columns})
    own = study.scale_name not in ("", " × ".join(_scaled_by(study.laws[0].law)))
    for factor in _FACTORS:
        point = {name: factor * float(study.columns[name].max()) for name in names}
        at = {name: np.array([value]) for name, value in point.items()}
        reach = np.array([factor * study.scale.max()]) if own else default_scale(best.law, at)
        if beyond({name: study.columns[name] for name in names}, at, study.scale, reach)[0] <= farthest:
            return point | ({study.scale_name: float(reach[0])} if own else {})
    return None


def study_table(
    laws: Sequence[Law | GeneralLaw],
    columns: Mapping[str, np.ndarray],
    loss: Loss,
    *,
    source: str = "",
    dropped: int = 0,
    scale: Float64[np.ndarray, " rows"] | None = None,
    scale_name: str = "",
    cluster: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    episodes: np.ndarray | None = None,
    at: Mapping[str, np.ndarray] | None = None,
    at_scale: np.ndarray | None = None,
    goal: float | None = None,
    cost: Cost | None = None,
    budgets: Sequence[float] = (),
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> TableStudy:
    """Fit every law to a table, with profiles, back-tests, forecasts and the best use of each budget.

    Raises
    ------
    ValueError
        If a law cannot read the table; see ``fit_table``.
    """
    rows = {"cluster": cluster, "weight": weight, "episodes": episodes}
    for law in laws:
        loss.check(Rows.of(law, columns, **rows))
    if weight is not None and (np.asarray(weight) == 0).any():
        used = np.asarray(weight) > 0
        columns = {name: np.asarray(values)[used] for name, values in columns.items()}
        rows = {name: None if values is None else np.asarray(values)[used] for name, values in rows.items()}
        scale = None if scale is None else np.asarray(scale)[used]
    options = {"level": level, "seed": seed, **rows}
    # Two laws that read different columns must still be ordered alike.
    order = default_scale(laws[0], columns) if scale is None else np.asarray(scale, dtype=float)
    points = {name: np.asarray(values, dtype=float) for name, values in (at or {}).items()}
    results = []
    for law in laws:
        fitted = fit_table(law, columns, loss, draws=draws, **options)  # type: ignore[arg-type]
        track = backtest_table(law, columns, order, loss, **options)  # type: ignore[arg-type]
        forecast, allocation, predicted = None, None, np.empty(0)
        profiles: tuple[Profile, ...] = ()
        if fitted.status == "converged":
            theta = np.array([parameter.value for parameter in fitted.parameters])
            predicted = law.predict(theta, columns)
            if isinstance(law, Law):
                profiles = _profiles(law, fitted, columns, loss, level, rows)
            if points and draws:
                reach = default_scale(law, points) if at_scale is None else at_scale
                forecast = forecast_table(
                    law, fitted, track, points, order, reach, loss.relative, columns=columns, seed=seed
                )
            if cost is not None and draws:
                allocation = allocate(law, fitted, cost, budgets, columns)
        results.append(FittedLaw(law, fitted, track, profiles, predicted, forecast, allocation))
    converged = [result.fit for result in results if result.fit.status == "converged" and np.isfinite(result.fit.aicc)]
    return TableStudy(
        source,
        {name: np.asarray(values) for name, values in columns.items()},
        laws[0].target,
        order,
        scale_name or " × ".join(_scaled_by(laws[0])),
        dropped,
        loss.name,
        loss.relative,
        tuple(results),
        akaike_weights(converged) if len(converged) > 1 else {},
        points,
        goal,
    )


def _profiles(
    law: Law,
    fitted: LawFit,
    columns: Mapping[str, np.ndarray],
    loss: Loss,
    level: float,
    rows: Mapping[str, np.ndarray | None],
) -> tuple[Profile, ...]:
    """Return profiles of the exponents and of the constant, the parameters that are of interest by themselves."""
    problem = Problem(law, Rows.of(law, columns, **rows), loss)
    theta = problem.centred(np.array([parameter.value for parameter in fitted.parameters]))
    constants = [term.coefficient for term in law.parsed.terms if not term.powers]
    wanted = [*constants, *([law.parsed.floor] if law.parsed.floor else [])]
    wanted += [shape.name for shape in law.shapes if shape.fixed is None]
    return tuple(profile(problem, problem.rows.weight, theta, name, level=level) for name in wanted)

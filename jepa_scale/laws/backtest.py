"""Forecasts of runs that are known: how far intervals have to be widened, by the distance of the forecast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.predictive import Predictive, band, error_ratio
from jepa_scale.laws.rows import Rows
from jepa_scale.shapes import Float64

FITS = Callable[[np.ndarray], "Predictive | None"]
"""From a mask of rows to a fitted law; None where it cannot be fitted."""


@dataclass(frozen=True)
class Track:
    """Forecasts of one law from smaller runs, against what came."""

    distance: Float64[np.ndarray, " forecasts"]
    """log10 of scale over the largest scale that was fitted."""
    ratio: Float64[np.ndarray, " forecasts"]
    """|error| over the half-width of the uncalibrated interval, on the side of the error."""
    error: Float64[np.ndarray, " forecasts"]
    """Predicted less observed, on the scale of the law's residuals."""
    origins: int
    """Cuts from which forecasts were made."""
    reasons: tuple[str, ...] = ()
    """Why some cuts gave none."""

    @property
    def farthest(self) -> float:
        """Largest distance at which a forecast was checked; 0 where none was."""
        return float(self.distance.max(initial=0.0))


@dataclass(frozen=True)
class Inflation:
    """λ(d) = 1 + b d: the factor on half-widths at d decades beyond the fitted runs."""

    slope: float
    farthest: float
    """Largest distance at which a forecast was checked."""
    forecasts: int
    source: str

    def at(self, distance: np.ndarray | float) -> Float64[np.ndarray, " points"]:
        """Return λ; beyond what was validated the line goes on, and a forecast there is refused elsewhere."""
        return np.asarray(1.0 + self.slope * np.maximum(np.asarray(distance, dtype=float), 0.0))


def rolling(
    rows: Rows,
    scale: Float64[np.ndarray, " rows"],
    cuts: Sequence[float],
    fit_to: FITS,
    *,
    runs: np.ndarray | float = 1.0,
    level: float,
    seed: int,
) -> Track:
    """Fit the rows with scale ≤ cut and forecast the larger ones, for each cut."""
    distances, ratios, errors, reasons, origins = [], [], [], [], 0
    for cut in cuts:
        inside = scale <= cut
        if inside.all() or not inside.any():
            continue
        model = fit_to(inside)
        if model is None or not model.usable:
            reasons.append(f"cut at {cut:g}: " + (model.fit.reason if model is not None else "not fitted"))
            continue
        outside = rows.where(~inside)
        found = band(model, outside.columns, np.broadcast_to(runs, len(rows))[~inside], level, seed)
        origins += 1
        distances.append(np.log10(scale[~inside] / scale[inside].max()))
        ratios.append(error_ratio(model, found, outside.target))
        errors.append(model.straight(found.predicted) - model.straight(outside.target))
    empty = [np.empty(0)]
    return Track(
        np.concatenate(distances or empty),
        np.concatenate(ratios or empty),
        np.concatenate(errors or empty),
        origins,
        tuple(reasons),
    )


def learn_inflation(tracks: Sequence[Track], level: float) -> Inflation:
    """Return the least λ(d) = 1 + b d with which a share ``level`` of the forecasts would have been covered.

    Bootstrap intervals do not know that a law bends beyond its data: nominal 90 % intervals covered 58 % of ten public
    held-out sets. All laws and origins are pooled, and b is the quantile of (|error|/half-width − 1)/d over them, that of
    one more forecast exchangeable with the m seen: ⌈level (m + 1)⌉ of m. It is never below 0: no interval is narrowed.
    """
    distance = np.concatenate([track.distance for track in tracks] or [np.empty(0)])
    ratio = np.concatenate([track.ratio for track in tracks] or [np.empty(0)])
    usable = np.isfinite(ratio) & (distance > 0)
    distance, ratio = distance[usable], ratio[usable]
    if len(ratio) == 0:
        reasons = [reason for track in tracks for reason in track.reasons]
        why = reasons[0] if reasons else "a back-test needs three sizes, two to fit and one to forecast"
        return Inflation(0.0, 0.0, 0, f"not calibrated: {why}")
    needed = np.sort((ratio - 1) / distance)
    rank = min(int(np.ceil(level * (len(needed) + 1))), len(needed))
    farthest = float(distance.max())
    origins = sum(track.origins for track in tracks)
    source = f"{len(ratio)} forecasts from {origins} origins, up to {farthest:.2f} decades"
    return Inflation(max(float(needed[rank - 1]), 0.0), farthest, len(ratio), source)

"""Conclusions on forecasts of the held-out cells."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import Forecast, StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.wording import law_name, number, percent, plural, whole


def conclude(result: StudyResult) -> list[Conclusion]:
    """Conclude how many held-out cells came out as each law forecast, and how sharp the forecasts were."""
    if result.held_out_n is None:
        return [Conclusion("Nothing was held out, so no law was tested by forecast.", headline=True)]
    if not result.forecasts:
        return [Conclusion(f"n = {whole(result.held_out_n)} was held out, but no law forecast it.", headline=True)]
    return [_summary(result), *(_one(forecast) for forecast in result.forecasts)]


def _summary(result: StudyResult) -> Conclusion:
    """Return one sentence on all laws, for the opening paragraph."""
    parts = []
    for forecast in result.forecasts:
        seen = [point.covered for point in forecast.points if point.covered is not None]
        count = f"{sum(seen)} of {len(seen)}" if seen else "none observed"
        parts.append(f"{count} for {law_name(forecast.law)} on {forecast.target}")
    return Conclusion(
        f"Held-out cells at n = {whole(result.held_out_n or 0)} inside their {percent(result.forecasts[0].level)} "
        f"intervals: {'; '.join(parts)}.",
        headline=True,
    )


def _one(forecast: Forecast) -> Conclusion:
    who = f"{law_name(forecast.law)} on {forecast.target}"
    if not forecast.points:
        return Conclusion(f"{who}: {forecast.inflation_source or 'no forecast'}.")
    seen = [point for point in forecast.points if point.observed is not None]
    if not seen:
        return Conclusion(f"{who}: none of {plural(len(forecast.points), 'forecast cell')} has been run.")
    inside = sum(bool(point.covered) for point in seen)
    missed = [str(point.k) for point in seen if not point.covered]
    errors = [abs(point.predicted - point.observed) for point in seen if point.observed is not None]
    span = float(np.median([point.high - point.low for point in seen]))
    text = (
        f"{who}: {inside} of {plural(len(seen), 'held-out cell')} inside the {percent(forecast.level)} interval at "
        f"n = {whole(seen[0].n)}, {number(forecast.extrapolation_decades)} decades beyond the fitted data"
        + (f" (missed: k = {', '.join(missed)})" if missed else "")
        + f"; median error {number(float(np.median(errors)))}, median width of the interval {number(span)}, "
        f"after widening by {number(forecast.inflation)} ({forecast.inflation_source})."
    )
    # As many misses as that would come by chance less than about once in twenty.
    failed = len(missed) > (1 - forecast.level) * len(seen) + 2 * np.sqrt(
        forecast.level * (1 - forecast.level) * len(seen)
    )
    return Conclusion(text, alarm=bool(failed))

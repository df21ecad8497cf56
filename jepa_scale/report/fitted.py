"""Report on laws fitted to a table: terminal table, page and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from jepa_scale.files import write_whole
from jepa_scale.laws.table import FittedLaw, TableStudy
from jepa_scale.report.figures import allocation, back_tests, profiles, residuals
from jepa_scale.report.page.markup import document, paragraph, says, section, table, text
from jepa_scale.report.page.plot import Plot
from jepa_scale.report.wording import interval, number, percent, plural, probability

PLOTS = tuple(Plot.of(module) for module in (residuals, profiles, back_tests, allocation))
_HEAD = ("law", "parameter", "value", "bootstrap", "profile likelihood")


def head(study: TableStudy) -> str:
    """Return one sentence on what was fitted."""
    first = study.laws[0].fit
    left = f"; {plural(study.dropped, 'row')} without a number left out" if study.dropped else ""
    return (
        f"{study.source}: {plural(first.runs, 'run')} of {plural(first.cells, 'configuration')}{left}. "
        f"Minimised: {study.loss}, summed."
    )


def parameters_table(study: TableStudy) -> Table:
    """Return the table of all parameters with their intervals, for a terminal."""
    level = percent(study.laws[0].fit.level)
    shown = Table(title=f"{level} intervals")
    for column in _HEAD:
        shown.add_column(column, justify="left" if column in ("law", "parameter") else "right")
    for row in _rows(study):
        shown.add_row(*row)
    return shown


def sentences(study: TableStudy) -> list[str]:
    """Return the sentences that a reader needs besides the parameters."""
    lines = list(study.remarks)
    for fitted in study.laws:
        fit = fitted.fit
        if fit.status != "converged":
            lines.append(f"{fit.law}: {fit.status.replace('_', ' ')}: {fit.reason}")
            continue
        hits, starts = fit.starts
        quality = "" if fit.lack_of_fit_p is None else f", lack of fit {probability(fit.lack_of_fit_p)}"
        lines.append(
            f"{fit.law}: objective {fit.objective:.10g}, AICc {number(fit.aicc, 4)}, {hits} of {starts} starts ended "
            f"in it, condition {number(fit.condition, 2)}{quality}; bootstrap of "
            f"{plural(len(fit.bootstrap_draws), 'draw')} ({fit.bootstrap})"
        )
        lines += [f"{fit.law}: {warning}" for warning in fit.warnings]
        lines.append(f"{fit.law}: {back_test(fitted)}")
    if study.akaike:
        weights = ", ".join(f"{law} {number(weight, 2)}" for law, weight in study.akaike.items())
        lines.append(f"AICc weights (evidence among these laws, not for any): {weights}")
    return lines


def cautions(study: TableStudy) -> list[str]:
    """Return the sentences on what speaks against every fit of the table."""
    return [f"Caution: {finding}." for finding in study.findings]


def back_test(fitted: FittedLaw) -> str:
    """Return a sentence on how the law would have forecast the larger runs of the table from the smaller ones."""
    track = fitted.track
    ratio = track.ratio[np.isfinite(track.ratio)]
    if len(ratio) == 0:
        return "not back-tested: " + (track.reasons[0] if track.reasons else "too few runs")
    inside = int((ratio <= 1).sum())
    error = float(np.median(np.abs(track.error)))
    unit = "of ln R" if fitted.forecast is None or fitted.fit.loss.find("ln") >= 0 else "of R"
    return (
        f"back-tests from {plural(track.origins, 'origin')}, up to {track.farthest:.2f} decades: {inside} of "
        f"{plural(len(ratio), 'forecast')} inside plain {percent(fitted.fit.level)} intervals; median error "
        f"{number(error)} {unit}"
    )


def forecast_lines(study: TableStudy) -> list[str]:
    """Return one line of forecast for each point and law."""
    lines = []
    for fitted in study.laws:
        if fitted.forecast is None:
            continue
        seen = fitted.forecast
        for index in range(len(seen.distance)):
            where = ", ".join(f"{name} = {number(values[index])}" for name, values in study.at.items())
            start = f"{fitted.fit.law} at {where}: "
            if seen.refused[index]:
                lines.append(
                    f"{start}cannot say: {seen.distance[index]:.2f} decades beyond the largest run, forecasts were "
                    f"checked up to {seen.calibration.farthest:.2f} (the formula gives "
                    f"{number(seen.plain.predicted[index])})"
                )
                continue
            line = (
                f"{start}{study.target} = {number(seen.calibrated.predicted[index], 4)} "
                f"{interval(seen.calibrated.low[index], seen.calibrated.high[index])} calibrated, "
                f"{interval(seen.plain.low[index], seen.plain.high[index])} plain; "
                f"{seen.distance[index]:.2f} decades beyond the largest run"
            )
            if study.goal is not None:
                share = float((seen.draws[:, index] <= study.goal).mean())
                line += f"; P({study.target} ≤ {number(study.goal)}) = {number(share, 2)}"
            lines.append(line)
    return lines


def budget_lines(study: TableStudy) -> list[str]:
    """Return one line for each budget and law, and one on how the best split grows."""
    lines = []
    for fitted in study.laws:
        found = fitted.allocation
        if found is None:
            continue
        for split in found.splits:
            start = f"{found.law}, {found.cost.text} = {number(split.budget)}: "
            if not split.inside:
                lines.append(f"{start}no best split: the law falls to the end of what was searched")
                continue
            shares = ", ".join(
                f"{name} = {number(best)} {interval(low, high)}"
                for name, best, low, high in zip(found.cost.columns, split.best, split.low, split.high, strict=True)
            )
            outside = f"; {split.decades:.2f} decades outside the runs" if split.decades > 0 else ""
            reached = f"{study.target} = {number(split.target, 4)} {interval(split.target_low, split.target_high)}"
            lines.append(f"{start}{shares}; {reached}{outside}")
        if found.exponents is not None:
            grows = ", ".join(
                f"{name} ∝ cost^{number(value, 3)} {interval(low, high)}"
                for name, (value, low, high) in zip(found.cost.columns, found.exponents, strict=True)
            )
            lines.append(f"{found.law}: best split {grows}")
    return lines


def _rows(study: TableStudy) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for fitted in study.laws:
        profiled = {item.name: item for item in fitted.profiles}
        for item in fitted.fit.parameters:
            shown = profiled.get(item.name)
            known = math.isfinite(item.low) and math.isfinite(item.high)
            ends = ""
            if shown is not None:
                marks = ("≤ " if shown.open_ends[0] else "", "≥ " if shown.open_ends[1] else "")
                ends = f"[{marks[0]}{number(shown.low)}, {marks[1]}{number(shown.high)}]"
            note = " (bound)" if item.at_boundary else ""
            rows.append(
                (
                    fitted.fit.law,
                    item.name,
                    number(item.value, 5) + note,
                    "fixed" if item.fixed else interval(item.low, item.high) if known else "–",
                    ends,
                )
            )
    return rows


def write_fit(study: TableStudy, folder: Path) -> Path:
    """Write ``report.html``, ``figures/*.png`` and ``fit.json`` into ``folder``, each whole or not at all."""
    cards = [plot.place(study, folder / "figures") for plot in PLOTS]
    write_whole(folder / "fit.json", _json(study).encode())
    page = folder / "report.html"
    forecasts, budgets = forecast_lines(study), budget_lines(study)
    body = "\n".join(
        (
            f"<header><h1>{text('; '.join(fitted.fit.formula for fitted in study.laws))}</h1></header>",
            paragraph(head(study), "lead"),
            section(
                "parameters",
                "Parameters",
                table(
                    _HEAD,
                    [tuple(map(text, row)) for row in _rows(study)],
                    f"{percent(study.laws[0].fit.level)}",
                    (2, 3, 4),
                ),
                says([*cautions(study), *sentences(study)]),
            ),
            section(
                "forecasts", "Forecasts", says(forecasts) if forecasts else paragraph("None was asked for (--at).")
            ),
            section("budgets", "Best use of a budget", says(budgets)) if budgets else "",
            section("figures", "Figures", *cards),
        )
    )
    write_whole(page, document(f"{study.target} by law", body).encode())
    return page


def _json(study: TableStudy) -> str:
    content: dict[str, Any] = {
        "source": study.source,
        "rows": len(study.scale),
        "dropped": study.dropped,
        "loss": study.loss,
        "findings": [asdict(finding) for finding in study.findings],
        "fits": [asdict(fitted.fit) for fitted in study.laws],
        "profiles": [asdict(item) | {"law": fitted.fit.law} for fitted in study.laws for item in fitted.profiles],
        "back_tests": [asdict(fitted.track) | {"law": fitted.fit.law} for fitted in study.laws],
        "akaike": dict(study.akaike),
        "forecasts": [
            {
                "law": fitted.fit.law,
                "at": {name: values.tolist() for name, values in study.at.items()},
                "predicted": fitted.forecast.plain.predicted,
                "plain": [fitted.forecast.plain.low, fitted.forecast.plain.high],
                "calibrated": [fitted.forecast.calibrated.low, fitted.forecast.calibrated.high],
                "decades": fitted.forecast.distance,
                "refused": fitted.forecast.refused,
            }
            for fitted in study.laws
            if fitted.forecast is not None
        ],
        "allocations": [asdict(fitted.allocation) for fitted in study.laws if fitted.allocation is not None],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} to fit.json")

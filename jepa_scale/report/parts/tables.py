"""Tables of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jepa_scale.laws.cells import TARGETS
from jepa_scale.records import ForecastPoint, LawFit, Parameter, StudyResult
from jepa_scale.report.conclusions.laws import doubts
from jepa_scale.report.figures.bounds import BoundPoint, points
from jepa_scale.report.page.markup import folded, paragraph, says, table, text
from jepa_scale.report.page.palette import shade
from jepa_scale.report.summary import Cell, cells, finished, lacking, optima, sizes, widths
from jepa_scale.report.wording import bound, interval, law_name, number, percent, probability, seeds, whole, with_error


def heat(result: StudyResult, target: str) -> str:
    """Return the table of means of a target by n and k, coloured by size; the best k of each n is outlined."""
    means = cells(result.table, target)
    best = optima(result.table, target) if target in TARGETS else {}
    if not means:
        return paragraph(f"No run finished with a {target}.")
    low, high = (choose(cell.mean for cell in means.values()) for choose in (min, max))
    head = "".join(f'<th scope="col" class="number">k = {k}</th>' for k in widths(result.table))
    lines = []
    for n in sizes(result.table):
        held_out = " (held out)" if result.held_out(n) else ""
        row = [
            _heat_cell(means.get((n, k)), n in best and k in best[n].shared_by, low, high) for k in widths(result.table)
        ]
        lines.append(f'<tr><th scope="row">n = {whole(n)}{held_out}</th>{"".join(row)}</tr>')
    outlined = " Outlined: lowest mean at each n." if best else ""
    caption = f"Mean {target.replace('_', ' ')} ± 1 standard error over seeds.{outlined} Darker: larger."
    return (
        f'<div class="wide"><table class="heat"><caption>{text(caption)}</caption>'
        f"<thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _heat_cell(cell: Cell | None, best: bool, low: float, high: float) -> str:
    if cell is None:
        return "<td>– <small>no finished run</small></td>"
    share = (cell.mean - low) / (high - low) if high > low else 0.0
    ground, ink = shade(share)
    kind = ' class="best"' if best else ""
    # Equal seeds show no scatter, which is not an error of 0.
    mean = number(cell.mean) if cell.standard_error == 0 else with_error(cell.mean, cell.standard_error)
    return f'<td{kind} style="background:{ground};color:{ink}">{mean} <small>{seeds(cell.seeds)}</small></td>'


def parameters(result: StudyResult) -> str:
    """Return the table of laws and targets: parameters with intervals, the theory's values, and how well it fits."""
    if not result.fits:
        return paragraph("No law was fitted.")
    level = percent(result.fits[0].level)
    head = ("law", "target", "parameter", "value", f"{level} interval", "theory", "verdict")
    rows = [_parameter(fit, item) for fit in result.fits if fit.status == "converged" for item in fit.parameters]
    quality = (
        "law", "target", "formula", "cells", "runs", "AICc", "lack of fit", "seed noise (s0, c)", "warnings",
    )  # fmt: skip
    return (
        table(quality, [_quality(fit) for fit in result.fits], "All fits, without the held-out cells.", (3, 4, 5))
        + folded(
            f"Parameters of the fits that converged ({len(rows)})",
            table(head, rows, "Intervals from the cluster bootstrap.", (3, 4, 5)),
        )
        + _excluded(result)
    )


def _parameter(fit: LawFit, item: Parameter) -> tuple[str, ...]:
    known = not item.fixed and math.isfinite(item.low) and math.isfinite(item.high)
    ends = interval(item.low, item.high) if known else "fixed" if item.fixed else "–"
    if item.theory is None or item.fixed:
        verdict = "at the bound of its range" if item.at_boundary else ""
    elif doubts(fit, item):
        verdict = f"the grid cannot say: {'; '.join(doubts(fit, item))}"
    elif item.low <= item.theory <= item.high:
        verdict = "the interval contains the theory's value"
    else:
        verdict = "the interval does not contain the theory's value"
    name, theory = text(item.name), number(item.theory) if item.theory is not None else ""
    return (
        text(law_name(fit.law)),
        text(fit.target),
        f"<code>{name}</code>",
        number(item.value),
        ends,
        theory,
        text(verdict),
    )


def _quality(fit: LawFit) -> tuple[str, ...]:
    failed = "" if fit.status == "converged" else fit.status.replace("_", " ") + f": {fit.reason or 'no reason given'}"
    noise = f"({number(fit.noise[0], 2)}, {number(fit.noise[1], 2)})" if all(map(math.isfinite, fit.noise)) else "–"
    return (
        text(law_name(fit.law)),
        text(fit.target),
        f'<code class="formula">{text(fit.formula)}</code>',
        str(fit.cells),
        str(fit.runs),
        number(fit.aicc, 4),
        text(probability(fit.lack_of_fit_p)),
        noise,
        f'<div class="prose no">{text(failed)}</div>'
        if failed
        else _prose("; ".join(map(str, fit.warnings)) or "none"),
    )


def _prose(sentence: str) -> str:
    """Return a cell for sentences, which is not squeezed to the width of a word."""
    return f'<div class="prose">{text(sentence)}</div>'


def _excluded(result: StudyResult) -> str:
    by_target = {fit.target: fit.excluded for fit in result.fits if fit.excluded}
    return "".join(
        f"<h3>Left out of the fits of {text(target)}</h3>{says(list(given))}" for target, given in by_target.items()
    )


def forecasts(result: StudyResult) -> str:
    """Return the table of forecast cells: predicted, interval, observed, covered or not."""
    rows = [
        (text(law_name(item.law)), text(item.target), *_point(point))
        for item in result.forecasts
        for point in item.points
    ]
    if not rows:
        return paragraph("There is no forecast to check.")
    level = percent(result.forecasts[0].level)
    head = (
        "law",
        "target",
        "n",
        "k",
        "predicted",
        f"calibrated {level}",
        "uncalibrated",
        "observed ± SE",
        "seeds",
        "inside?",
    )
    caption = "Forecasts of the held-out cells, by laws fitted without them."
    return folded(f"All {len(rows)} forecasts", table(head, rows, caption, (2, 3, 4, 5, 6, 7, 8)))


def _point(point: ForecastPoint) -> tuple[str, ...]:
    verdict = {None: "not observed", True: "yes", False: '<span class="no">no</span>'}[point.covered]
    observed = "–" if point.observed is None else with_error(point.observed, point.observed_standard_error)
    return (
        whole(point.n),
        str(point.k) + "".join(f", {name} = {value:g}" for name, value in point.dials.items()),
        number(point.predicted),
        interval(point.low, point.high),
        interval(point.uncalibrated_low, point.uncalibrated_high),
        observed,
        str(point.seeds),
        verdict,
    )


def bounds(result: StudyResult) -> str:
    """Return the table of bounds: where they apply, their values, and the state of their hypotheses."""
    groups: dict[str, list[BoundPoint]] = {}
    for point in points(result):
        groups.setdefault(point.label, []).append(point)
    if not groups:
        return paragraph("No finished run has a bound beside its regret.")
    rows = []
    for label, group in groups.items():
        values = [point.bound for point in group if math.isfinite(point.bound)]
        span = f"{bound(min(values))} to {bound(max(values))}" if values else "–"
        broken = sum(point.violated for point in group)
        rows.append(
            (
                text(label),
                f"{sum(point.applies for point in group)} of {len(group)}",
                f"{sum(not point.bound < 1 for point in group)} of {len(group)}",
                span,
                f'<span class="no">{broken}</span>' if broken else "0",
            )
        )
    head = ("bound", "applies", "vacuous", "smallest to largest value", "violations (applies, below the regret)")
    checked = ("bound", "hypothesis", "holds", "detail")
    caption = "Bounds on the expected regret, one value for each finished run."
    return table(head, rows, caption, (1, 2, 4)) + folded(
        "Hypotheses of the bounds", table(checked, _hypotheses(result), "Checked in each run.", (2,))
    )


def _hypotheses(result: StudyResult) -> list[tuple[str, ...]]:
    groups: dict[tuple[str, str], list[Mapping[str, object]]] = {}
    for _, record in finished(result):
        for entry in record.bounds:
            for hypothesis in entry["hypotheses"]:
                groups.setdefault((entry["label"], hypothesis["statement"]), []).append(hypothesis)
    rows: list[tuple[str, ...]] = []
    for (label, statement), group in groups.items():
        holding = sum(bool(item["holds"]) for item in group)
        details = list(dict.fromkeys(str(item["detail"]) for item in group))
        shown = "; ".join(details[:3]) + (f"; and {len(details) - 3} more" if len(details) > 3 else "")
        count = f"{holding} of {len(group)}"
        rows.append(
            (text(label), text(statement), count if holding else f'<span class="no">{count}</span>', text(shown))
        )
    return rows


def failures(result: StudyResult) -> str:
    """Return the table of runs that did not finish and runs without a record, with their reasons."""
    data, parts = result.runs, []
    lost = [
        f"n = {whole(data['n'][row])}, k = {int(data['k'][row])}, "
        f"{''.join(f'{name} = {data[name][row]}, ' for name in data.dials)}seed {int(data['seed'][row])}: "
        f"{data['status'][row]}: {data['reason'][row]}"
        for row in lacking(result)
    ]
    if lost:
        parts.append(f"<h3>Did not finish</h3>{says(lost)}")
    if result.unfinished:
        parts.append(f"<h3>Without a record</h3>{says(result.unfinished)}")
    return "".join(parts) or paragraph("Every run finished.")

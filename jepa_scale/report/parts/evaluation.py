"""Terminal tables of an evaluation: success with intervals, regret, prediction error by horizon."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from jepa_scale.records import Estimate, EvaluationRecord, PairedDifference, RunRecord
from jepa_scale.report.parts.protocol import rate
from jepa_scale.report.wording import number, plural, probability, with_error

Estimates = Mapping[str, Estimate]
"""Estimates by name."""

_POLICIES = {
    "model": "model",
    "policy": "amortised plan",
    "refined": "one iteration from it",
    "same_cost": "same cost",
    "oracle": "oracle",
    "expert": "expert",
    "random": "random",
    "do_nothing": "do nothing",
}


def by_name(estimates: Sequence[Estimate]) -> dict[str, Estimate]:
    """Return the last estimate of each name."""
    return {estimate.name: estimate for estimate in estimates}


def of_record(record: RunRecord) -> dict[str, Estimate]:
    """Return the last scalar estimates of a run."""
    return {
        name: Estimate(name, value, record.final_standard_errors[name], record.final_n[name], 0, 0)
        for name, value in record.final.items()
        if value is not None
    }


def tabulated(name: str) -> bool:
    """Whether an estimate is shown in one of the tables of this module."""
    return bool(re.match(r"(success|success_any_time|success_final|tasks|prediction|observed)/", name))


def success_table(estimates: Estimates, protocol: Mapping[str, Any]) -> Table | None:
    """Return the table of success by difficulty and policy with Wilson's intervals; None if no task was tried."""
    if protocol.get("kind") != "tasks":
        return None
    table = Table(title="Tasks solved by required steps T [95 % Wilson interval over tasks]", box=SIMPLE)
    for column in ("T", "policy", "at any time", "at the end", "n", "removed"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    # Where nobody knows what is required there is one difficulty, 0.
    known = [level for level in protocol["required_steps"] if level]
    levels = [("all", ""), *((str(level), f"/required_{level}") for level in known)]
    for title, suffix in levels:
        removed = estimates.get(f"tasks/removed{suffix}")
        gone = "" if removed is None else number(_scalar(removed))
        rows = list(_policies(estimates, suffix))
        if not rows:
            table.add_row(title, "–", "–", "–", "0", gone, end_section=True)
        for place, cells in enumerate(rows):
            head = (title, gone) if place == 0 else ("", "")
            table.add_row(head[0], *cells, head[1], end_section=place + 1 == len(rows))
    return table


def vacuous_tasks(estimates: Estimates) -> str:
    """Return a sentence if knowing nothing solves as many tasks as the model, or nearly all; empty otherwise."""
    rates = {name: estimates.get(f"success/{name}") for name in ("model", "random", "do_nothing")}
    values = {name: _scalar(row) for name, row in rates.items() if row is not None and row.value is not None}
    floors = {name: value for name, value in values.items() if name != "model"}
    if "model" not in values or not floors:
        return ""
    name, floor = max(floors.items(), key=lambda item: item[1])
    if floor < values["model"] and floor < _MOSTLY:
        return ""
    who = {"random": "random actions", "do_nothing": "doing nothing"}[name]
    return (
        f"These tasks do not tell the model from {who}, which solves {floor:.2f} of them where the model solves "
        f"{values['model']:.2f}: train longer, or take harder tasks (evaluation.required_steps, "
        "evaluation.success=final, a smaller tolerance)."
    )


_MOSTLY = 0.9


def _policies(estimates: Estimates, suffix: str) -> Iterator[tuple[str, str, str, str]]:
    for policy, name in _POLICIES.items():
        kinds = [estimates.get(f"success_{kind}/{policy}{suffix}") for kind in ("any_time", "final")]
        n = next((row.n for row in kinds if row is not None and row.n), None)
        if n is not None:
            any_time, final = ("–" if row is None else rate(_scalar(row), row.n) for row in kinds)
            yield name, any_time, final, str(n)


def regret_table(estimates: Estimates, protocol: Mapping[str, Any]) -> Table | None:
    """Return the table of regret and its parts, or regret by score with the floors; None if nothing was planned."""
    rows = {name: row for name, row in estimates.items() if name.startswith("regret/") and row.value is not None}
    if not rows or protocol.get("kind") == "none":
        return None
    tasks = protocol.get("kind") == "tasks"
    paired = tasks or protocol.get("kind") == "pairs"
    table = Table(title=f"Regret {_COUNTED[protocol['success']]}" if tasks else "Expected regret", box=SIMPLE)
    for column in ("of", "± SE over tasks" if tasks else "value", *(["n"] if paired else [])):
        table.add_column(column, justify="left" if column == "of" else "right")
    best = {"expert": "expert", "success_1": "1"}.get(protocol.get("reference", ""), "oracle")
    names = {name: label.format(best=best) for name, label in _PARTS.items()} if tasks else _SCORES
    for name, label in names.items():
        row = rows.get(f"regret/{name}")
        if row is not None:
            sampled = row.n is not None
            value = _sampled(row) if sampled else number(_scalar(row))
            table.add_row(label, value, *([str(row.n) if sampled else "exact"] if paired else []))
    return table


def compared_table(names: Sequence[str], records: Sequence[EvaluationRecord]) -> Table | None:
    """Return a table with success and regrets of each model; None for one model, or if nothing was planned."""
    tables = [by_name(record.estimates) for record in records]
    shown = {"success/model": "success"} | {f"regret/{name}": f"regret, {name}" for name in _COMPARED}
    shown = {name: label for name, label in shown.items() if any(name in estimates for estimates in tables)}
    if len(records) < 2 or not shown:
        return None
    table = Table(title="Models compared", box=SIMPLE)
    for column in ("model", "trained", *shown.values()):
        table.add_column(column, justify="left" if column in ("model", "trained") else "right")
    for name, record, estimates in zip(names, records, tables, strict=True):
        rows = [estimates.get(estimate) for estimate in shown]
        values = ["–" if row is None or row.value is None else _compared(row) for row in rows]
        table.add_row(name, record.trained, *values)
    return table


_COMPARED = ("distance", "inner", "density", "operator", "exhaustive", "policy")


def _compared(row: Estimate) -> str:
    return number(_scalar(row)) if row.n is None else _sampled(row)


_COUNTED = {"any_time": "of success at any time", "final": "of success at the end"}
_PARTS = {
    "distance": "the model: {best} − model",
    "density": "the model: {best} − model",
    "inner": "the model: {best} − model",
    "geometry": "  of which distances: {best} − same cost",
    "dynamics": "  of which predicting: same cost − model",
    "policy": "the amortised planner: {best} − policy",
    "random": "random actions: {best} − random",
    "do_nothing": "the null action: {best} − do nothing",
}
_SCORES = {
    "distance": "the model, score distance",
    "inner": "the model, score inner",
    "density": "the model, score density",
    "operator": "the model, product of its operators",
    "exhaustive": "all plans, by the search's score",
    "random": "random plans (floor)",
    "do_nothing": "the null action (floor)",
}


def prediction_table(estimates: Estimates) -> Table | None:
    """Return the table of relative squared error by horizon, and that of a copy of the start; None if not estimated."""
    steps = sorted(int(match[1]) for name in estimates if (match := re.fullmatch(r"prediction/horizon_(\d+)", name)))
    if not steps:
        return None
    table = Table(title="Prediction error² / variance, held-out windows", box=SIMPLE, caption=_PREDICTION)
    for column in ("steps ahead", "model", "copy of the start", "mean", "windows"):
        table.add_column(column, justify="right")
    for step in steps:
        model, copy = (estimates[f"{name}/horizon_{step}"] for name in ("prediction", "prediction/copy"))
        shown = (f"– ({row.flag})" if row.value is None else _plain(row) for row in (model, copy))
        table.add_row(str(step), *shown, "1", str(model.n))
    return table


def observation_table(estimates: Estimates) -> Table | None:
    """Return the table of errors of observations read out of latents; None if they were not estimated."""
    steps = sorted(int(match[1]) for name in estimates if (match := re.fullmatch(r"observed/copy/horizon_(\d+)", name)))
    if not steps:
        return None
    table = Table(title="Change of observations read out of latents, error² / variance", box=SIMPLE, caption=_OBSERVED)
    for column in ("steps ahead", "model", "f(x)", "copy of the start"):
        table.add_column(column, justify="right")
    for step in steps:
        rows = [estimates.get(f"observed/{name}/horizon_{step}") for name in ("model", "encoder", "copy")]
        table.add_row(str(step), *("–" if row is None or row.value is None else _plain(row) for row in rows))
    return table


def copy_wins(estimates: Estimates) -> str:
    """Return a sentence if predicted observations are no better than a copy of the start; empty otherwise."""
    model, copy = (estimates.get(f"observed/{name}/mean") for name in ("model", "copy"))
    if model is None or copy is None or model.value is None or copy.value is None or _scalar(model) < _scalar(copy):
        return ""
    return (
        f"The model predicts observations worse than a copy of the start: {number(_scalar(model))} against "
        f"{number(_scalar(copy))} of the variance of their change, mean over the horizon. Train longer, or "
        "try another objective, rate or width before more data."
    )


_PREDICTION = (
    "0: perfect, out of reach where the world is random; 1: the best constant. ± SE over trajectories. Objectives that "
    "fix ẑ and f(x) up to a linear map only, as the spectral one, may lie above 1 and plan well."
)
_OBSERVED = (
    "Read by regression, fitted on other trajectories: the same measure for all objectives. Model: from ẑ; f(x): from "
    "the latent of the observation itself, which no predictor can better."
)


def _plain(row: Estimate) -> str:
    return with_error(_scalar(row), _error(row))


def _sampled(row: Estimate) -> str:
    """Format a mean over tasks; if all of them end alike there is no error to estimate."""
    return f"{number(_scalar(row))} (all alike)" if row.standard_error == 0 else _plain(row)


def _scalar(row: Estimate) -> float:
    assert isinstance(row.value, float | int)
    return float(row.value)


def _error(row: Estimate) -> float | None:
    return float(row.standard_error) if isinstance(row.standard_error, float | int) else None


def difference_sentence(difference: PairedDifference, model: str, reference: str) -> str:
    """Return a sentence on a comparison on the same tasks, with its error, its n and a test."""
    kind = {"any_time": "at any time", "final": "at the end"}[difference.kind]
    return (
        f"{model} − {reference}, success {kind}: {with_error(difference.value, difference.standard_error)} on the same "
        f"{plural(difference.n, 'task')}; {difference.only_model} solved by the first alone, "
        f"{difference.only_reference} by the second alone, exact McNemar {probability(difference.p)}"
    )

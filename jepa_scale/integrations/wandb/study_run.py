"""The W&B run of a whole study: its cells, fits, forecasts and advice as tables, and its report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jepa_scale.records import StudyResult
from jepa_scale.report.advice import advice_lines
from jepa_scale.report.conclusions.answer import answer
from jepa_scale.report.summary import mean_of, optima
from jepa_scale.runs.errors import UserError
from jepa_scale.texts import first_line

JOB_TYPE = "study"
Value = str | float | int | None


@dataclass(frozen=True)
class StudyTable:
    """A table: column names and rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


_MEANS = (
    "regret",
    "risk",
    "tail",
    "subspace_deficit",
    "calibration_deficit",
    "success",
    "bound_t4",
    "bound_t5",
    "bound_b1_prime",
    "bound_best",
)


def study_tables(result: StudyResult) -> dict[str, StudyTable]:
    """Return the tables of a study by their key in its run; tables without rows are left out.

    Means over seeds have their standard error (s/√m) beside them, forecasts and parameters their intervals. A bound on
    regret of at least 1 is vacuous, and called so.
    """
    parts = [(arm.label, arm.result) for arm in result.arms] or [("", result)]
    tables = {
        "study/cells": StudyTable(_CELLS, tuple(row for arm, part in parts for row in _cells(arm, part))),
        "study/best_width": StudyTable(_WIDTHS, tuple(row for arm, part in parts for row in _widths(arm, part))),
        "study/fit": StudyTable(_FIT, tuple(row for arm, part in parts for row in _fit(arm, part))),
        "study/forecast": StudyTable(_FORECAST, tuple(row for arm, part in parts for row in _forecast(arm, part))),
        "study/advice": StudyTable(
            ("arm", "line"), tuple((arm, line) for arm, part in parts for line in _advice(part))
        ),
        "study/missing": StudyTable(("run", "why"), tuple(_missing(result))),
    }
    return {key: table for key, table in tables.items() if table.rows}


def study_numbers(result: StudyResult) -> dict[str, Value]:
    """Return counts and the verdict, for the summary of the study's run."""
    diverged = int((result.table["status"] == "diverged").sum()) if len(result.table) else 0
    numbers: dict[str, Value] = {
        "study/runs": len(result.table) + len(result.unfinished),
        "study/done": len(result.table),
        "study/diverged": diverged,
        "study/without_record": len(result.unfinished),
        "study/target_regret": result.target_regret,
    }
    if result.advice is not None:
        verdict = result.advice.verdict
        numbers |= {
            "study/verdict": verdict.status,
            "study/verdict_probability": verdict.probability,
            "study/predicted_regret": verdict.predicted,
            "study/predicted_regret_low": verdict.low,
            "study/predicted_regret_high": verdict.high,
        }
    return numbers


_CELLS = (
    "arm",
    "n",
    "k",
    "size",
    "width",
    "log10_n",
    "log2_k",
    "seeds",
    *(f"{name}{end}" for name in _MEANS for end in ("", "_se")),
)
_WIDTHS = ("arm", "n", "log10_n", "best_k", "log2_k", "regret", "regret_se", "place", "u_turn_established")
_FIT = (
    "arm",
    "target",
    "law",
    "status",
    "parameter",
    "value",
    "low",
    "high",
    "level",
    "theory",
    "aicc",
    "cells",
    "runs",
)
_FORECAST = (
    "arm", "target", "law", "n", "k", "predicted", "low", "high", "level", "arrived", "arrived_se", "seeds", "covered",
)  # fmt: skip


def _cells(arm: str, result: StudyResult) -> Iterator[tuple[Value, ...]]:
    table = result.table
    if not len(table):
        return
    finished = table["status"] == "finished"
    for n, k in sorted({(int(n), int(k)) for n, k in zip(table["n"][finished], table["k"][finished], strict=True)}):
        here = finished & (table["n"] == n) & (table["k"] == k)
        values: list[Value] = []
        for name in _MEANS:
            mean = mean_of(table[name][here].astype(float))
            values += (None, None) if mean is None else (mean.value, mean.standard_error)
        names = (f"{arm + ', ' if arm else ''}{name}" for name in (f"n={n}", f"k={k}"))
        yield arm, n, k, *names, float(np.log10(n)), float(np.log2(k)), int(here.sum()), *values


def _widths(arm: str, result: StudyResult) -> Iterator[tuple[Value, ...]]:
    for n, turn in optima(result.table, "regret").items():
        best = turn.best
        yield (
            arm, n, float(np.log10(n)), best.k, float(np.log2(best.k)), best.mean, best.standard_error, turn.place,
            "yes" if turn.established else "no",
        )  # fmt: skip


def _fit(arm: str, result: StudyResult) -> Iterator[tuple[Value, ...]]:
    for fit in result.fits:
        shared = arm, fit.target, fit.law, fit.status if fit.status == "converged" else f"{fit.status}: {fit.reason}"
        quality = _finite(fit.aicc), fit.cells, fit.runs
        if not fit.parameters:
            yield *shared, None, None, None, None, fit.level, None, *quality
        for item in fit.parameters:
            ends = (None, None) if item.fixed else (_finite(item.low), _finite(item.high))
            yield *shared, item.name, _finite(item.value), *ends, fit.level, item.theory, *quality


def _forecast(arm: str, result: StudyResult) -> Iterator[tuple[Value, ...]]:
    for forecast in result.forecasts:
        for point in forecast.points:
            covered = {None: "not run", True: "yes", False: "no"}[point.covered]
            yield (
                arm, forecast.target, forecast.law, point.n, point.k, point.predicted, _finite(point.low),
                _finite(point.high), forecast.level, point.observed, point.observed_standard_error, point.seeds,
                covered,
            )  # fmt: skip


def _advice(result: StudyResult) -> list[str]:
    if result.advice is not None:
        return advice_lines(result.advice)
    return [f"no advice: {result.no_advice}"] if result.no_advice else []


def _missing(result: StudyResult) -> Iterator[tuple[Value, ...]]:
    for record in result.records.values():
        if record.status != "finished":
            dials = record.dials
            yield f"n={dials['n']} k={dials['k']} seed={dials['seed']}", f"{record.status}: {record.reason}"
    for sentence in result.unfinished:
        run, _, why = sentence.partition(": ")
        yield run, why


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def log_study(
    result: StudyResult, folder: Path, *, project: str, entity: str | None, mode: str, files: Sequence[Path] = ()
) -> str:
    """Write or rewrite the study's run; return its URL, or its folder if W&B is offline.

    ``files`` go into an artifact of the run. An offline run is in the study's folder, from where `jepa-scale sync`
    uploads it.

    Raises
    ------
    UserError
        If W&B refuses it.
    """
    import wandb

    from jepa_scale.integrations.wandb.opening import opened, resolve_mode

    resolved = resolve_mode(mode)
    if resolved == "disabled":
        raise UserError("W&B is disabled (WANDB_MODE=disabled): unset it, or set it to offline")
    run = None
    try:
        run = opened(
            resolved,
            folder,
            project=project,
            entity=entity,
            id=f"study-{result.name}",
            name=f"{result.name} (study)",
            group=result.name,
            job_type=JOB_TYPE,
            notes=" ".join(answer(result)),
            config={"question": result.question, "score": result.score, "goal_law": result.goal_law},
            resume="allow",
            reinit="finish_previous",
        )
        run.log(
            {
                key: wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows])
                for key, table in study_tables(result).items()
            }
        )
        run.summary.update(study_numbers(result))
        if files:
            artifact = wandb.Artifact(f"{result.name}-report", type="report", description=result.question)
            for path in files:
                artifact.add_file(str(path), name=str(path.relative_to(folder)))
            run.log_artifact(artifact)
        where = str(Path(run.dir).parent) if run.offline else str(run.url)
        run.finish()
    except Exception as error:
        if run is not None:
            with contextlib.suppress(Exception):
                run.finish(exit_code=1)
        raise UserError(
            f"W&B did not take the study's run ({first_line(error)}): check the network and `wandb login`, or keep it "
            "here with WANDB_MODE=offline"
        ) from None
    return where

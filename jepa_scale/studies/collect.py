"""Table, fits and forecasts from a study's runs on disk; they can be rebuilt at any time."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.laws.advice import advise, score
from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.compare import compare
from jepa_scale.laws.fit import fit
from jepa_scale.laws.forecast import forecast
from jepa_scale.records import (
    SAMPLED,
    Advice,
    Arm,
    Ask,
    Comparison,
    LawFit,
    RunRecord,
    RunTable,
    StudyResult,
    TuningCheck,
    Verdict,
)
from jepa_scale.records.quantities import noun_of
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write, refuse_links
from jepa_scale.runs.instantiate import build_forecaster
from jepa_scale.studies.advising import FORECASTER
from jepa_scale.studies.design import DesignPoint
from jepa_scale.studies.exact_learner import exact_learner
from jepa_scale.studies.exact_learner import setting as setting_of_learner
from jepa_scale.studies.holdings import Histories, mixed_code, read_records, why_missing
from jepa_scale.studies.kept_fits import Fitted, inputs_of, read_fits, write_fits
from jepa_scale.studies.manifest import read_plan, study_id
from jepa_scale.studies.specification.arms import arm_folder, combinations
from jepa_scale.studies.specification.arms import label as label_of_arm
from jepa_scale.studies.specification.budget import describe, steps_of
from jepa_scale.studies.specification.laws import families_of
from jepa_scale.studies.specification.spec import StudySpec, spec_of
from jepa_scale.studies.specification.tuning import setting, to_json, tuning_run
from jepa_scale.studies.table import about_target, run_table, table_for, targets_of, write_table
from jepa_scale.terminal import Step, untold


def collect_folder(study: Path, into: Path | None, step: Step = untold) -> StudyResult:
    """Collect a planned study from the files in its folder, without composing a configuration.

    Raises
    ------
    UserError
        If the folder holds no planned study, the runs that decide its budget are not finished, or the folder that is
        written ``into`` holds a link that leads out of it.
    """
    if into is not None:
        refuse_links(into)
    spec, points = spec_of(study), read_plan(study)
    if not any(point.purpose == "cell" for point in points):
        raise UserError(
            f"study {spec.name}: the budget is tuned by runs of its own, which are not finished: run `jepa-scale "
            "study`; if one failed, its traceback is in errors/"
        )
    return replace(collect(spec, points, study, into, step), source=_source(points, study))


def _source(points: Sequence[DesignPoint], study: Path) -> str:
    """Digest of the files that a study is collected from."""
    whole = hashlib.sha256()
    folders = [point.folder(study) for point in points]
    runs = [path for folder in folders for path in (folder.record_path, folder.metrics_path)]
    for path in [study / "study.yaml", study / "plan.json", *runs, *sorted(study.glob("errors/*.txt"))]:
        whole.update(path.relative_to(study).as_posix().encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"")
    return whole.hexdigest()


def collect(
    spec: StudySpec, points: Sequence[DesignPoint], study: Path, into: Path | None, step: Step = untold
) -> StudyResult:
    """Read every record and return what the report needs; table, fits, budget and tuning check are written ``into``.

    ``into`` is the study's own folder, another one, or None to write nothing; ``step`` is told what is computed.

    Runs of the tuning check enter neither table nor laws. In a study with arms each arm is collected by itself, into
    ``arms/``, and the result as a whole has the table of all. A run with an unusable record counts as unfinished.
    """
    if not spec.arms:
        return _collected(spec, points, study, study, into, step)
    arms = []
    for values in combinations(spec.arms):
        named = label_of_arm(values)
        own = [point for point in points if point.arm == named]
        folder = None if into is None else into / "arms" / arm_folder(named)
        kept = study / "arms" / arm_folder(named)
        collected = _collected(spec, own, study, kept, folder, functools.partial(_told, step, named))
        result = replace(collected, name=f"{spec.name}: {named}")
        arms.append(Arm(named, arm_folder(named), values, result))
    unusable: dict[str, str] = {}
    records = read_records(points, study, unusable)
    whole = _empty(spec, points, records)
    table = table_for(spec, list(records.values()), points)
    if into is not None:
        write_table(table, into / "table.parquet", study_id(spec))
    return replace(
        whole,
        table=table,
        records=records,
        unfinished=_unfinished(spec, points, study, records, unusable),
        unusable=tuple(unusable.values()),
        mixed=mixed_code(records),
        arms=tuple(arms),
        budget=arms[0].result.budget,
    )


def _told(step: Step, arm: str, name: str) -> None:
    """Tell a step of an arm."""
    step(f"{arm}: {name}")


def _collected(
    spec: StudySpec, points: Sequence[DesignPoint], study: Path, kept: Path, folder: Path | None, step: Step
) -> StudyResult:
    """Result of the points of one arm; its files go into ``folder``, if given. Its fits may be ``kept`` from before."""
    checks = [point for point in points if point.purpose == "tuning"]
    points = [point for point in points if point.purpose == "cell"]
    tuning = tuning_check(spec, checks, study, _configs(spec, points)[0])
    identity = study_id(spec)
    unusable: dict[str, str] = {}
    step(f"read the records of {len(points)} runs")
    records = read_records(points, study, unusable)
    whole = table_for(spec, list(records.values()), points)
    held_out = max(spec.sizes) if spec.hold_out_largest_n and len(spec.sizes) > 1 else None
    # Laws read numbers; of categories the first.
    fitted = whole.at({dial.name: dial.reference for dial in spec.others if not dial.numeric})
    config = _configs(spec, points)[0]
    settings = (held_out, _options(spec), spec.sizes, spec.widths, setting_of_learner(config))
    inputs = inputs_of(fitted, families_of(spec), targets_of(spec), settings)
    laws = read_fits(kept / "fit.json", inputs)
    if laws is None:
        laws = _laws(spec, fitted, held_out, step) if len(fitted) else Fitted((), ())
        laws = replace(laws, learner=exact_learner(config, spec.sizes, spec.widths))
    table = whole.at(spec.reference)
    step("forecast the target and check the forecasts")
    advice, no_advice, judged = _advice(spec, table)
    there = [point for point in points if point.config and point.dials == spec.reference]
    budget = describe(spec.budget, {point.n: steps_of(point.config) for point in there}, spec.dials)
    if folder is not None:
        write_table(whole, folder / "table.parquet", identity)
        write_fits(folder / "fit.json", identity, inputs, laws)
        described = {"study": identity, **asdict(budget)}
        atomic_write(folder / "budget.json", json.dumps(described, indent=1, ensure_ascii=False) + "\n")
        if tuning is not None:
            atomic_write(folder / "tuning.json", to_json(tuning, identity))
        else:
            (folder / "tuning.json").unlink(missing_ok=True)
    return replace(
        _empty(spec, points, records),
        table=table,
        whole=whole if spec.others else None,
        records=records,
        histories=Histories([point for point in points if point.run_id in records], study),
        fits=laws.fits,
        forecasts=laws.forecasts,
        learner=laws.learner,
        held_out_n=held_out,
        unfinished=_unfinished(spec, points, study, records, unusable),
        unusable=tuple(unusable.values()),
        mixed=mixed_code(records),
        comparisons=_comparisons(spec, fitted, held_out, laws.fits),
        advice=advice,
        no_advice=no_advice,
        judged=judged,
        budget=budget,
        tuning=tuning,
    )


def _empty(spec: StudySpec, points: Sequence[DesignPoint], records: Mapping[str, RunRecord]) -> StudyResult:
    """Result of a study before anything has run."""
    known = _configs(spec, points)
    planner = known[0]["planner"]
    return StudyResult(
        name=spec.name,
        question=spec.question,
        table=run_table([]),
        dials=spec.others,
        target=spec.target,
        records={},
        histories={},
        fits=(),
        forecasts=(),
        held_out_n=None,
        score=planner.get("score", "none"),
        goal_law=_goal_law(planner, records),
        horizon=planner.get("horizon", 1),
        target_regret=spec.target_regret,
        unfinished=(),
        settings=_shared(known),
    )


def _goal_law(planner: Mapping[str, Any], records: Mapping[str, RunRecord]) -> str:
    """Where goals come from: sampled tasks of a world that is stepped, whatever planner of its actions there is."""
    if planner.get("score") == "none":
        return "none"
    if any(record.protocol.get("kind") == "tasks" for record in records.values()):
        return SAMPLED
    return planner.get("goal_law", SAMPLED)


def _configs(spec: StudySpec, points: Sequence[DesignPoint]) -> list[Mapping[str, Any]]:
    """Configurations of the points; plans of older versions hold only those of the runs that were started."""
    known = [point.config for point in points if point.config]
    if not known:
        raise UserError(f"study {spec.name} has no run that was begun: run `jepa-scale study` first")
    return known


def _unfinished(
    spec: StudySpec,
    points: Sequence[DesignPoint],
    study: Path,
    records: Mapping[str, RunRecord],
    unusable: Mapping[str, str],
) -> tuple[str, ...]:
    """One sentence for each run without a record; runs that a design has not chosen are left out."""
    lacking = [point for point in points if point.run_id not in records]
    if spec.design is not None:
        left = {point.run_id for point in lacking if (study / "errors" / f"{point.run_id}.txt").exists()}
        lacking = [point for point in lacking if point.run_id in unusable or point.run_id in left]
    return tuple(f"{point}: {unusable.get(point.run_id) or why_missing(point, study)}" for point in lacking)


def tuning_check(
    spec: StudySpec, points: Sequence[DesignPoint], study: Path, shared: Mapping[str, Any]
) -> TuningCheck | None:
    """Read the runs of the tuning check; None where the study has no check. ``shared`` is any cell's configuration."""
    if spec.tuning is None:
        return None
    key, unusable = spec.tuning.key, dict[str, str]()
    records = read_records(points, study, unusable)
    return TuningCheck(
        key=key,
        shared=float(setting(shared, key)),
        n=spec.tuning.n,
        runs=tuple(tuning_run(records[point.run_id], key) for point in points if point.run_id in records),
        unfinished=_unfinished(replace(spec, design=None), points, study, records, unusable),
    )


def _options(spec: StudySpec) -> dict[str, Any]:
    return {"level": spec.level, "draws": spec.bootstrap_draws}


def _laws(spec: StudySpec, table: RunTable, held_out: int | None, step: Step) -> Fitted:
    inside = table if held_out is None else table.where(table["n"] < held_out)
    options = _options(spec)
    fits, forecasts = [], []
    families = families_of(spec)
    for target in (target for target in targets_of(spec) if np.isfinite(table[target]).any()):
        for law in families:
            if not law.describes(target):
                continue
            step(f"fit {law.name} to the {noun_of(target)}")
            fits.append(fit(law, inside, target, **options))
            if held_out is not None and (inside["status"] == "finished").any():
                forecasts.append(forecast(law, table, target, held_out, **options))
    return Fitted(tuple(fits), tuple(forecasts))


def _comparisons(
    spec: StudySpec, table: RunTable, held_out: int | None, fits: Sequence[LawFit]
) -> tuple[Comparison, ...]:
    inside = table if held_out is None or not len(table) else table.where(table["n"] < held_out)
    comparisons = []
    for target in targets_of(spec) if fits else ():
        chosen = [fit for fit in fits if fit.target == target]
        laws = {family.name: family.on(target) for family in families_of(spec) if family.describes(target)}
        comparisons.append(compare(chosen, laws, cells_from_table(inside, target)))
    return tuple(comparisons)


def _advice(spec: StudySpec, table: RunTable) -> tuple[Advice | None, str, tuple[tuple[Verdict, float], ...]]:
    if not spec.target.advised:
        return None, f"advice is on the regret, and this study is about {spec.target.quantity}", ()
    table = about_target(table, spec.target)
    forecaster = build_forecaster(FORECASTER).forgetting(spec.name)
    try:
        # Of the grid: single runs beyond it are there to inform the answer, not to be asked about.
        sizes = [n for n in spec.sizes if n in table["n"]]
        ask = Ask(spec.target_regret, spec.level, max(sizes, default=None), quantity=spec.target.noun)
        advice = advise(forecaster, table, ask)
    except ValueError as error:
        return None, str(error), ()
    try:
        return advice, "", score(forecaster, table, spec.target_regret, level=spec.level)
    except ValueError:
        # Too few sizes to learn from half of them: the advice stands, nothing judges it.
        return advice, "", ()


_OF_A_RUN = ("seed", "logger", "code")


def _shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that all runs share; n, k and whatever else differs are left out."""
    first = {key: value for key, value in configs[0].items() if key not in _OF_A_RUN}
    return _common(first, configs)


def _common(first: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shared = {}
    for key, value in first.items():
        values = [config.get(key) for config in others]
        if all(candidate == value for candidate in values):
            shared[key] = value
        elif isinstance(value, Mapping) and all(isinstance(candidate, Mapping) for candidate in values):
            inner = _common(value, [candidate for candidate in values if candidate is not None])
            shared |= {key: inner} if inner else {}
    return shared

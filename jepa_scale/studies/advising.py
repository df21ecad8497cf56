"""Advice from a study folder or any table of runs, and the study file of the recommended next runs."""

from __future__ import annotations

import hashlib
import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jepa_scale.laws.advice import advise, score
from jepa_scale.laws.allocation import Cost
from jepa_scale.laws.outlook import Outlook
from jepa_scale.laws.spending import Spending, spend
from jepa_scale.records import Advice, Ask, RunRecord, RunTable, Verdict
from jepa_scale.records.findings import Finding
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write
from jepa_scale.runs.instantiate import build_forecaster
from jepa_scale.studies.external import LARGEST, counted_seeds, factors, filled_table
from jepa_scale.studies.holdings import read_records
from jepa_scale.studies.manifest import read_plan
from jepa_scale.studies.specification.spec import StudySpec, read_spec, spec_of
from jepa_scale.studies.table import about_target, run_table
from jepa_scale.studies.tables.columns import Columns, NotNumbers
from jepa_scale.studies.tables.reading import Source, read_tables, source_name
from jepa_scale.studies.tables.repeated import PerRun, rows_to_keep
from jepa_scale.studies.tables.selection import selected
from jepa_scale.studies.tables.settings import mixed_settings
from jepa_scale.studies.tables.states import FINISHED, of_finished, refuse_panel, status_of
from jepa_scale.studies.tables.table import Table

FORECASTER = "stack"
"""Leaf of conf/forecaster that advice is read from unless another is asked for."""


def study_runs(study: Path) -> tuple[StudySpec, RunTable, Mapping[str, RunRecord]]:
    """Return a study's specification, the table of its runs and their records by id.

    Raises
    ------
    UserError
        If the folder does not belong to a study, or holds no finished run.
    """
    spec = spec_of(study)
    if spec.arms:
        raise UserError(
            f"{study} compares settings ({', '.join(spec.arms)}), and advice is on one of them: see the pages in "
            f"{study / 'arms'}, which hold each one's, or run that setting as a study of its own"
        )
    unusable: dict[str, str] = {}
    points = [point for point in read_plan(study) if point.purpose == "cell"]
    records = read_records(points, study, unusable)
    for sentence in unusable.values():
        warnings.warn(f"left out: {sentence}", stacklevel=2)
    if not records:
        raise UserError(f"{study} has no finished run yet: run `jepa-scale study {study / 'study.yaml'}` first")
    table = about_target(run_table(list(records.values()), points).at(spec.reference), spec.target)
    return spec, table, {record.run_id: record for record in records.values()}


@dataclass(frozen=True)
class Answer:
    """Advice, and what it was read from."""

    advice: Advice
    table: RunTable
    remarks: tuple[str, ...]
    spec: StudySpec | None
    """Specification of the study; None for a table."""
    bounds: tuple[tuple[str, int, int, int], ...] = ()
    """Statements of the theory: label, runs in which it applied, was vacuous, was violated."""
    findings: tuple[Finding, ...] = ()
    """What in a table speaks against the answer."""

    def digest(self) -> str:
        """Return the SHA-256 of the rows (n, k, seed, status, regret), in order."""
        columns = [self.table[name].tolist() for name in ("n", "k", "seed", "status", "regret")]
        rows = sorted(repr(row) for row in zip(*columns, strict=True))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def spending(
        self, cost: Cost, budgets: Sequence[float], forecaster: str = FORECASTER
    ) -> tuple[Spending | None, ...]:
        """Return the best n and k at each cost."""
        asked = build_forecaster(forecaster).forgetting(self.spec.name if self.spec else "")
        ask = self.advice.ask
        return spend(Outlook.of(asked, self.table), cost, budgets, ask.target_regret, ask.level)

    def judged(self, forecaster: str = FORECASTER) -> tuple[tuple[Verdict, float], ...]:
        """Return advice from the smaller half of the sizes with what came; nothing for fewer than four sizes."""
        try:
            asked = build_forecaster(forecaster).forgetting(self.spec.name if self.spec else "")
            return score(asked, self.table, self.advice.ask.target_regret)
        except ValueError:
            return ()


def cost_of(product: str | None, budgets: Sequence[float]) -> Cost | None:
    """Return the cost of a run in n and k that budgets are spent by; None if none is asked for.

    Raises
    ------
    UserError
        If one of both is missing, the product is not of n, k and numbers, or a budget is not above 0.
    """
    if product is None and not budgets:
        return None
    if product is None:
        raise UserError("--spend: expected --cost too, the cost of a run in n and k, such as --cost 6e3*n*k")
    if not budgets:
        raise UserError("--cost: expected --spend too, the costs to spend, such as --spend 1e9 1e10")
    wrong = [budget for budget in budgets if not 0 < budget < math.inf]
    if wrong:
        raise UserError(f"--spend: expected finite numbers above 0, got {wrong[0]:g}")
    parts = factors(product, {"n", "k"})
    names = [part for part in parts if isinstance(part, str)]
    factor = math.prod(part for part in parts if isinstance(part, float))
    if sorted(names) != ["k", "n"] or not 0 < factor < math.inf:
        raise UserError(f"--cost {product}: expected a product of n, k and numbers above 0, such as 6e3*n*k")
    return Cost(factor, (names[0], names[1]))


def advise_study(study: Path, ask: Ask, forecaster: str = FORECASTER) -> Answer:
    """Answer a question from the runs of a study.

    Raises
    ------
    UserError
        If no answer is possible; the message says what to run.
    """
    spec, table, records = study_runs(study)
    if spec.target.advised:
        ask = replace(ask, quantity=spec.target.noun)
    try:
        advice = advise(build_forecaster(forecaster).forgetting(spec.name), table, ask)
    except ValueError as error:
        raise UserError(f"{study}: {error}") from None
    return Answer(advice, table, (), spec, _bounds(table, records))


def advise_table(
    paths: Source,
    ask: Ask,
    forecaster: str = FORECASTER,
    names: Mapping[str, str] | None = None,
    per_run: PerRun = "last",
    where: Sequence[str] = (),
) -> Answer:
    """Answer a question from a table of runs, or several one after another.

    Raises
    ------
    UserError
        If the table does not hold runs by n and k, or no answer is possible.
    """
    table, remarks, findings = table_of(paths, names or {}, per_run, where)
    try:
        return Answer(advise(build_forecaster(forecaster), table, ask), table, remarks, None, findings=findings)
    except ValueError as error:
        raise UserError(f"{source_name(paths)}: {error}") from None


def _bounds(table: RunTable, records: Mapping[str, RunRecord]) -> tuple[tuple[str, int, int, int], ...]:
    counts: dict[str, list[int]] = {}
    for identity, regret in zip(table["run_id"].tolist(), table["regret"].tolist(), strict=True):
        for bound in records[identity].bounds if identity in records else ():
            value = bound["value"]
            if bound["applies"] and value is not None and np.isfinite(regret):
                mine = counts.setdefault(bound["label"], [0, 0, 0])
                mine[0] += 1
                mine[1] += value >= 1
                mine[2] += value < regret - 1e-9
    return tuple((label, mine[0], mine[1], mine[2]) for label, mine in counts.items())


_OPTIONAL = ("tail", "regret_random", "regret_halfway", "wall_seconds")
"""Columns that laws, saturation and costs read, where a table has them."""

_TEXTS = ("status", "run", "step")
"""Columns that tell which rows are used."""


class TableRuns(NamedTuple):
    """The runs of a table, and how it was read."""

    table: RunTable
    remarks: tuple[str, ...]
    findings: tuple[Finding, ...]


def table_of(paths: Source, names: Mapping[str, str], per_run: PerRun = "last", where: Sequence[str] = ()) -> TableRuns:
    """Return the runs of tables on disk; ``names`` maps n, k, … to columns or expressions, ``where`` chooses rows.

    Raises
    ------
    UserError
        If the table lacks n, k or regret, mixes the arms of a study, or has a size that is not a whole number above 0.
    """
    raw = selected(read_tables(paths), where)
    unknown = sorted(set(names) - {"n", "k", "regret", "seed", *_OPTIONAL, *_TEXTS})
    if unknown:
        known = ", ".join(("n", "k", "regret", "seed", *_OPTIONAL, *_TEXTS))
        raise UserError(f"--columns: expected names among {known}, got {unknown[0]}")
    refuse_panel(raw)
    raw, remarks = of_finished(raw, names, keep=frozenset({"diverged"}))
    arms = sorted({str(value) for value in raw.columns.get("arm", []) if value})
    if len(arms) > 1:
        raise UserError(
            f"{raw.source} compares settings ({arms[0]} …), and advice is on one of them: choose it, "
            f"--where {shlex.quote(f'arm={arms[0]}')}"
        )
    columns = Columns(raw, names)
    try:
        numbers = {name: columns.numbers(name) for name in ("n", "k", "regret")}
    except NotNumbers as error:
        also = "; no finished run has a number in each of n, k and regret" if error.nothing else ""
        raise UserError(f"{error}{also}") from None
    numbers |= _optional(columns)
    status = np.array(status_of(raw, names))
    finished = status == FINISHED
    usable = np.isfinite(numbers["n"]) & np.isfinite(numbers["k"]) & (np.isfinite(numbers["regret"]) | ~finished)
    if not (usable & finished).any():
        raise UserError(f"{raw.source}: no finished run has a number in each of n, k and regret")
    _check_sizes(raw, numbers, usable)
    left_out = int((~usable).sum())
    cells = {name: numbers[name] for name in ("n", "k")}
    usable, repeated = rows_to_keep(columns, cells, ("regret", numbers["regret"]), usable, per_run)
    findings = mixed_settings(columns, cells, usable, ("regret", "seed", *_OPTIONAL))
    _check_regret(raw.source, numbers["regret"][usable], names)
    kept = {name: values[usable] for name, values in numbers.items()}
    reasons = raw.columns.get("reason", [""] * len(raw))
    kept["reason"] = np.array([str(value or "no reason given") for value in reasons])[usable]
    ids = raw.columns.get("run_id", range(len(raw)))
    kept["run_id"] = np.array([str(value) for value in ids])[usable]
    kept["status"] = status[usable]
    remarks += [*columns.remarks, *repeated]
    seeded = "seed" in kept and all(abs(seed) <= LARGEST and seed % 1 == 0 for seed in kept["seed"].tolist())
    if not seeded:
        kept["seed"] = counted_seeds(kept["n"], kept["k"])
        remarks.append("no seed for every run: they are numbered in the order of the rows of each (n, k)")
    if left_out:
        remarks.append(f"rows left out, without a number in n, k or regret: {left_out}")
    return TableRuns(filled_table(kept), tuple(remarks), tuple(findings))


def _optional(columns: Columns) -> dict[str, np.ndarray]:
    """Return the columns that may be missing; one that nobody named is left out if it is not of numbers."""
    found = {}
    for name in ("seed", *_OPTIONAL):
        # Of a regret by another name it is not known what it was halfway.
        renamed = name == "regret_halfway" and "regret" in columns.names and name not in columns.names
        if not columns.has(name) or renamed:
            continue
        try:
            found[name] = columns.numbers(name)
        except NotNumbers as error:
            if name in columns.names:
                raise
            columns.remarks.append(f"{name} is not used: {error}")
    return found


def _check_sizes(table: Table, numbers: Mapping[str, np.ndarray], usable: np.ndarray) -> None:
    for name in ("n", "k"):
        sizes = np.where(usable, numbers[name], 1.0)
        wrong = np.flatnonzero((sizes < 1) | (sizes > LARGEST) | (sizes % 1 != 0))
        if len(wrong):
            row, value = wrong[0] + 1, sizes[wrong[0]]
            raise UserError(
                f"{table.source}, row {row}: {name} is {value:g}, expected a whole number ≥ 1, at most {LARGEST} "
                f"({table.places[wrong[0]]})"
            )


def _check_regret(source: str, regret: np.ndarray, names: Mapping[str, str]) -> None:
    """Refuse regrets that are no probabilities, with what to give where they may be percents."""
    regret = regret[np.isfinite(regret)]
    if len(regret) and regret.min() >= 0 and 1 < regret.max() <= 100:
        percents = f"if these are percents, give --columns 'regret=0.01*{names.get('regret', 'regret')}'"
        raise UserError(
            f"{source}: a regret is a lost probability, expected values in [0, 1], got {regret.min():g} to "
            f"{regret.max():g}: {percents if regret.max() > 5 else 'correct them, or name another column'}"
        )


def check_next(spec: StudySpec, path: Path) -> None:
    """Refuse a place for the study file of the next runs that holds something else.

    Raises
    ------
    UserError
        If ``path`` exists and is not a file of this study.
    """
    if path.exists() and read_spec(path).name != spec.name:
        raise UserError(f"{path} holds another study: give another --next")


def write_next(spec: StudySpec, advice: Advice, path: Path) -> None:
    """Write the study file with the next runs added; running it in the same folder does only those.

    A cell that was already run gets its next seed, a new cell the first seed.

    Raises
    ------
    UserError
        If ``path`` exists and is not such a study file.
    """
    import yaml

    check_next(spec, path)
    content = {**spec.to_dict(), "extra": advice.extra(spec.to_dict())}
    header = "".join(f"# {line}\n" for line in _why(advice))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _why(advice: Advice) -> list[str]:
    ask = advice.ask
    lines = [f"The next runs for the regret at n = {ask.n}, k = {ask.k}, each given those before:"]
    for run in advice.next_runs:
        hours = "" if run.hours is None else f", about {run.hours:.3g} h"
        narrower = "" if run.shrinkage is None else f"interval at {run.shrinkage:.0%} of now "
        lines.append(f"n = {run.n}, k = {run.k}{hours}: {narrower}({run.why})")
    return lines

"""Advice from a study folder or any table of runs, and the study file of the recommended next runs."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jepa_scale.laws.advice import advise, score
from jepa_scale.records import Advice, Ask, RunRecord, RunTable, Verdict
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write
from jepa_scale.runs.instantiate import build_forecaster
from jepa_scale.study.external import LARGEST, column, counted_seeds, filled_table, read_columns
from jepa_scale.study.holdings import read_records
from jepa_scale.study.manifest import read_plan
from jepa_scale.study.specification.spec import StudySpec, read_spec, spec_of
from jepa_scale.study.table import run_table

FORECASTER = "stack"
"""Leaf of conf/forecaster that advice is read from unless another is asked for."""


def _study(study: Path) -> tuple[StudySpec, RunTable, Mapping[str, RunRecord]]:
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
    table = run_table(list(records.values()), points)
    return spec, table.at(spec.reference), {record.run_id: record for record in records.values()}


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

    def digest(self) -> str:
        """Return the SHA-256 of the rows (n, k, seed, status, regret), in order."""
        columns = [self.table[name].tolist() for name in ("n", "k", "seed", "status", "regret")]
        rows = sorted(repr(row) for row in zip(*columns, strict=True))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def judged(self, forecaster: str = FORECASTER) -> tuple[tuple[Verdict, float], ...]:
        """Return advice from the smaller half of the sizes with what came; nothing for fewer than four sizes."""
        try:
            asked = build_forecaster(forecaster).forgetting(self.spec.name if self.spec else "")
            return score(asked, self.table, self.advice.ask.target_regret)
        except ValueError:
            return ()


def advise_study(study: Path, ask: Ask, forecaster: str = FORECASTER) -> Answer:
    """Answer a question from the runs of a study.

    Raises
    ------
    UserError
        If no answer is possible; the message says what to run.
    """
    spec, table, records = _study(study)
    try:
        advice = advise(build_forecaster(forecaster).forgetting(spec.name), table, ask)
    except ValueError as error:
        raise UserError(f"{study}: {error}") from None
    return Answer(advice, table, (), spec, _bounds(table, records))


def advise_table(path: Path, ask: Ask, forecaster: str = FORECASTER, names: Mapping[str, str] | None = None) -> Answer:
    """Answer a question from a table of runs.

    Raises
    ------
    UserError
        If the table does not hold runs by n and k, or no answer is possible.
    """
    table, remarks = table_of(path, names or {})
    try:
        return Answer(advise(build_forecaster(forecaster), table, ask), table, remarks, None)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


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


_OPTIONAL = ("tail", "regret_random", "wall_seconds")
"""Columns that laws, saturation and costs read, where a table has them."""


def table_of(path: Path, names: Mapping[str, str]) -> tuple[RunTable, tuple[str, ...]]:
    """Return the runs of a table on disk, and remarks on it; ``names`` maps n, k, … to its columns.

    Raises
    ------
    UserError
        If the table lacks n, k or regret, mixes the arms of a study, or has a size that is not a whole number above 0.
    """
    columns = read_columns(path)
    unknown = sorted(set(names) - {"n", "k", "regret", "seed", *_OPTIONAL})
    if unknown:
        raise UserError(f"--columns: expected names among n, k, regret, seed, {', '.join(_OPTIONAL)}, got {unknown[0]}")
    arms = sorted({str(value) for value in columns.get("arm", []) if value})
    if len(arms) > 1:
        raise UserError(
            f"{path} compares settings ({arms[0]} …), and advice is on one of them: keep the rows of one arm"
        )
    numbers = {name: column(path, columns, names.get(name, name), name) for name in ("n", "k", "regret")}
    numbers |= {
        name: column(path, columns, names.get(name, name), name)
        for name in ("seed", *_OPTIONAL)
        if name in names or name in columns
    }
    status = np.array([str(value) for value in columns.get("status", ["finished"] * len(numbers["n"]))])
    finished = status == "finished"
    kept_rows, remarks = _one_row_a_run(path, columns, numbers)
    finished &= kept_rows
    usable = np.isfinite(numbers["n"]) & np.isfinite(numbers["k"]) & (np.isfinite(numbers["regret"]) | ~finished)
    if not (usable & finished).any():
        raise UserError(f"{path}: no finished run has a number in each of n, k and regret")
    for name in ("n", "k"):
        sizes = np.where(usable, numbers[name], 1.0)
        wrong = np.flatnonzero((sizes < 1) | (sizes > LARGEST) | (sizes % 1 != 0))
        if len(wrong):
            row, value = wrong[0] + 1, sizes[wrong[0]]
            raise UserError(f"{path}, row {row}: {name} is {value:g}, expected a whole number ≥ 1, at most {LARGEST}")
    texts = {"reason": [str(value or "no reason given") for value in columns.get("reason", [""] * len(status))]}
    if "run_id" in columns:
        texts["run_id"] = [str(value) for value in columns["run_id"]]
    left_out = int((~usable & kept_rows).sum())
    usable &= kept_rows
    kept = {name: values[usable] for name, values in numbers.items()}
    kept |= {name: np.array(values)[usable] for name, values in texts.items()}
    kept["status"] = status[usable]
    kept["run_id"] = kept.get("run_id", np.flatnonzero(usable).astype(str))
    seeded = "seed" in kept and all(abs(seed) <= LARGEST and seed % 1 == 0 for seed in kept["seed"].tolist())
    if not seeded:
        kept["seed"] = counted_seeds(kept["n"], kept["k"])
    if not seeded:
        remarks.append("no seed for every run: they are numbered in the order of the rows of each (n, k)")
    if left_out:
        remarks.append(f"rows left out, without a number in n, k or regret: {left_out}")
    return filled_table(kept), tuple(remarks)


_RUNS, _STEPS = ("run_id", "run", "run_name", "id", "name"), ("_step", "step", "steps", "global_step", "epoch")
"""Names of columns that tell runs and their moments apart, in lower case."""


def _one_row_a_run(
    path: Path, columns: Mapping[str, Sequence[object]], numbers: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, list[str]]:
    """Return which rows to keep, the last of each run, and remarks on copies and earlier rows that were left out.

    Raises
    ------
    UserError
        If runs have several rows and nothing says which is the last.
    """
    keep, remarks = np.ones(len(numbers["n"]), dtype=bool), list[str]()
    names = {name.strip().lower(): name for name in columns}
    cells = list(zip(numbers["n"].tolist(), numbers["k"].tolist(), strict=True))
    runs = next((list(map(str, columns[names[name]])) for name in _RUNS if name in names), [])
    if len({*zip(runs, cells, strict=False)}) != len({*runs}):
        runs = []  # a name that several cells share is none of a run
    if "seed" not in numbers and not runs:
        return keep, remarks  # rows alike may be runs of other seeds
    seeds = numbers["seed"].tolist() if "seed" in numbers else [0.0] * len(cells)
    key = list(zip(cells, seeds, runs or [""] * len(cells), strict=True))
    last = {
        (run, repr(value)): place
        for place, (run, value) in enumerate(zip(key, numbers["regret"].tolist(), strict=True))
    }
    if runs and len({*key}) < len(last):
        step = next((columns[names[name]] for name in _STEPS if name in names), None)
        if step is None:
            raise UserError(
                f"{path}: expected one row for each run, got runs with several rows and different regrets: keep the "
                "last row of each, or add a column step that says which it is"
            )
        order = np.argsort(_numbers_of(path, step), kind="stable")
        keep = np.isin(np.arange(len(key)), [*{key[place]: place for place in order.tolist()}.values()])
        remarks.append(f"rows left out, of a run that has a later one: {int((~keep).sum())}")
    elif len(last) < len(key):
        keep = np.isin(np.arange(len(key)), [*last.values()])
        remarks.append(f"rows left out, copies of another row (n, k, seed and regret alike): {int((~keep).sum())}")
    return keep, remarks


def _numbers_of(path: Path, values: Sequence[object]) -> np.ndarray:
    try:
        return np.array([float(str(value)) for value in values])
    except ValueError as error:
        raise UserError(f"{path}: expected numbers in the column of steps: {error}") from None


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

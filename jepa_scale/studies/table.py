"""The table of a study: one row for each record."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.files import write_whole
from jepa_scale.records import RunRecord, RunTable
from jepa_scale.records.quantities import MEASURED, Target, column_name
from jepa_scale.studies.design import DesignPoint
from jepa_scale.studies.specification.laws import columns_read, families_of
from jepa_scale.studies.specification.spec import StudySpec

_TEXT = ("run_id", "arm", "status", "reason")
_WHOLE = ("n", "k", "seed", "parameters", "flops_per_step")


def run_table(
    records: Sequence[RunRecord], points: Sequence[DesignPoint] = (), estimates: Iterable[str] = ()
) -> RunTable:
    """Table with a row for each record; ``points`` give arm and dials, ``estimates`` further columns (``named``)."""
    known = {point.run_id: point for point in points}
    dials = list(dict.fromkeys(name for point in points for name in point.dials))
    columns = list(dict.fromkeys(estimates))
    rows = []
    for record in records:
        point = known.get(record.run_id)
        row = row_of(record) | {"arm": "" if point is None else point.arm}
        row |= {} if point is None else dict(point.dials)
        rows.append(row | {name: _number(named(record, name)) for name in columns})
    return table_of(rows, dials, columns)


def targets_of(spec: StudySpec) -> list[str]:
    """Columns that the laws of a study describe: the risk, and its target."""
    return list(dict.fromkeys(["risk", spec.target.column]))


def table_for(spec: StudySpec, records: Sequence[RunRecord], points: Sequence[DesignPoint]) -> RunTable:
    """Return the table of a study, with the columns that its target and its laws need."""
    own = [dial.name for dial in spec.others]
    needed = columns_read(families_of(spec), targets_of(spec))
    columns = [name for name in [*needed, spec.target.name] if name not in (*RunTable.COLUMNS, *own, "n", "k")]
    table = run_table(records, points, columns)
    target = spec.target
    if target.column in table.columns:
        return table
    return RunTable({**table.columns, target.column: target.of(table[target.name])}, table.dials)


def about_target(table: RunTable, target: Target) -> RunTable:
    """Return the table with the target in the place of the regret, where advice can be given on another quantity.

    What is worse than knowing nothing counts as that: advice is on a scale that ends there.
    """
    if target.column == "regret" or not target.advised:
        return table
    values = np.minimum(table[target.column].astype(float), target.ceiling)
    ceiling = np.full(len(table), target.ceiling)
    # What the regret was halfway through training is nothing of another quantity.
    kept = {name: column for name, column in table.columns.items() if name != "regret_halfway"}
    return RunTable({**kept, "regret": values, "regret_random": ceiling}, table.dials)


def table_of(rows: Sequence[Mapping[str, Any]], dials: Sequence[str] = (), more: Sequence[str] = ()) -> RunTable:
    """Turn rows into a table; a row is a ``row_of`` a record plus its arm, dials and further columns."""
    columns = {}
    for name in RunTable.COLUMNS:
        kind = np.int64 if name in _WHOLE else np.str_ if name in _TEXT else np.float64
        columns[name] = np.array([row[name] for row in rows], dtype=kind)
    columns |= {name: np.array([row[name] for row in rows]) for name in dials}
    columns |= {name: np.array([row[name] for row in rows], dtype=np.float64) for name in more}
    return RunTable(columns, tuple(dials))


def row_of(record: RunRecord) -> dict[str, Any]:
    """Values of a run in the table, except its arm and dials."""
    dials, trainer = record.dials, record.config.get("trainer")
    # Of a run that was imported the configuration may be unknown.
    trainer = trainer if isinstance(trainer, Mapping) else {}
    steps = _number(trainer.get("epochs")) * _number(trainer.get("steps_per_epoch"))
    return {
        "run_id": record.run_id,
        "status": record.status,
        "reason": record.reason,
        **{name: dials[name] for name in _WHOLE},
        "steps": steps,
        "compute": dials["flops_per_step"] * steps,
        "episodes": _number(dials.get("episodes")),
        **{quantity.name: quantity.of(record) for quantity in MEASURED},
        "wall_seconds": _number(record.times.get("wall_seconds")),
    }


def named(record: RunRecord, column: str) -> Any:
    """Return a run's last estimate by column name, in which / and other signs become _; None if there is none."""
    return next((value for name, value in record.final.items() if column_name(name) == column), None)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def write_table(table: RunTable, path: Path, study: str = "") -> None:
    """Write the table as parquet, atomically; ``study`` is the id of its study."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(column.tolist(), from_pandas=True) for name, column in table.columns.items()}
    metadata = ({"study": study} if study else {}) | ({"dials": json.dumps(table.dials)} if table.dials else {})
    content = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, metadata=metadata or None), content)
    write_whole(path, content.getvalue().to_pybytes())

"""Which rows are of runs that finished, and exports of W&B that hold no table of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from jepa_scale.foreign import short
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.columns import Columns
from jepa_scale.studies.tables.names import candidates
from jepa_scale.studies.tables.table import Table

FINISHED = "finished"
_ENDED = {"finished", "complete", "completed", "done", "success", "succeeded", "ok"}
_UNFINISHED = {
    "crashed", "failed", "fail", "killed", "running", "preempted", "preempting", "pending", "queued", "waiting",
    "scheduled", "pruned", "cancelled", "canceled", "timeout", "error", "aborted",
}  # fmt: skip
_EXTREMES = ("__MIN", "__MAX")
_STEPS = {"step", "relative time (wall)", "relative time (process)", "wall time", "_step", "_runtime", "_timestamp"}


def refuse_panel(table: Table) -> None:
    """Refuse the curves of a W&B panel, which lack the configuration of the runs.

    Raises
    ------
    UserError
        If the columns are those of such an export.
    """
    names = list(table.columns)
    extremes = [name for name in names if name.endswith(_EXTREMES) and " - " in name]
    others = [name for name in names[1:] if not name.endswith(_EXTREMES)]
    known = bool(others) and (len(others) > 1 or names[0].lower() in _STEPS)
    curves = known and all(" - " in name for name in others)
    if extremes or curves:
        raise UserError(
            f"{table.source}: expected one row for each run, got the export of a W&B panel (column "
            f"{short((extremes or others)[0], 80)!r}): in W&B open the table of runs, show the columns of the "
            "configuration, and choose Export CSV there"
        )


def of_finished(table: Table, names: Mapping[str, str], keep: frozenset[str] = frozenset()) -> tuple[Table, list[str]]:
    """Return the rows of finished runs with their status, and a remark on the others; ``keep``: other states to keep.

    The status is the column ``status``, or ``state`` if its texts are states of runs.
    """
    column = _column(table, names)
    if column is None:
        return table, []
    states = ["" if cell is None else str(cell).strip() for cell in table.columns[column]]
    plain = [FINISHED if state.lower() in _ENDED else state.lower() for state in states]
    kept = [state == FINISHED or state in keep for state in plain]
    table = replace(table, columns={**table.columns, column: plain}).kept(kept)
    left = Counter(
        state or "no state" for state, plain_state, stays in zip(states, plain, kept, strict=True) if not stays
    )
    if not left:
        return table, []
    shown = ", ".join(f"{count} {short(state, 40)}" for state, count in left.most_common(10))
    if not len(table):
        raise UserError(f"{table.source}: expected finished runs, got none ({shown} by column {column})")
    return table, [f"rows left out, of runs that did not finish: {sum(left.values())} ({shown})"]


def status_of(table: Table, names: Mapping[str, str]) -> list[str]:
    """Return the status of every row, finished if the table has none."""
    column = _column(table, names)
    return [FINISHED] * len(table) if column is None else [str(cell) for cell in table.columns[column]]


def _column(table: Table, names: Mapping[str, str]) -> str | None:
    if "status" in names:
        return Columns(table, names).source("status")
    status = candidates("status", table.columns)
    if len(status) == 1:
        return status[0]
    state = candidates("state", table.columns)
    if len(state) != 1:
        return None
    words = {str(cell).strip().lower() for cell in table.columns[state[0]]}
    return state[0] if words & (_ENDED | _UNFINISHED) else None

"""Reader of tables with a row for each step: CSV, Parquet, Arrow of Hugging Face's datasets, Lance."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.arrow import as_rows, is_picture
from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.formats import Format, visible
from jepa_scale.data.external.lance_table import Table, is_lance, read_lance
from jepa_scale.data.external.pieces import run_lengths, unbroken
from jepa_scale.data.external.select import (
    ACTIONS,
    EPISODES,
    OBSERVATIONS,
    STEPS,
    TIMES,
    Names,
    chosen,
    joined,
)  # fmt: skip
from jepa_scale.foreign import Refused, inside, listed, reading
from jepa_scale.records import Episodes

_PICTURES = ("pixels", "image", "observation.image", "observation.images", "rgb")
_SEEN = re.compile(r"(x|s|o|q|obs|state|observation|qpos|qvel)[._]?\[?\d+\]?$", re.IGNORECASE)
_DONE = re.compile(r"(a|u|act|action|actions|ctrl)[._]?\[?\d+\]?$", re.IGNORECASE)


def read(path: Path, *, observation: Names = None, action: Names = None, load_bytes: int = LOAD_BYTES) -> Episodes:
    """Read a table with a row for each step, the number of its episode, and columns of observation and action.

    Rows are put in order by episode and, where there is a column of steps or time stamps, by that; a step left out or a
    gap between time stamps ends a piece. Columns of single numbers are joined: ``x0, x1, …`` and ``a0, a1, …`` unless
    others are named, by name or pattern. Pictures are decoded.

    Parameters
    ----------
    path
        A .csv, .parquet or .arrow file, a folder of these or of Lance.
    observation, action
        Names or patterns of columns, several as "a,b".
    load_bytes
        Frames up to this size are loaded.

    Raises
    ------
    Refused
        If columns are missing, or their rows do not fit each other.
    """
    table = _table(path)
    label = f"{table.kind}, {path}"
    episode, step, time = (
        next((name for name in names if name in table.names), None) for names in (EPISODES, STEPS, TIMES)
    )
    if episode is None:
        raise Refused(
            f"{label}: expected a column with the episode of each row, such as {EPISODES[0]} or {EPISODES[2]}, got "
            f"{listed(table.names)}: add it"
        )
    free = [name for name in table.names if name not in (episode, step, time)]
    seen = _columns(observation, free, (*_PICTURES, *OBSERVATIONS), _SEEN, "observation", label)
    taken = _columns(action, free, ACTIONS, _DONE, "action", label)
    ids, order = _order(table, episode, step or time, label)
    notes: list[str] = [] if order is None else ["rows put in order by episode and step"]
    lengths = run_lengths(ids, f"{label}: {episode}")
    known = unbroken(lengths, notes, steps=_of(table, step, order), times=_of(table, time, order))
    state = next((name for name in ("state", "observation.state") if name in free and [name] != seen), None)
    observations = joined(seen, table.load, label)
    pictured = any(name in table.pictures for name in seen)
    states = _of(table, state, order) if state and pictured else None
    actions = joined(taken, table.load, label)
    if order is not None:
        observations, actions = observations[order], actions[order]
    return assemble(
        observations, np.asarray(actions), lengths, source=label, states=states, known=known, notes=notes,
        load_bytes=load_bytes,
    )  # fmt: skip


def _columns(
    names: Names, free: list[str], proposed: tuple[str, ...], pattern: re.Pattern[str], what: str, label: str
) -> list[str]:
    if names is None and not set(proposed) & set(free):
        single = [name for name in free if pattern.match(name)]
        if single:
            return single
    return chosen(names, free, proposed, what, label)


def _of(table: Table, name: str | None, order: NDArray[np.int64] | None) -> NDArray[Any] | None:
    if name is None:
        return None
    values = np.asarray(table.load(name))
    return values if order is None else values[order]


def _order(table: Table, episode: str, step: str | None, label: str) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Return the episode of each row in order, and that order; None where rows are in order as they are."""
    ids = np.asarray(table.load(episode)).reshape(-1)
    if not len(ids):
        raise Refused(f"{label}: expected rows, got none")
    if step is None:
        return ids, None
    steps = np.asarray(table.load(step)).reshape(-1)
    if steps.dtype.kind not in "iuf" or len(steps) != len(ids):
        raise Refused(f"{label}: expected a number of {step} in each row, got {steps.dtype} {steps.shape}")
    _, first, place = np.unique(ids, return_index=True, return_inverse=True)
    # Episodes in the order in which they begin.
    order = np.lexsort((steps, first[place]))
    if np.array_equal(order, np.arange(len(order))):
        return ids, None
    return ids[order], order


def _table(path: Path) -> Table:
    if path.suffix == ".csv":
        return _csv(path)
    if is_lance(path):
        return read_lance(path)
    return _arrow(path)


def _csv(path: Path) -> Table:
    with reading(path, "a table of text"), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader, [])]
        rows = [row for row in reader if row]
        short = next((place for place, row in enumerate(rows) if len(row) != len(names)), None)
        if short is not None:
            raise Refused(
                f"{path}: expected {len(names)} values a line, got {len(rows[short])} in row {short + 1}: the file "
                "is cut off there, or a value holds a comma"
            )
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}

    def load(name: str) -> NDArray[Any]:
        values = columns[name]
        try:
            # Whole numbers stay whole: they may be discrete actions.
            return np.array([int(value) for value in values], dtype=np.int64)
        except ValueError:
            pass
        try:
            return np.array([float(value) if value.strip() else np.nan for value in values])
        except ValueError:
            return np.array(values)

    return Table("CSV", list(columns), load, frozenset())


def _arrow(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import ipc, parquet

    files = _files(path)
    with reading(path, "a table of Parquet or Arrow", pa.ArrowException):
        tables = []
        for file in files:
            if file.suffix == ".parquet":
                # One file each: as a data set, folders' names would become columns.
                tables.append(parquet.ParquetFile(file).read())
                continue
            with pa.memory_map(str(file)) as source:
                try:
                    tables.append(ipc.open_stream(source).read_all())
                except pa.ArrowInvalid:
                    tables.append(ipc.open_file(source).read_all())
        table = pa.concat_tables(tables, promote_options="default")
    return Table(
        "Parquet" if files[0].suffix == ".parquet" else "Arrow",
        table.column_names,
        lambda name: as_rows(table[name], f"{path}: {name}", path),
        frozenset(field.name for field in table.schema if is_picture(field.type)),
    )


def _files(path: Path) -> list[Path]:
    """Return the files of a table; those of the training split where a folder holds several splits."""
    if path.is_file():
        return [path]
    found: list[Path] = []
    for pattern in ("*.parquet", "data/*.parquet", "*/*.parquet", "*.arrow", "*/*.arrow"):
        found = visible(file for file in path.glob(pattern) if file.is_file())
        if found:
            break
    for file in found:
        inside(path, path, str(file.relative_to(path)))
    training = [file for file in found if file.name.startswith("train") or file.parent.name == "train"]
    return training or found


def _recognises(path: Path) -> bool:
    if path.is_file():
        return path.suffix in (".csv", ".parquet", ".arrow")
    return path.is_dir() and (is_lance(path) or bool(_tabular(path)))


def _tabular(path: Path) -> Iterable[Path]:
    return [] if (path / "meta").is_dir() else _files(path)


FORMATS = (
    Format(
        "table",
        "a .csv, .parquet, .arrow or Lance table with a row for each step and a column of episodes",
        _recognises,
        read,
        order=70,
    ),
)

"""Episodes of a Minari dataset that is kept in Arrow's or Parquet's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.arrow import as_rows
from jepa_scale.data.external.formats import visible
from jepa_scale.data.external.select import Names, wanted
from jepa_scale.data.rows import Joined, RowSource
from jepa_scale.foreign import Refused, inside, listed, reading


def read_arrow(folder: Path, observation: Names, action: Names) -> tuple[Any, NDArray[Any], NDArray[np.int64]]:
    """Return observations and actions of all episodes in turn, and the episodes' lengths, from ``<i>/part-<j>.arrow``.

    Rows hold T + 1 observations and T actions with a last one that is padding.

    Raises
    ------
    Refused
        If there is no episode, a part is missing, or episodes do not fit each other.
    """
    folders = [path for path in visible(folder.iterdir()) if path.is_dir() and path.name.isdecimal()]
    if not folders:
        raise Refused(f"{folder}: expected a folder 0, 1, … for each episode, got none: is the dataset complete?")
    seen: list[Any] = []
    taken: list[NDArray[Any]] = []
    lengths: list[int] = []
    for episode in folders:
        table = _table(folder, episode)
        rows, actions = (
            _values(table, kind, names, episode) for kind, names in (("observations", observation), ("actions", action))
        )
        if seen and rows.shape[1:] != seen[0].shape[1:]:
            raise Refused(
                f"{episode}: expected observations {seen[0].shape[1:]} as in {folders[0].name}, got {rows.shape[1:]}"
            )
        seen.append(rows)
        taken.append(np.asarray(actions))
        lengths.append(len(rows))
    lazy = any(isinstance(part, RowSource) for part in seen)
    return Joined(seen) if lazy else np.concatenate(seen), np.concatenate(taken), np.array(lengths)


def _table(folder: Path, episode: Path) -> Any:
    import pyarrow as pa
    from pyarrow import ipc, parquet

    files = visible([*episode.glob("*.arrow"), *episode.glob("*.parquet")])
    if not files:
        raise Refused(f"{episode}: expected part-0.arrow, got none: is the dataset complete?")
    tables = []
    for file in files:
        inside(folder, folder, str(file.relative_to(folder)))
        with reading(file, "a table of Arrow", pa.ArrowException):
            if file.suffix == ".parquet":
                tables.append(parquet.ParquetFile(file).read())
                continue
            with pa.memory_map(str(file)) as source:
                tables.append(ipc.open_file(source).read_all())
    return pa.concat_tables(tables)


def _values(table: Any, kind: str, names: Names, episode: Path) -> Any:
    if kind not in table.column_names:
        raise Refused(f"{episode}: expected a column {kind}, got {listed(table.column_names)}")
    leaves = _leaves(table[kind].combine_chunks(), "")
    if names is not None:
        leaves = {
            name: leaf
            for name, leaf in leaves.items()
            if any(name == part or name.startswith(f"{part}/") for part in wanted(names))
        }
        if not leaves:
            raise Refused(f"{episode}: expected a part {names} among the {kind}, got none of that name")
    parts = [as_rows(leaf, f"{episode}: {kind}/{name}", episode) for name, leaf in leaves.items()]
    if len(parts) == 1:
        return parts[0]
    if any(isinstance(part, RowSource) for part in parts):
        raise Refused(f"{episode}: expected vectors, or one image, got {listed(leaves)}: choose one part")
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1).astype(np.float32)


def _leaves(array: Any, prefix: str) -> dict[str, Any]:
    import pyarrow as pa

    if not pa.types.is_struct(array.type):
        return {prefix: array}
    leaves: dict[str, Any] = {}
    for name in sorted(array.type.field(place).name for place in range(array.type.num_fields)):
        leaves |= _leaves(array.field(name), f"{prefix}/{name}" if prefix else name)
    return leaves

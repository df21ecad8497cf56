"""LeRobot datasets, versions 3.0 and 2.x, without their videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.records import Episodes

_CAMERAS = ("video", "image")


def read(
    path: Path, *, observation: str | None = None, action: str = "action", load_bytes: int = LOAD_BYTES
) -> Episodes:
    """Episodes of a LeRobot dataset, from its Parquet files.

    A row holds an observation and the action taken on it, and there is no observation after the last action: the last
    transition of every episode is lost.

    Parameters
    ----------
    path
        The dataset's folder, which holds ``meta/info.json``.
    observation
        Feature to read as the observation; else ``observation.state``.
    action
        Feature of actions.
    load_bytes
        Not needed for vectors up to that size; all features but videos are loaded.

    Raises
    ------
    ValueError
        If the version is not known, the observation is a video or an image, or files and episodes do not fit.
    """
    info = _json(path / "meta" / "info.json")
    version = str(info.get("codebase_version", "none"))
    features = info.get("features", {})
    chosen = observation or "observation.state"
    for name in (chosen, action):
        _check_feature(features, name, path)
    columns = [chosen, action, "episode_index"]
    if version.startswith("v3"):
        table, lengths = _version_3(path, columns)
    elif version.startswith("v2"):
        table, lengths = _version_2(path, info, columns)
    else:
        raise ValueError(f"{path}: expected LeRobot's version v3.0 or v2.1, got {version}: convert it with LeRobot")
    ids = table["episode_index"]
    ends = np.cumsum(lengths)
    mixed = [
        e for e, (stop, count) in enumerate(zip(ends, lengths, strict=True)) if len(set(ids[stop - count : stop])) > 1
    ]
    if mixed:
        raise ValueError(f"{path}: expected the rows of one episode in each, got others among those of {mixed[0]}")
    cameras = sorted(name for name, feature in features.items() if feature.get("dtype") in _CAMERAS)
    notes = [f"the last transition of each of {len(lengths)} episodes is lost: no observation follows it"]
    if cameras:
        notes.append(f"{len(cameras)} cameras not read: {', '.join(cameras)}")
    return assemble(
        table[chosen], table[action], lengths, source=f"LeRobot {version}, {path}", notes=notes, load_bytes=load_bytes
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path}: expected LeRobot's description of the dataset, got no such file: give its folder")
    return json.loads(path.read_text(encoding="utf-8"))


def _check_feature(features: dict[str, Any], name: str, path: Path) -> None:
    usable = [other for other, feature in features.items() if feature.get("dtype") not in _CAMERAS]
    if features.get(name, {}).get("dtype") in _CAMERAS:
        raise ValueError(
            f"{path}: expected a feature of numbers, got the {features[name]['dtype']} {name}, which is not decoded: "
            f"choose one of {', '.join(usable)}, or decode the frames and write them with `write_episodes`"
        )
    if name not in features:
        raise ValueError(f"{path}: expected a feature {name}, got {', '.join(usable) or 'none'}: name one of these")


def _version_3(path: Path, columns: list[str]) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Rows of all files in the order of ``index``, cut by ``dataset_from_index``: files end anywhere."""
    from pyarrow import parquet

    files = sorted((path / "meta" / "episodes").glob("*/*.parquet"))
    data = sorted((path / "data").glob("*/*.parquet"))
    for kind, held in (("meta/episodes", files), ("data", data)):
        if not held:
            raise ValueError(f"{path}: expected {kind}/chunk-*/file-*.parquet, got none: is the dataset complete?")
    names = ["episode_index", "dataset_from_index", "dataset_to_index"]
    parts = [parquet.read_table(file, columns=names) for file in files]
    _, first, stop = (np.concatenate([part[name].to_numpy() for part in parts]) for name in names)
    order = np.argsort(first)
    first, stop = first[order], stop[order]
    table = _tables(data, [*columns, "index"], path)
    order = np.argsort(table["index"], kind="stable")
    table = {name: values[order] for name, values in table.items()}
    rows = len(order)
    if not np.array_equal(table["index"], np.arange(rows)):
        raise ValueError(
            f"{path}: expected rows with index 0 … {rows - 1}, got gaps or repeats: files are missing or double"
        )
    if first[0] != 0 or stop[-1] != rows or not np.array_equal(first[1:], stop[:-1]):
        raise ValueError(
            f"{path}: expected episodes that cover the {rows} rows one after another, got {len(first)} from {first[0]} "
            f"to {stop[-1]}: files of meta/episodes or data are missing"
        )
    return table, (stop - first).astype(np.int64)


def _version_2(
    path: Path, info: dict[str, Any], columns: list[str]
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """One file for each episode; its length must be that of ``meta/episodes.jsonl``."""
    listing = path / "meta" / "episodes.jsonl"
    if not listing.is_file():
        raise ValueError(f"{path}: expected meta/episodes.jsonl, got no such file: is the dataset complete?")
    episodes = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    template = info.get("data_path", "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet")
    size = int(info.get("chunks_size", 1000))
    files = []
    for episode in episodes:
        number = int(episode["episode_index"])
        files.append(path / template.format(episode_chunk=number // size, episode_index=number))
        if not files[-1].is_file():
            raise ValueError(
                f"{path}: expected the file {files[-1].relative_to(path)}, got none: the dataset is incomplete"
            )
    lengths = np.array([int(episode["length"]) for episode in episodes], dtype=np.int64)
    table = _tables(files, columns, path)
    counts = {
        int(number): int(count)
        for number, count in zip(*np.unique(table["episode_index"], return_counts=True), strict=True)
    }
    for episode in episodes:
        if counts.get(int(episode["episode_index"])) != int(episode["length"]):
            raise ValueError(
                f"{path}: expected {episode['length']} rows of episode {episode['episode_index']}, got "
                f"{counts.get(int(episode['episode_index']), 0)}: its file is not the one that was described"
            )
    return table, lengths


def _tables(files: list[Path], columns: list[str], path: Path) -> dict[str, NDArray[Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    found: dict[str, list[NDArray[Any]]] = {name: [] for name in columns}
    for file in files:
        try:
            table = parquet.read_table(file, columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{file}: expected a Parquet file, got {error}: copy it again") from error
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            raise ValueError(f"{file}: expected columns {', '.join(columns)}, got none called {', '.join(missing)}")
        for name in columns:
            found[name].append(_dense(table[name].combine_chunks(), f"{file}: {name}"))
    shapes = {name: {part.shape[1:] for part in parts} for name, parts in found.items()}
    for name, several in shapes.items():
        if len(several) > 1:
            raise ValueError(
                f"{path}: expected {name} of one size, got {sorted(several)}: the files do not belong together"
            )
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _dense(array: Any, label: str) -> NDArray[Any]:
    """(R,) or (R, D) of a column of numbers or of lists of one length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.null_count:
        raise ValueError(f"{label}: expected a value in every row, got {array.null_count} missing ones: drop the rows")
    if not (
        pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type)
    ):
        return array.to_numpy(zero_copy_only=False)
    sizes = np.unique(pc.list_value_length(array).to_numpy(zero_copy_only=False))
    if len(sizes) > 1:
        raise ValueError(
            f"{label}: expected lists of one length, got {sizes[0]} to {sizes[-1]} entries: pad or cut them"
        )
    flat = array.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(array), -1)

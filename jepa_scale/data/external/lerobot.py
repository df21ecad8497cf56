"""Reader of LeRobot datasets, versions 3.0 and 2.x."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.arrow import as_rows
from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.formats import Format, visible
from jepa_scale.data.external.lerobot_video import Places, frames_of
from jepa_scale.data.external.pieces import unbroken
from jepa_scale.data.external.select import ACTIONS, OBSERVATIONS, Names, chosen, joined
from jepa_scale.data.rows import Joined, RowSource, Selected
from jepa_scale.foreign import Refused, inside, json_object, listed, reading, short
from jepa_scale.records import Episodes

_CAMERAS = ("video", "image")
_DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_NUMBER = re.compile(r"\{episode_(?:chunk|index)(?::0?[0-9]{0,2}d)?\}")
"""Format specifications allowed in a template; others could reach into objects or ask for gigabytes of digits."""


def read(path: Path, *, observation: Names = None, action: Names = None, load_bytes: int = LOAD_BYTES) -> Episodes:
    """Read the episodes of a LeRobot dataset from its Parquet files, and frames from its videos if they are asked for.

    A row holds an observation and the action taken on it, and there is no observation after the last action: the last
    transition of every episode is lost. Where time stamps or frame numbers show that frames are missing, a piece ends.
    With a camera as the observation, ``observation.state`` becomes the state.

    Parameters
    ----------
    path
        The dataset's folder, which holds ``meta/info.json``.
    observation
        Feature to read as the observation; else ``observation.state``. Several vectors are joined. A camera's frames
        are decoded, those of a video with PyAV, when they are needed.
    action
        Feature of actions.
    load_bytes
        Frames up to this size are loaded.

    Raises
    ------
    Refused
        If the version is not known, or files and episodes do not fit.
    """
    info = _info(path / "meta" / "info.json")
    version = short(info.get("codebase_version", "none"))
    features = info["features"]
    seen = chosen(observation, features, OBSERVATIONS, "observation", str(path))
    taken = chosen(action, features, ACTIONS, "action", str(path))
    cameras = sorted(name for name, feature in features.items() if feature.get("dtype") in _CAMERAS)
    for name in (*seen, *taken):
        if name in cameras and (len(seen) > 1 or name in taken):
            raise Refused(f"{path}: expected vectors to join or actions, got the camera {name}: name it alone")
    videos = [name for name in seen if features[name].get("dtype") == "video"]
    state = next((name for name in OBSERVATIONS if name in features and name not in cameras), None)
    extra = [name for name in ("timestamp", "frame_index") if name in features]
    states = [state] if state is not None and seen[0] in cameras else []
    columns = list(dict.fromkeys([*seen, *taken, "episode_index", *extra, *states]))
    columns = [name for name in columns if name not in videos]
    if version.startswith("v3"):
        table, lengths, listing = _version_3(path, columns)
    elif version.startswith("v2"):
        table, lengths, listing = _version_2(path, info, columns)
    else:
        raise Refused(f"{path}: expected LeRobot's version v3.0 or v2.1, got {version}: convert it with LeRobot")
    ids = table["episode_index"]
    ends = np.cumsum(lengths)
    mixed = [
        e for e, (stop, count) in enumerate(zip(ends, lengths, strict=True)) if len(set(ids[stop - count : stop])) > 1
    ]
    if mixed:
        raise Refused(f"{path}: expected the rows of one episode in each, got others among those of {mixed[0]}")
    notes = [f"the last transition of each of {len(lengths)} episodes is lost: no observation follows it"]
    if unread := [name for name in cameras if name not in seen]:
        notes.append(f"{len(unread)} cameras not read: {listed(unread)}")
    known = unbroken(lengths, notes, steps=table.get("frame_index"), times=table.get("timestamp"), period=_period(info))
    return assemble(
        frames_of(path, info, videos[0], listing, lengths) if videos else joined(seen, table.__getitem__, str(path)),
        joined(taken, table.__getitem__, str(path)),
        lengths,
        source=f"LeRobot {version}, {path}",
        states=table[states[0]] if states else None,
        known=known,
        notes=notes,
        load_bytes=load_bytes,
    )


def _period(info: dict[str, Any]) -> float | None:
    rate = info.get("fps")
    return 1 / rate if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0 else None


def _info(path: Path) -> dict[str, Any]:
    """Read the dataset's description and check that its features are objects."""
    if not path.is_file():
        raise Refused(f"{path}: expected LeRobot's description of the dataset, got no such file: give its folder")
    info = json_object(path)
    features = info.get("features", {})
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise Refused(f"{path}: expected an object for each of the features, got {short(features)}: copy it again")
    return {**info, "features": features}


def _version_3(path: Path, columns: list[str]) -> tuple[dict[str, Any], NDArray[np.int64], Any]:
    """Read version 3: rows of all files in order of ``index``, cut by ``dataset_from_index``, as files end anywhere."""
    files = visible((path / "meta" / "episodes").glob("*/*.parquet"))
    data = visible((path / "data").glob("*/*.parquet"))
    for kind, tables in (("meta/episodes", files), ("data", data)):
        if not tables:
            raise Refused(f"{path}: expected {kind}/chunk-*/file-*.parquet, got none: is the dataset complete?")
    names = ["episode_index", "dataset_from_index", "dataset_to_index"]
    listing = _tables(files, names, path)
    first, stop = listing["dataset_from_index"], listing["dataset_to_index"]
    if first.dtype.kind not in "iu" or stop.dtype.kind not in "iu" or first.ndim != 1 or stop.ndim != 1:
        raise Refused(f"{path}: expected whole numbers of rows in meta/episodes, got {first.dtype} and {stop.dtype}")
    order = np.argsort(first)
    first, stop = first[order], stop[order]
    places = Places(files, order)
    table = _tables(data, [*columns, "index"], path)
    order = np.argsort(table["index"], kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        table = {
            name: Selected(values, order) if isinstance(values, RowSource) else values[order]
            for name, values in table.items()
        }
    rows = len(order)
    if not np.array_equal(table["index"], np.arange(rows)):
        raise Refused(
            f"{path}: expected rows with index 0 … {rows - 1}, got gaps or repeats: files are missing or double"
        )
    if first[0] != 0 or stop[-1] != rows or not np.array_equal(first[1:], stop[:-1]):
        raise Refused(
            f"{path}: expected episodes that cover the {rows} rows one after another, got {len(first)} from {first[0]} "
            f"to {stop[-1]}: files of meta/episodes or data are missing"
        )
    return table, (stop - first).astype(np.int64), places


def _version_2(path: Path, info: dict[str, Any], columns: list[str]) -> tuple[dict[str, Any], NDArray[np.int64], Any]:
    """Read version 2: one file for each episode, whose length must be that in ``meta/episodes.jsonl``."""
    listing = path / "meta" / "episodes.jsonl"
    if not listing.is_file():
        raise Refused(f"{path}: expected meta/episodes.jsonl, got no such file: is the dataset complete?")
    with reading(listing, "a JSON object with the number and length of an episode on each line"):
        # Not splitlines: a text of JSON may hold characters that end lines elsewhere.
        lines = listing.read_text(encoding="utf-8-sig").split("\n")
        episodes = [json.loads(line) for line in lines if line.strip()]
        numbers = [int(episode["episode_index"]) for episode in episodes]
        lengths = np.array([int(episode["length"]) for episode in episodes], dtype=np.int64)
    if not episodes:
        raise Refused(f"{listing}: expected an episode on each line, got none: is the dataset complete?")
    files = [inside(path / "meta" / "info.json", path, name) for name in _names(path, info, numbers)]
    absent = next((file for file in files if not file.is_file()), None)
    if absent is not None:
        raise Refused(
            f"{path}: expected the file {short(absent.relative_to(path))}, got none: the dataset is incomplete"
        )
    table = _tables(files, columns, path)
    counts = {
        int(number): int(count)
        for number, count in zip(*np.unique(table["episode_index"], return_counts=True), strict=True)
    }
    for number, length in zip(numbers, lengths.tolist(), strict=True):
        if counts.get(number) != length:
            raise Refused(
                f"{path}: expected {length} rows of episode {number}, got {counts.get(number, 0)}: its file is not the "
                "one that was described"
            )
    return table, lengths, numbers


def _names(path: Path, info: dict[str, Any], numbers: list[int]) -> list[str]:
    """Return the names of the files of episodes, by the template in ``info.json``."""
    label, template = path / "meta" / "info.json", info.get("data_path", _DATA_PATH)
    if not isinstance(template, str) or set(_NUMBER.sub("", template)) & set("{}"):
        raise Refused(f"{label}: expected data_path such as {_DATA_PATH}, got {short(template)}: correct it")
    with reading(label, "a whole number of episodes in each chunk as chunks_size"):
        size = int(info.get("chunks_size", 1000))
        return [template.format(episode_chunk=number // size, episode_index=number) for number in numbers]


def _tables(files: list[Path], columns: list[str], path: Path) -> dict[str, Any]:
    import pyarrow as pa
    from pyarrow import parquet

    chunks: dict[str, list[Any]] = {name: [] for name in columns}
    for file in files:
        with reading(file, "a Parquet file", pa.ArrowException):
            table = parquet.read_table(file, columns=columns)
            missing = [name for name in columns if name not in table.column_names]
            if missing:
                raise Refused(f"{file}: expected columns {', '.join(columns)}, got none called {', '.join(missing)}")
            for name in columns:
                chunks[name].append(as_rows(table[name], f"{file}: {name}", path))
    for name, parts in chunks.items():
        sizes = {part.shape[1:] for part in parts}
        if len(sizes) > 1:
            raise Refused(f"{path}: expected {name} of one size, got {sorted(sizes)}: the files do not belong together")
    return {
        name: Joined(parts) if isinstance(parts[0], RowSource) else np.concatenate(parts)
        for name, parts in chunks.items()
    }


FORMATS = (
    Format(
        "lerobot",
        "a folder with meta/info.json",
        lambda path: (path / "meta/info.json").is_file(),
        read,
        order=20,
        lacks=lambda path: (
            "meta/info.json is missing: copy the folder meta as well"
            if path.is_dir() and any((path / "data").glob("chunk-*"))
            else None
        ),
    ),
)

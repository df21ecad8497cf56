"""Reader of Minari datasets, which does not need Minari."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.formats import Format
from jepa_scale.data.external.minari_arrow import read_arrow
from jepa_scale.data.external.select import Names, wanted
from jepa_scale.data.hdf5 import hdf5_names, open_hdf5
from jepa_scale.data.rows import Hdf5Rows, Joined
from jepa_scale.foreign import Refused, json_object, listed, reading
from jepa_scale.records import ActionSpace, Episodes

_FILE = "main_data.hdf5"
_JPEG = b"\xff\xd8"


def read(path: Path, *, observation: Names = None, action: Names = None, load_bytes: int = LOAD_BYTES) -> Episodes:
    """Read a Minari dataset: T + 1 observations and T actions in each group ``episode_<i>``.

    Spaces of several parts are flattened: the parts' numbers one after another in the order of their names. Images
    kept as JPEG are decoded, all of them, into memory.

    Parameters
    ----------
    path
        The dataset's folder, its ``data`` folder, or ``main_data.hdf5``.
    observation, action
        One part of a space of several, ``a/b`` for a part within a part.
    load_bytes
        Observations up to this size are loaded; larger images are read when asked for.

    Raises
    ------
    Refused
        If there is no such file or part, or an episode's lengths do not fit.
    """
    folder = path / "data" if (path / "data").is_dir() else path
    if _metadata(folder).get("data_format") in ("arrow", "parquet"):
        return _read_arrow(path, folder, observation, action, load_bytes)
    file_path = find_file(path)
    notes: list[str] = []
    with open_hdf5(file_path) as file:
        names = sorted((name for name in file if name.startswith("episode_")), key=_number)
        if not names:
            raise Refused(f"{file_path}: expected groups episode_0, …, got {listed(file) or 'nothing'}")
        observations, actions, lengths = [], [], []
        for name in names:
            seen = _parts(file[name], "observations", observation, file_path)
            done = _parts(file[name], "actions", action, file_path)
            frames = _observations(seen, file_path, name, load_bytes // len(names))
            taken = _flat([np.asarray(part[...]) for part in done.values()])
            if len(frames) != len(taken) + 1:
                raise Refused(
                    f"{file_path}: expected one observation more than actions in {name}, got {len(frames)} and "
                    f"{len(taken)}: record the episode again, or drop it"
                )
            observations.append(frames)
            # The last row has no action: zeros stand there, which are never read.
            actions.append(np.concatenate([taken, np.zeros((1, *taken.shape[1:]), taken.dtype)]))
            lengths.append(len(frames))
        if any(_is_jpeg(part) for part in seen.values()):
            notes.append("images were kept as JPEG: their pixels are not those that were recorded")
    values = np.concatenate(actions)
    with reading(file_path.parent / "metadata.json", "Minari's action space"):
        space, start = _action_space(_metadata(file_path.parent), values)
    return assemble(
        _together(observations, names, file_path),
        values if start == 0 else values - start,
        np.array(lengths),
        source=f"Minari, {path}",
        action_space=space,
        notes=notes,
        load_bytes=load_bytes,
    )


def _read_arrow(path: Path, folder: Path, observation: Names, action: Names, load_bytes: int) -> Episodes:
    seen, taken, lengths = read_arrow(folder, observation, action)
    with reading(folder / "metadata.json", "Minari's action space"):
        space, start = _action_space(_metadata(folder), taken)
    return assemble(
        seen,
        taken if start == 0 else taken - start,
        lengths,
        source=f"Minari, {path}",
        action_space=space,
        load_bytes=load_bytes,
    )


def find_file(path: Path) -> Path:
    """Return the path of ``main_data.hdf5`` of a dataset.

    Raises
    ------
    Refused
        If it is not there.
    """
    for candidate in (path, path / _FILE, path / "data" / _FILE):
        if candidate.is_file():
            return candidate
    raise Refused(f"{path}: expected {_FILE} in this folder or in its folder data, got neither")


def _metadata(folder: Path) -> dict[str, Any]:
    file = folder / "metadata.json"
    return json_object(file) if file.is_file() else {}


def _number(name: str) -> int:
    return int(name.removeprefix("episode_")) if name.removeprefix("episode_").isdigit() else -1


def _leaves(item: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(item, Mapping):
        return {prefix: item}
    leaves: dict[str, Any] = {}
    for name in sorted(item):
        leaves |= _leaves(item[name], f"{prefix}/{name}" if prefix else name)
    return leaves


def _parts(episode: Any, kind: str, names: Names, path: Path) -> dict[str, Any]:
    """Return the datasets of the observation or action, by name; only the part that is asked for."""
    if kind not in episode:
        raise Refused(f"{path}: expected {kind} in {episode.name}, got {listed(episode)}: is this Minari's file?")
    leaves = _leaves(episode[kind])
    if names is None:
        return leaves
    chosen: dict[str, Any] = {}
    for part in wanted(names):
        # A part of several parts itself gives them all.
        found = {name: leaf for name, leaf in leaves.items() if name == part or name.startswith(f"{part}/")}
        if not found:
            parts = listed(name or "one array without parts" for name in leaves)
            raise Refused(f"{path}: expected a part {part} among the {kind}, got {parts}: name one of these or none")
        chosen |= found
    return chosen


def _observations(parts: dict[str, Any], path: Path, name: str, load_bytes: int) -> Any:
    images = [part for part, values in parts.items() if _is_jpeg(values) or len(values.shape) > 2]
    if images and len(parts) > 1:
        raise Refused(
            f"{path}: expected vectors, or one image, got {listed(parts)} in {name}, of which {listed(images)} "
            "hold images: choose one part as the observation"
        )
    if not images:
        return _flat([np.asarray(values[...]) for values in parts.values()])
    (values,) = parts.values()
    if _is_jpeg(values):
        return _decoded(values, f"{path}: {name}")
    if values.size * values.dtype.itemsize <= load_bytes:
        return np.asarray(values[...])
    return Hdf5Rows(str(path), values.name, values.shape, values.dtype)


def _flat(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Return one array unchanged, several as (T, sum of sizes) float32."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1).astype(np.float32)


def _is_jpeg(values: Any) -> bool:
    """Whether rows are JPEG images: bytes, in rows of one or several lengths."""
    if not len(values.shape) or not len(values) or (values.dtype != np.uint8 and not values.dtype.hasobject):
        return False
    first = values[0]
    return getattr(first, "dtype", None) == np.uint8 and first.ndim == 1 and bytes(first[:2]) == _JPEG


def _decoded(values: Any, label: str) -> NDArray[np.uint8]:
    from PIL import Image

    with reading(label, "images in JPEG of one size", Image.DecompressionBombError):
        # No other format is tried, whatever the bytes say.
        return np.stack([np.asarray(Image.open(io.BytesIO(bytes(image)), formats=["JPEG"])) for image in values[...]])


def _together(observations: list[Any], names: list[str], path: Path) -> Any:
    for name, part in zip(names, observations, strict=True):
        if part.shape[1:] != observations[0].shape[1:]:
            raise Refused(
                f"{path}: expected observations of one shape, got {part.shape[1:]} in {name} after "
                f"{observations[0].shape[1:]} in {names[0]}: read datasets of different shapes apart"
            )
    lazy = any(isinstance(part, Hdf5Rows) for part in observations)
    return Joined(observations) if lazy else np.concatenate(observations)


def _action_space(metadata: dict[str, Any], values: NDArray[Any]) -> tuple[ActionSpace | None, int]:
    """Return the discrete action space of the metadata and its first number; limits are taken from the data."""
    space = metadata.get("action_space")
    space = json.loads(space) if isinstance(space, str) else space or {}
    if space.get("type") != "Discrete" or values.dtype.kind not in "iu":
        return None, 0
    return ActionSpace(count=int(space["n"])), int(space.get("start", 0))


def _is_minari(path: Path) -> bool:
    if path.is_dir():
        folder = path / "data" if (path / "data").is_dir() else path
        metadata = folder / "metadata.json"
        named = metadata.is_file() and "minari" in metadata.read_text(encoding="utf-8", errors="replace")
        return named or (folder / "main_data.hdf5").is_file()
    return any(name.startswith("episode_") and name[8:].isdigit() for name in hdf5_names(path))


FORMATS = (Format("minari", "a folder with data/main_data.hdf5, or that file", _is_minari, read, order=20),)

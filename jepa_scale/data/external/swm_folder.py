"""Reader of stable-worldmodel's folders: columns in .npz, frames in pictures or one video for each episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external import npz
from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.formats import Format, visible
from jepa_scale.data.external.pieces import unbroken
from jepa_scale.data.external.select import ACTIONS, OBSERVATIONS, Names, chosen, joined
from jepa_scale.data.external.video import VideoRows, listed_pictures
from jepa_scale.data.rows import Joined
from jepa_scale.foreign import Refused
from jepa_scale.records import Episodes

_PICTURES = (".jpeg", ".jpg", ".png", ".webp")


def read(path: Path, *, observation: Names = None, action: Names = None, load_bytes: int = LOAD_BYTES) -> Episodes:
    """Read a folder with ``ep_len.npz``, ``ep_offset.npz``, an .npz for each column, and a folder for each camera.

    A camera's folder holds ``ep_<e>_step_<t>.jpeg``, or ``ep_<e>.mp4``. ``pixels`` is the observation where there are
    any and none is named, and ``state`` the state.

    Raises
    ------
    Refused
        If columns or frames are missing, or do not fit each other.
    """
    lengths, offsets = (_column(path, name) for name in ("ep_len", "ep_offset"))
    cameras = [folder.name for folder in visible(path.iterdir()) if folder.is_dir()]
    columns = [file.stem for file in visible(path.glob("*.npz")) if file.stem not in ("ep_len", "ep_offset")]
    seen = chosen(observation, [*cameras, *columns], ("pixels", *OBSERVATIONS), "observation", str(path))
    taken = chosen(action, columns, ACTIONS, "action", str(path))
    if lengths.dtype.kind not in "iu" or lengths.shape != offsets.shape or lengths.ndim != 1 or (lengths < 1).any():
        raise Refused(f"{path}: expected whole numbers ep_len and ep_offset, got {lengths.dtype} and {offsets.dtype}")
    lengths = lengths.astype(np.int64)
    rows = np.concatenate([np.arange(o, o + n) for o, n in zip(offsets, lengths, strict=True)]).astype(np.int64)
    notes: list[str] = []

    def load(name: str) -> Any:
        if name in cameras:
            return _frames(path / name, lengths)
        values = _column(path, name)
        if len(values) <= rows.max() or rows.min() < 0:
            raise Refused(f"{path}: expected {int(rows.max()) + 1} rows in {name}, got {len(values)}: copy it again")
        return values[rows]

    known = unbroken(lengths, notes, times=load("timestamp") if "timestamp" in columns else None)
    return assemble(
        joined(seen, load, str(path)),
        joined(taken, load, str(path)),
        lengths,
        source=f"stable-worldmodel folder, {path}",
        states=load("state") if "state" in columns and seen != ["state"] else None,
        known=known,
        notes=notes,
        load_bytes=load_bytes,
    )


def _column(path: Path, name: str) -> NDArray[Any]:
    file = path / f"{name}.npz"
    arrays = npz.opened(file)
    names = sorted(arrays)
    if not names:
        raise Refused(f"{file}: expected one array, got none")
    return npz.array(arrays, name if name in names else names[0], file)


def _frames(folder: Path, lengths: NDArray[np.int64]) -> Any:
    videos = visible(folder.glob("ep_*.mp4"))
    if videos:
        parts = []
        for episode, length in enumerate(lengths):
            file = next((folder / f"ep_{text}.mp4" for text in (f"{episode}", f"{episode:06d}")
                         if (folder / f"ep_{text}.mp4").is_file()), None)  # fmt: skip
            if file is None:
                raise Refused(f"{folder}: expected the video ep_{episode}.mp4, got none: the folder is incomplete")
            parts.append(VideoRows(file, 0, int(length)))
        return Joined(parts)
    suffix = next((kind for kind in _PICTURES if (folder / f"ep_0_step_0{kind}").is_file()), None)
    first = 0
    if suffix is None:
        # Some versions leave the first frame out.
        first = 1
        suffix = next((kind for kind in _PICTURES if (folder / f"ep_0_step_1{kind}").is_file()), None)
    if suffix is None:
        raise Refused(f"{folder}: expected pictures ep_0_step_0.jpeg, … or videos ep_0.mp4, …, got none of these")
    names = [
        folder / f"ep_{episode}_step_{step}{suffix}"
        for episode, length in enumerate(lengths)
        for step in range(first, first + int(length))
    ]
    absent = next((name for name in names if not name.is_file()), None)
    if absent is not None:
        raise Refused(f"{folder}: expected the picture {absent.name}, got none: the folder is incomplete")
    return listed_pictures(names, str(folder))


def _lacks(path: Path) -> str | None:
    if not path.is_dir():
        return None
    present = [(path / f"{name}.npz").is_file() for name in ("ep_len", "ep_offset")]
    if any(present) and not all(present):
        return f"{'ep_offset' if present[0] else 'ep_len'}.npz is missing"
    return None


FORMATS = (
    Format(
        "swm-folder",
        "a folder with ep_len.npz and ep_offset.npz: stable-worldmodel's folder and video",
        lambda path: (path / "ep_len.npz").is_file() and (path / "ep_offset.npz").is_file(),
        read,
        order=20,
        lacks=_lacks,
    ),
)

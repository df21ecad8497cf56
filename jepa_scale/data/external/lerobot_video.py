"""Frames of LeRobot's videos: which file holds those of an episode, and from which time on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.video import VideoRows
from jepa_scale.data.rows import Joined
from jepa_scale.foreign import Refused, inside, reading, short

_PATHS = {
    2: "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    3: "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}
_FIELD = re.compile(r"\{(?:episode_chunk|episode_index|chunk_index|file_index)(?::0?[0-9]{0,2}d)?\}|\{video_key\}")
"""Format specifications allowed in a template; others could reach into objects or ask for gigabytes of digits."""


@dataclass(frozen=True)
class Places:
    """Files of version 3 that say where each episode's frames are."""

    files: list[Path]
    order: NDArray[np.int64]
    """(E,) row of each episode in them."""

    def columns(self, names: list[str], path: Path) -> dict[str, NDArray[Any]]:
        """Return columns, a number for each episode."""
        import pyarrow as pa
        from pyarrow import parquet

        with reading(path, f"the columns {', '.join(names)} in meta/episodes", pa.ArrowException):
            tables = [parquet.read_table(file, columns=names) for file in self.files]
            return {name: np.concatenate([table[name].to_numpy() for table in tables])[self.order] for name in names}


def frames_of(path: Path, info: dict[str, Any], camera: str, listing: Any, lengths: NDArray[np.int64]) -> Joined:
    """Return the frames of all episodes in turn, decoded when asked for.

    Parameters
    ----------
    path
        The dataset's folder.
    info
        Its description.
    camera
        Name of the camera.
    listing
        ``Places`` of version 3, numbers of episodes of version 2.
    lengths
        (E,) frames of each episode.

    Raises
    ------
    Refused
        If a video is missing, cut off, or named outside the folder.
    """
    label = path / "meta" / "info.json"
    rate = info.get("fps")
    if not isinstance(rate, int | float) or not rate > 0:
        raise Refused(f"{label}: expected a number of frames each second as fps, got {short(rate)}")
    template = info.get("video_path") or _PATHS[3 if isinstance(listing, Places) else 2]
    if not isinstance(template, str) or set(_FIELD.sub("", template)) & set("{}"):
        raise Refused(f"{label}: expected video_path such as {_PATHS[3]}, got {short(template)}: correct it")
    if isinstance(listing, Places):
        prefix = f"videos/{camera}"
        columns = [f"{prefix}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        places = listing.columns(columns, path)
        chunk, file, begin = (places[name] for name in columns)
        fields = [{"chunk_index": int(c), "file_index": int(f)} for c, f in zip(chunk, file, strict=True)]
        firsts = [round(float(time) * rate) for time in begin]
    else:
        with reading(label, "a whole number of episodes in each chunk as chunks_size"):
            size = int(info.get("chunks_size", 1000))
            fields = [{"episode_chunk": number // size, "episode_index": number} for number in listing]
        firsts = [0] * len(fields)
    parts = []
    for field, first, count in zip(fields, firsts, lengths, strict=True):
        with reading(label, "a template of video files"):
            name = template.format(video_key=camera, **field)
        file_path = inside(label, path, name)
        if not file_path.is_file():
            raise Refused(f"{path}: expected the video {short(name)}, got no such file: download videos as well")
        parts.append(VideoRows(file_path, first, int(count)))
    return Joined(parts)

"""Frames of videos and encoded images as bytes, decoded when they are asked for."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.rows import RowSource
from jepa_scale.foreign import Refused, reading

_KINDS = ["JPEG", "PNG", "WEBP"]
"""Formats of pictures that are decoded, whatever the bytes say."""


class VideoRows(RowSource):
    """Frames of one video file by number.

    Frames are counted as they are decoded, from the first one on; ``fetch`` decodes from the last frame on that can be
    decoded by itself before the first one that is wanted.
    """

    def __init__(self, path: Path, first: int, count: int) -> None:
        self.path, self.first = path, first
        frame = _span(path, first, first + 1)
        if not len(frame):
            raise Refused(f"{path}: expected {count} frames from number {first} on, got none: the video is cut off")
        self.shape, self.dtype = (count, *frame.shape[1:]), np.dtype(np.uint8)

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Decode frames."""
        if not len(rows):
            return np.zeros((0, *self.shape[1:]), np.uint8)
        start, stop = self.first + int(rows.min()), self.first + int(rows.max()) + 1
        frames = _span(self.path, start, stop)
        if len(frames) < stop - start:
            raise Refused(
                f"{self.path}: expected frames up to number {stop - 1}, got {start + len(frames)} frames: the video is "
                "cut off"
            )
        return frames[rows + self.first - start]


def _span(path: Path, start: int, stop: int) -> NDArray[np.uint8]:
    """Decode frames start … stop − 1 (F, H, W, 3); fewer where the video ends."""
    av = av_library(path)
    with reading(path, "a video", av.FFmpegError), av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        stamped = rate is not None and stream.time_base is not None
        if stamped and start:
            # To the last key frame before; the first frame may have a stamp other than 0.
            origin = stream.start_time or 0
            container.seek(origin + int(start / rate / stream.time_base), stream=stream, backward=True)
        frames: list[NDArray[np.uint8]] = []
        for place, frame in enumerate(container.decode(stream)):
            number = place
            if stamped and frame.pts is not None:
                number = round((frame.pts - (stream.start_time or 0)) * stream.time_base * rate)
            if number >= stop:
                break
            if number >= start:
                frames.append(frame.to_ndarray(format="rgb24"))
    return np.stack(frames) if frames else np.zeros((0, 0, 0, 3), np.uint8)


def av_library(path: Any) -> Any:
    """Return PyAV.

    Raises
    ------
    Refused
        If it is not installed; names the extra.
    """
    try:
        return importlib.import_module("av")
    except ImportError:
        raise Refused(f"{path}: videos need PyAV, which is absent: pip install 'jepa-scale[video]'") from None


class PictureRows(RowSource):
    """Encoded pictures (JPEG, PNG, WebP) in memory or in files, decoded when asked for.

    Parameters
    ----------
    take
        Returns the pictures of some rows, as bytes or as the paths of files.
    count
        Number of rows.
    label
        File and column, for errors.
    """

    def __init__(self, take: Callable[[NDArray[np.int64]], Sequence[bytes | Path]], count: int, label: str) -> None:
        self.take, self.label = take, label
        (first,) = take(np.zeros(1, np.int64)) if count else (b"",)
        self.shape, self.dtype = (count, *self._decoded(first, 0).shape), np.dtype(np.uint8)

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Decode pictures, which have to be of one size."""
        frames = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for place, (row, encoded) in enumerate(zip(rows, self.take(rows), strict=True)):
            picture = self._decoded(encoded, int(row))
            if picture.shape != self.shape[1:]:
                raise Refused(
                    f"{self.label}: expected pictures {self.shape[1:]} as the first, got {picture.shape} in row {row}"
                )
            frames[place] = picture
        return frames

    def _decoded(self, encoded: bytes | Path, row: int) -> NDArray[np.uint8]:
        from PIL import Image

        source = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
        with (
            reading(f"{self.label}, row {row}", "a picture in JPEG, PNG or WebP", Image.DecompressionBombError),
            Image.open(source, formats=_KINDS) as image,
        ):
            return np.asarray(image.convert("L")) if image.mode in ("1", "L") else np.asarray(image.convert("RGB"))


def listed_pictures(pictures: Sequence[bytes | Path], label: str) -> PictureRows:
    """Return pictures that are at hand, or whose files are, as rows."""
    return PictureRows(lambda rows: [pictures[row] for row in rows], len(pictures), label)

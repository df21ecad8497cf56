"""Reader of DINO-WM folders: tensors padded to the longest episode, frames in one file per episode."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.formats import Format, visible
from jepa_scale.data.external.video import VideoRows
from jepa_scale.data.rows import Joined, RowSource
from jepa_scale.foreign import Refused, reading, short
from jepa_scale.records import Episodes

_PUSHT_SCALE = 100.0
"""Factor of PushT's actions, which are stored in hundredths."""


def read(
    path: Path, *, observation: str | None = None, allow_pickle: bool = False, load_bytes: int = LOAD_BYTES
) -> Episodes:
    """Read a DINO-WM folder: ``states.pth`` (N, T, D), ``actions.pth`` or ``rel_actions.pth`` (N, T, A).

    Relative actions (PushT) are divided by 100. ``velocities.pth`` is appended to the states. Rows beyond an episode's
    length are padding and left out. Tensors are loaded without unpickling objects.

    Parameters
    ----------
    path
        The folder.
    observation
        ``states`` for the states, else the frames where there are any, in ``obses/episode_*.pth``, as videos there
        (PyAV), or in ``<episode>/obses.pth`` (deformable worlds, whose particles are then left out); else the states.
    allow_pickle
        Whether ``seq_lengths.pkl`` may be opened, which runs whatever code it holds.
    load_bytes
        Frames up to this size are loaded.

    Raises
    ------
    Refused
        If files are missing do not fit, or lengths are pickled and that is not allowed.
    """
    states = _tensor(path / "states.pth")
    relative = (path / "rel_actions.pth").is_file()
    actions = _tensor(path / ("rel_actions.pth" if relative else "actions.pth"))
    if (path / "velocities.pth").is_file():
        states = np.concatenate([states, _tensor(path / "velocities.pth")], axis=-1)
    particles = states.ndim == 4
    states = states.reshape(*states.shape[:2], -1) if particles else states
    if states.ndim != 3 or actions.ndim != 3 or states.shape[:2] != actions.shape[:2]:
        raise Refused(
            f"{path}: expected states (N, T, D) and actions (N, T, A), got {states.shape} and {actions.shape}: the "
            "files do not belong together"
        )
    lengths = _lengths(path, states.shape, allow_pickle)
    kept = np.arange(states.shape[1]) < lengths[:, None]
    notes = ["relative actions divided by 100"] if relative else []
    if padding := int((~kept).sum()):
        notes.append(f"{padding} rows of padding left out")
    if observation not in (None, "states"):
        raise Refused(f"{path}: expected observation='states', or none for frames, got {observation!r}")
    frames = None if observation else _frames(path, lengths)
    if particles and frames is not None:
        notes.append(f"{states.shape[-1]} coordinates of particles not read as the state")
    return assemble(
        states[kept] if frames is None else frames,
        actions[kept] / (_PUSHT_SCALE if relative else 1.0),
        lengths,
        source=f"DINO-WM, {path}",
        states=None if frames is None or particles else states[kept],
        notes=notes,
        load_bytes=load_bytes,
    )


class _FrameFile(RowSource):
    """Frames of one episode; only requested rows are read from the file."""

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        frames = _load(path, mapped=True)
        if frames.ndim != 4 or len(frames) < length:
            raise Refused(
                f"{path}: expected {length} frames (T, H, W, C) or (T, C, H, W), got {tuple(frames.shape)}: the file "
                "and the episode's length do not belong together"
            )
        self.shape, self.dtype = (length, *frames.shape[1:]), np.dtype(np.uint8)

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Fetch frames as bytes; floating frames must hold whole numbers 0 … 255."""
        with reading(self.path, "frames"):
            frames = _load(self.path, mapped=True)[torch.from_numpy(rows)].numpy()
        if frames.dtype == np.uint8:
            return frames
        # Frames in [0, 1] would become black without a word.
        if frames.size and (frames.min() < 0 or frames.max() > 255 or (frames != np.round(frames)).any()):
            raise Refused(
                f"{self.path}: expected frames of whole numbers 0 … 255, got {frames.dtype} from {frames.min()} to "
                f"{frames.max()}: store them as uint8"
            )
        return frames.astype(np.uint8)


def _frames(path: Path, lengths: NDArray[np.int64]) -> Joined | None:
    """Return the frames of all episodes, from tensors or videos in ``obses``, or from a folder for each episode."""
    videos = visible((path / "obses").glob("*.mp4"))
    if videos:
        patterns = ["obses/episode_{:03d}.mp4"]
    elif (path / "obses").is_dir():
        patterns = ["obses/episode_{:03d}.pth"]
    elif (path / "000000" / "obses.pth").is_file():
        # The deformable worlds'.
        patterns = ["{:06d}/obses.pth"]
    else:
        return None
    parts: list[RowSource] = []
    for number, length in enumerate(lengths):
        name = patterns[0].format(number)
        file = path / name
        if not file.is_file():
            raise Refused(f"{path}: expected the frames {name}, got no such file: the folder is incomplete")
        parts.append(VideoRows(file, 0, int(length)) if videos else _FrameFile(file, int(length)))
        if parts[-1].shape[1:] != parts[0].shape[1:]:
            raise Refused(
                f"{file}: expected frames {parts[0].shape[1:]} as in the first episode, got {parts[-1].shape[1:]}"
            )
    return Joined(parts)


def _lengths(path: Path, shape: tuple[int, ...], allow_pickle: bool) -> NDArray[np.int64]:
    """Read the episodes' lengths from a tensor, or from a pickle if allowed; T if there is no file."""
    pickled = path / "seq_lengths.pkl"
    if (path / "seq_lengths.pth").is_file():
        lengths = np.asarray(_tensor(path / "seq_lengths.pth"))
    elif not pickled.is_file():
        return np.full(shape[0], shape[1], dtype=np.int64)
    elif allow_pickle:
        lengths = _unpickled(pickled)
    else:
        raise Refused(
            f"{pickled}: expected lengths as a tensor, got a pickle, which runs code when it is opened: if you trust "
            "its source pass allow_pickle=True, else save seq_lengths.pth"
        )
    lengths = lengths.reshape(-1)
    if not lengths.size:
        raise Refused(f"{path}: expected {shape[0]} lengths from 1 to {shape[1]}, got none: is the folder complete?")
    if len(lengths) != shape[0] or lengths.dtype.kind not in "iuf" or lengths.min() < 1 or lengths.max() > shape[1]:
        raise Refused(
            f"{path}: expected {shape[0]} lengths from 1 to {shape[1]}, got {len(lengths)}, "
            f"from {lengths.min()} to {lengths.max()}: the files do not belong together"
        )
    return lengths.astype(np.int64)


def _unpickled(path: Path) -> NDArray[Any]:
    # The code that it holds may raise anything.
    with reading(path, "pickled lengths", Exception), path.open("rb") as file:
        content = pickle.load(file)
    # Lists in lists that share their parts have few bytes in a file and any number as an array.
    if isinstance(content, list | tuple) and not all(isinstance(length, int | np.integer) for length in content):
        raise Refused(f"{path}: expected one whole number for each episode, got {type(content[0]).__name__} among them")
    with reading(path, "pickled lengths"):
        return np.asarray(content)


def _tensor(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise Refused(f"{path}: expected a tensor of DINO-WM's, got no such file: is the folder complete?")
    with reading(path, "a tensor of numbers"):
        return _load(path, mapped=False).numpy()


def _load(path: Path, mapped: bool) -> torch.Tensor:
    with reading(path, "a tensor"):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except RuntimeError as error:
            # Files in torch's older format cannot be mapped.
            if mapped and "mmap" in str(error):
                return _load(path, mapped=False)
            raise
        except pickle.UnpicklingError as error:
            raise Refused(
                f"{path}: expected a tensor, got something that only unpickling opens "
                f"({short(str(error).partition(chr(10))[0])}): save the tensor alone"
            ) from error
    if not isinstance(content, torch.Tensor):
        raise Refused(f"{path}: expected a tensor, got {type(content).__name__}: save the tensor alone")
    return content


def _lacks(path: Path) -> str | None:
    for name in ("actions.pth", "rel_actions.pth", "obses"):
        if (path / name).exists():
            return f"states.pth is missing beside {name}"
    return None


FORMATS = (
    Format(
        "dino-wm",
        "a folder with states.pth",
        lambda path: (path / "states.pth").is_file(),
        read,
        order=20,
        lacks=_lacks,
    ),
)

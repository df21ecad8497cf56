"""Detection of the format of recorded episodes, and the reader of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepa_scale.data.external import dino_wm, flat_hdf5, lerobot, minari, npz, overcooked
from jepa_scale.data.hdf5 import h5py_library
from jepa_scale.foreign import Refused, reading
from jepa_scale.records import Episodes


@dataclass(frozen=True)
class Format:
    """A format of recorded episodes."""

    name: str
    looks_like: str
    """What a path of this format contains, for the error that lists the formats."""
    recognises: Callable[[Path], bool]
    """Function that tells whether a path is of this format; it reads names only."""
    read: Callable[..., Episodes]


def read_episodes(path: str | Path, format: str = "auto", **options: Any) -> Episodes:
    """Read the episodes of a file or folder in any of the ``FORMATS``.

    Parameters
    ----------
    path
        File or folder.
    format
        Name of the format; recognised by what the path holds unless given.
    **options
        The reader's own, such as ``observation``: the name of the column, part or feature to read.

    Raises
    ------
    Refused
        If there is no such path, it is of no known format, or its reader refuses it.
    """
    path = Path(path)
    chosen = recognise(path) if format == "auto" else _named(format)
    with reading(path, f"{chosen.name}, {chosen.looks_like}"):
        try:
            return chosen.read(path, **options)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            raise Refused(f"{path}: {chosen.name} has no such option ({error}): leave it out") from error


def recognise(path: Path) -> Format:
    """Return the format of a path.

    Raises
    ------
    Refused
        If there is no such path or no format fits; lists those that are known.
    """
    if not path.exists():
        raise Refused(f"{path}: expected recorded episodes, got no such file or folder")
    for candidate in FORMATS:
        with reading(path, candidate.looks_like):
            if candidate.recognises(path):
                return candidate
    known = "; ".join(f"{candidate.name} ({candidate.looks_like})" for candidate in FORMATS)
    raise Refused(f"{path}: expected one of these formats, got none of them: {known}; convert it to one of these")


def _named(format: str) -> Format:
    for candidate in FORMATS:
        if candidate.name == format:
            return candidate
    raise Refused(f"expected a format among auto, {', '.join(candidate.name for candidate in FORMATS)}, got {format!r}")


def _hdf5_names(path: Path) -> set[str]:
    """Return the names at the root of an HDF5 file; empty if it is none, by its first bytes, not its suffix."""
    if not path.is_file():
        return set()
    with path.open("rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            return set()
    # Names alone, which follow no link.
    with reading(path, "an HDF5 file"), h5py_library(path).File(path, "r") as content:
        return set(content)


def _is_minari(path: Path) -> bool:
    if path.is_dir():
        folder = path / "data" if (path / "data").is_dir() else path
        metadata = folder / "metadata.json"
        named = metadata.is_file() and "minari" in metadata.read_text(encoding="utf-8", errors="replace")
        return named or (folder / "main_data.hdf5").is_file()
    return any(name.startswith("episode_") and name[8:].isdigit() for name in _hdf5_names(path))


FORMATS = (
    Format(
        "flat-hdf5",
        "an HDF5 file with ep_len and ep_offset: a store, LeWM, stable-worldmodel",
        lambda path: {"ep_len", "ep_offset"} <= _hdf5_names(path),
        flat_hdf5.read,
    ),
    Format("minari", "a folder with data/main_data.hdf5, or that file", _is_minari, minari.read),
    Format(
        "ogbench",
        "an .npz with observations, actions and terminals",
        lambda path: {"observations", "actions", "terminals"} <= npz.names_of(path),
        npz.read_ogbench,
    ),
    Format("lerobot", "a folder with meta/info.json", lambda path: (path / "meta/info.json").is_file(), lerobot.read),
    Format("dino-wm", "a folder with states.pth", lambda path: (path / "states.pth").is_file(), dino_wm.read),
    Format(
        "npz",
        "an .npz with observations, actions and ep_len or an episode's number for each row",
        lambda path: bool(npz.names_of(path)) and path.suffix == ".npz",
        npz.read_plain,
    ),
    Format(
        "overcooked",
        "a .csv or a pickled table with state, joint_action, layout_name and cur_gameloop",
        overcooked.looks_like,
        overcooked.read,
    ),
)
"""Known formats; the first that fits wins."""

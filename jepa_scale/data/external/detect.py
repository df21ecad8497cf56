"""Detection of the format of recorded episodes, and the reader of each."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

from jepa_scale.data import external
from jepa_scale.data.external.formats import Format
from jepa_scale.foreign import Refused, reading
from jepa_scale.records import Episodes

_STARTS = {
    ".npz": (b"PK", "an archive of NumPy"),
    ".h5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    ".hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    ".parquet": (b"PAR1", "Parquet"),
}


def read_episodes(path: str | Path, format: str = "auto", **options: Any) -> Episodes:
    """Read the episodes of a file or folder in any of the ``formats``.

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


@cache
def formats() -> tuple[Format, ...]:
    """Return the known formats in the order in which they are tried: those in ``FORMATS`` of modules of this folder."""
    found: list[Format] = []
    for info in sorted(pkgutil.iter_modules(external.__path__), key=lambda module: module.name):
        found.extend(getattr(importlib.import_module(f"{external.__name__}.{info.name}"), "FORMATS", ()))
    return tuple(sorted(found, key=lambda candidate: (candidate.order, candidate.name)))


def recognise(path: Path) -> Format:
    """Return the format of a path.

    Raises
    ------
    Refused
        If there is no such path, it is cut off, or no format fits; says what is missing where one nearly does, else
        lists those that are known.
    """
    if not path.exists():
        raise Refused(f"{path}: expected recorded episodes, got no such file or folder")
    _check_start(path)
    for candidate in formats():
        with reading(path, candidate.looks_like):
            if candidate.recognises(path):
                return candidate
    for candidate in formats():
        with reading(path, candidate.looks_like):
            if missing := candidate.lacks(path):
                raise Refused(f"{path}: expected {candidate.name}, as it nearly is, but {missing}")
    known = "; ".join(f"{candidate.name} ({candidate.looks_like})" for candidate in formats())
    raise Refused(f"{path}: expected one of these formats, got none of them: {known}; convert it to one of these")


def _check_start(path: Path) -> None:
    """Refuse a file whose name promises a format that its first or last bytes do not keep."""
    start, kind = _STARTS.get(path.suffix.lower(), (b"", ""))
    if not start or not path.is_file():
        return
    with path.open("rb") as file:
        begins = file.read(len(start)) == start
        file.seek(max(0, path.stat().st_size - len(start)))
        ends = path.suffix.lower() != ".parquet" or file.read() == start
    if not begins or not ends:
        raise Refused(
            f"{path}: expected {kind}, as its name says, got a file that does not {'begin' if not begins else 'end'} "
            f"like one ({path.stat().st_size} bytes): it is empty, truncated or of another kind, copy it again"
        )


def _named(format: str) -> Format:
    for candidate in formats():
        if candidate.name == format:
            return candidate
    known = ", ".join(candidate.name for candidate in formats())
    raise Refused(f"expected a format among auto, {known}, got {format!r}")

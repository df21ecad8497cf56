"""Reading untrusted HDF5 files: all parts must lie in the file's folder, and errors say what to do."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jepa_scale.foreign import Refused, inside, reading, short


def h5py_library(path: Any) -> Any:
    """Return the h5py module, with the compression plugins loaded if they are installed.

    Raises
    ------
    Refused
        If h5py is not installed; names the extra.
    """
    try:
        library = importlib.import_module("h5py")
    except ImportError:
        raise Refused(f"{path}: HDF5 needs h5py, which is absent: pip install 'jepa-scale[hdf5]'") from None
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")
    return library


def hdf5_names(path: Path) -> set[str]:
    """Return the names at the root of an HDF5 file; empty if it is none, by its first bytes, not its suffix."""
    if not path.is_file():
        return set()
    with path.open("rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            return set()
    # Names alone, which follow no link.
    with reading(path, "an HDF5 file"), h5py_library(path).File(path, "r") as content:
        return set(content)


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading, none of whose parts may lie outside its folder.

    Raises
    ------
    Refused
        If it is none, is damaged, or has parts elsewhere.
    """
    with reading(path, "an HDF5 file"), h5py_library(path).File(path, "r") as file:
        _check_enclosed(file, path, path.parent, {path.resolve()})
        yield file


def _check_enclosed(file: Any, path: Path, folder: Path, seen: set[Path]) -> None:
    """Refuse links and virtual datasets that lead out of a folder, in this file and the files that it refers to."""
    library = h5py_library(path)
    links: list[tuple[bytes, int]] = []
    # Links are not followed here, and nothing may be raised.
    file.id.links.visit(lambda name, link: links.append((name, link.type)), info=True)
    named: list[str] = []
    for link, kind in links:
        if kind == library.h5l.TYPE_EXTERNAL:
            named.append(os.fsdecode(file.id.links.get_val(link)[0]))
        elif kind == library.h5l.TYPE_HARD and _is_elsewhere(file, link, library):
            item = file[link]
            if item.external:
                # Its bytes are in any file of any kind.
                raise Refused(
                    f"{path}: expected rows in the file itself, got {short(item.name)} with rows in another one, "
                    f"{short(item.external[0][0])}, which is not opened: write a file that holds them"
                )
            named.extend(source.file_name for source in item.virtual_sources())
    for name in dict.fromkeys(named):
        # The library looks beside the file that has the name.
        target = path if name == "." else inside(path, folder, os.path.join(os.path.relpath(path.parent, folder), name))
        if not target.is_file():
            # Rows of a virtual dataset whose file is absent are zeros without a word.
            raise Refused(f"{path}: expected the file {short(name)} that it names beside it, got none: copy it there")
        if target.resolve() not in seen:
            seen.add(target.resolve())
            with reading(target, "an HDF5 file"), library.File(target, "r") as content:
                _check_enclosed(content, target, folder, seen)


def _is_elsewhere(file: Any, name: bytes, library: Any) -> bool:
    """Whether this is a dataset whose rows may lie in another file; called for all, so it uses the low-level API."""
    if library.h5o.get_info(file.id, name).type != library.h5o.TYPE_DATASET:
        return False
    created = library.h5d.open(file.id, name).get_create_plist()
    return bool(created.get_layout() == library.h5d.VIRTUAL or created.get_external_count())


@contextlib.contextmanager
def unpacking(path: Any, name: str) -> Iterator[None]:
    """Turn errors on reading rows of a dataset into a sentence with the reason and what to do.

    Raises
    ------
    Refused
        If they could not be.
    """
    with reading(path, f"the rows of {short(name)}"):
        try:
            yield
        except OSError as error:
            # What the library calls a filter that it does not know.
            if "filter" not in str(error) and "plugin" not in str(error):
                raise
            raise Refused(
                f"{path}: {short(name)} is compressed by a filter that h5py does not bring ({short(error)}): pip "
                "install hdf5plugin, it is used as soon as it is there"
            ) from error

"""Writing files: whole or not at all, with an error that names the file, and never out of the folder they belong to."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk without space, or of a used-up quota."""


class NotWritten(OSError):
    """A file could not be written; it is as it was before."""

    needed: int | None = None
    """Bytes, where that is known."""

    def __str__(self) -> str:
        if self.errno in FULL:
            wanted = "" if self.needed is None else f" for {self.needed:,} bytes"
            return (
                f"{self.filename}: no space is left on its disk{wanted}: free some, or use a folder on another disk, "
                "and give the same command again"
            )
        return f"{self.filename}: {self.strerror}: choose another place"


@contextlib.contextmanager
def written(path: Path, needed: int | None = None) -> Iterator[None]:
    """Let the error of a failed write name the file that is written.

    Raises
    ------
    NotWritten
        If the system refuses.
    """
    try:
        yield
    except NotWritten:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        refused = NotWritten(error.errno, os.strerror(error.errno), str(path))
        refused.needed = needed
        raise refused from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whatever happens in between.

    Raises
    ------
    NotWritten
        If the system refuses.
    """
    with written(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def links_out(folder: Path) -> list[Path]:
    """Symbolic links in a folder, at any depth, that lead out of it; they are not followed.

    Not those inside the folders that W&B makes for each run, which link to its own logs and are never written again.
    """
    root = folder.resolve()
    found, open_folders = [], [root]
    while open_folders:
        with os.scandir(open_folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    if not Path(os.path.realpath(entry.path)).is_relative_to(root):
                        found.append(Path(entry.path))
                elif entry.is_dir() and not re.fullmatch(r"(offline-)?run-\d{8}_\d{6}-.+", entry.name):
                    open_folders.append(Path(entry.path))
    return sorted(found)

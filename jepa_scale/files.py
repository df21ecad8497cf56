"""Atomic writes, errors that name the file that could not be written, and checks for links out of a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk or a used-up quota."""


class NotWritten(OSError):
    """A file could not be written; the old file, if any, is unchanged."""

    needed: int | None = None
    """Number of bytes to write, if known."""

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
    """Turn the error of a failed write into one that names the file.

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
    """Write a file atomically: a reader sees the old file or the new one, whatever happens in between.

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
    """Return the symbolic links in a folder, at any depth, that lead out of it; they are not followed.

    Not those inside the folders that W&B makes for each run, which link to its own logs and are never written again.
    """
    root = folder.resolve()
    links, open_folders = [], [root]
    while open_folders:
        with os.scandir(open_folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    if not Path(os.path.realpath(entry.path)).is_relative_to(root):
                        links.append(Path(entry.path))
                elif entry.is_dir() and not re.fullmatch(r"(offline-)?run-\d{8}_\d{6}-.+", entry.name):
                    open_folders.append(Path(entry.path))
    return sorted(links)

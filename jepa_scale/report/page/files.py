"""Atomic replacement of the files of a folder."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def check_writable(folder: Path) -> None:
    """Check that a folder, or the place where it will be, is writable.

    Raises
    ------
    OSError
        If that is not possible.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    with tempfile.TemporaryFile(dir=place):
        pass


@contextmanager
def replaced_together(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files replace those in ``folder`` all at once; other files stay.

    An interruption before that leaves ``folder`` as it was, also absent; one during it waits until it is done.
    """
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder, prefix=".draft."))
    try:
        yield draft
        with _uninterrupted():
            for file in sorted(part for part in draft.rglob("*") if part.is_file()):
                target = folder / file.relative_to(draft)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        if not existed:
            # Somebody else's files keep it.
            with suppress(OSError):
                folder.rmdir()
        raise
    shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block.

    A mask would not do: it is the thread's own, and a signal to the process then reaches another thread, such as a
    library's, after which Python raises in this one all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is ever interrupted
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt

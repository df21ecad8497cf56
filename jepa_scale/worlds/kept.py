"""A folder for what is slow to collect and the same for everybody: data of environments, outcomes of references."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VARIABLE = "JEPA_SCALE_CACHE"
"""Environment variable: the folder, or ``off`` to keep nothing on disk."""
_FORM = 1
"""Raised when what is computed for the same settings changes."""


def folder() -> Path | None:
    """The folder: ``$JEPA_SCALE_CACHE``, else ``jepa-scale`` in the user's cache; None if it is switched off."""
    named = os.environ.get(VARIABLE)
    if named == "off":
        return None
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jepa-scale"


@dataclass(frozen=True)
class Place:
    """A file of arrays that settings determine; it is named by their hash and holds them, checked when it is read."""

    kind: str
    settings: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The settings as canonical JSON."""
        return json.dumps([_FORM, self.kind, self.settings], sort_keys=True, default=str)

    @property
    def path(self) -> Path | None:
        """The file; None if nothing is kept on disk."""
        inside = folder()
        name = f"{hashlib.sha256(self.text.encode()).hexdigest()[:24]}.npz"
        return None if inside is None else inside / self.kind / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process reads or writes this file; where nothing is kept, nothing is locked."""
        path = self.path
        with contextlib.ExitStack() as stack:
            if path is not None:
                from filelock import FileLock

                # A home that cannot be written keeps nothing, and stops nobody.
                with contextlib.suppress(OSError):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(FileLock(f"{path}.lock"))
            yield

    def read(self) -> dict[str, np.ndarray] | None:
        """The arrays; None if they were not kept, or the file is of other settings or damaged."""
        path = self.path
        if path is None or not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return arrays if str(arrays.pop("settings", "")) == self.text else None

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the file whole or not at all; a folder that cannot be written is passed over."""
        path = self.path
        if path is None:
            return
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez(file, settings=np.array(self.text), **arrays)  # type: ignore[arg-type]
            os.replace(part, path)
        except OSError:
            part.unlink(missing_ok=True)

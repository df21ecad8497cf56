"""Where the leaves of configuration groups lie: in ``conf/``, in the user's folders and in those of plug-ins."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from jepa_scale import trust
from jepa_scale.runs.config import conf_dir
from jepa_scale.runs.errors import UserError

VARIABLE = "JEPA_SCALE_CONF_PATH"
"""Environment variable with folders of leaves, separated as in PATH; ``--config-dir`` adds to it."""


def add_folders(folders: Iterable[Path]) -> None:
    """Search folders for leaves, in this process and those that it starts.

    Raises
    ------
    UserError
        If one is no folder.
    """
    known = _named()
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"--config-dir: expected a folder with groups such as encoder/mine.yaml, got {folder}")
        known.append(folder.resolve())
    os.environ[VARIABLE] = os.pathsep.join(str(folder) for folder in dict.fromkeys(known))


def folders() -> list[Path]:
    """Return the folders of leaves, this package's first; a later one may not hide a leaf of an earlier one.

    A plug-in is a package that declares the entry point group ``jepa_scale.plugins``; its leaves lie in its folder
    ``conf``. It is found, not imported.
    """
    plugins = []
    for module in trust.plugins():
        found = importlib.util.find_spec(module)
        for place in (found.submodule_search_locations or []) if found is not None else []:
            plugins.append(Path(place) / "conf")
    return [conf_dir(), *(folder for folder in (*_named(), *plugins) if folder.is_dir())]


def options(group: str) -> dict[str, Path]:
    """Return the leaves of a group by name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for leaf in sorted((folder / group).glob("*.yaml")):
            found.setdefault(leaf.stem, leaf)
    return dict(sorted(found.items()))


def _named() -> list[Path]:
    return [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]

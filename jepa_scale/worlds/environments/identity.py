"""What the numbers of an environment depend on, as plain values."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import fields
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jepa_scale.worlds.gymnasium_env import GymnasiumEnv

_APART = {"behaviour", "expert", "store", "patience", "at_once", "normalise"}
"""Settings told in another way, and those that no number depends on."""
_ENGINES = ("gymnasium", "mujoco", "pymunk", "numpy")


def identity_of(world: GymnasiumEnv) -> Mapping[str, Any] | None:
    """Settings, versions, and file of the environment; None if a policy of the user's, whose code may change, acts."""
    if not world.behaviour.reproducible or world.expert is not None:
        return None
    settings = {field.name: getattr(world, field.name) for field in fields(world) if field.name not in _APART}
    inner = world.aside.made.unwrapped
    versions = {name: _version(name) for name in (*_ENGINES, type(inner).__module__.partition(".")[0])}
    return {**settings, "behaviour": world.behaviour.name, "versions": versions, "source": _source(type(inner))}


def _version(module: str) -> str | None:
    try:
        return metadata.version(metadata.packages_distributions().get(module, [module])[0])
    except metadata.PackageNotFoundError:
        return None


def _source(kind: type) -> list[Any]:
    """File of a class, its size and when it was written: an installation from source keeps its version."""
    try:
        path = inspect.getsourcefile(kind)
    except TypeError:
        path = None
    if path is None:
        return [kind.__qualname__]
    known = os.stat(path)
    return [kind.__qualname__, os.path.basename(path), known.st_size, known.st_mtime_ns]

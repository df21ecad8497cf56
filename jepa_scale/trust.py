"""Modules that a configuration may name: this package's, plug-ins', and those that the user allows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import lru_cache

ALLOW = "JEPA_SCALE_ALLOW"
"""Environment variable with modules that configurations may name, separated by commas; ``--allow`` adds to it."""
PLUGINS = "jepa_scale.plugins"
"""Entry point group by which an installed distribution declares that configurations may name its modules."""

_KNOWN = ("gym_pusht", "gymnasium_robotics", "ogbench")
"""Environment packages that this package's own extras install."""


def allow(modules: Iterable[str]) -> None:
    """Allow modules, for this process and the processes that it starts."""
    named = dict.fromkeys([*_named(), *(part.strip() for text in modules for part in text.split(","))])
    os.environ[ALLOW] = ",".join(module for module in named if module)


def allowed() -> tuple[str, ...]:
    """Return the modules that the user allows or plug-ins declare; each includes its submodules."""
    return (*_KNOWN, *_named(), *plugins())


def trusts(module: str) -> bool:
    """Whether a module of that name may be imported because a configuration names it.

    Nothing of Python's standard library is ever a part of a model or world, and much of it runs commands.
    """
    if module.partition(".")[0] in sys.stdlib_module_names:
        return False
    return any(module == name or module.startswith(f"{name}.") for name in allowed())


def opens_pickles() -> bool:
    """Whether the user allows opening recordings that are pickles (``--allow pickle``); no file can."""
    return "pickle" in _named()


def check_trusted(module: str, where: str) -> None:
    """Refuse a module that is not trusted.

    Raises
    ------
    ValueError
        If neither this package, a plug-in nor the user names it; it is not imported.
    """
    if not trusts(module):
        raise ValueError(f"{where}: {refusal(module)}")


def refusal(module: str) -> str:
    """Return why the code of a module is not run, and what to do."""
    top = module.partition(".")[0]
    if not top or top in sys.stdlib_module_names or not top.isidentifier():
        return f"expected a part of this package or of a package that you allow, got {module!r}, which is never one"
    return (
        f"expected a part of this package or of a package that you allow, got {module!r}; its code is not run: if you "
        f"trust it, add --allow {top} or set {ALLOW}={top}"
    )


def _named() -> list[str]:
    return [part.strip() for part in os.environ.get(ALLOW, "").split(",") if part.strip()]


@lru_cache(maxsize=1)
def plugins() -> tuple[str, ...]:
    """Return the top modules that installed distributions declare as plug-ins."""
    modules = []
    # Imported here: it takes most of the time of --help, which asks for no plug-in.
    from importlib import metadata

    for point in metadata.entry_points(group=PLUGINS):
        modules.append(point.module.partition(".")[0])
        if point.dist is not None:
            listed = point.dist.read_text("top_level.txt") or ""
            modules += [name for name in listed.split() if name != "jepa_scale"]
    return tuple(dict.fromkeys(modules))

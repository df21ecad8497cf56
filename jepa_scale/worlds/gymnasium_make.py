"""Gymnasium environments by name, with errors that help."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from jepa_scale import trust


def make(world: str, name: str, options: Mapping[str, Any], example: str) -> Any:
    """Return the environment ``name``, or ``package:name`` of a package that registers its own.

    Raises
    ------
    ValueError
        If gymnasium or the package is absent, nobody vouches for the package, nothing has that name, or the environment
        refuses its options.
    """
    try:
        import gymnasium
    except ImportError:
        raise ValueError(
            f"the world {world} needs gymnasium, which is absent: pip install 'jepa-scale[gymnasium]'"
        ) from None
    package, _, plain = name.rpartition(":")
    if package:
        _register(package)
    if plain not in gymnasium.registry:
        near = difflib.get_close_matches(plain, gymnasium.registry, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"such as {example!r}"
        more = "" if package else "; environments of another package are called package:name"
        raise ValueError(f"expected the id of a gymnasium environment, got environment={name!r}: {hint}{more}")
    try:
        # Its checks of every step are for those who write environments.
        return gymnasium.make(plain, disable_env_checker=True, **options)
    except Exception as error:  # an environment may raise anything of its own
        reason = f"{type(error).__name__}, {(str(error).splitlines() or [''])[0]}"
        raise ValueError(f"{name} refuses {dict(options)}: {reason}: leave out what is not an option of it") from None


def _register(package: str) -> None:
    import importlib

    # A study file of somebody else names it as well, and importing it runs its code.
    trust.check_trusted(package, "environment")
    try:
        importlib.import_module(package)
    except Exception as error:  # a package may fail in any way of its own
        raise ValueError(
            f"cannot import {package!r}, which registers environments ({type(error).__name__}: {error}): install it"
        ) from None

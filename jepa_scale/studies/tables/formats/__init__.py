"""File formats of tables: each module here has a ``FORMAT``; a new file is a new format."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import PurePath

from jepa_scale.studies.tables.format import Format


@cache
def formats() -> tuple[Format, ...]:
    """Return all formats, the most specific first."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return tuple(sorted((module.FORMAT for module in modules), key=lambda form: form.rank))


def endings() -> tuple[str, ...]:
    """Return the endings of all formats."""
    return tuple(ending for form in formats() for ending in form.endings)


def format_of(path: PurePath) -> Format | None:
    """Return the format that the ending tells, with or without ``.gz``; None if there is none."""
    name = path.name.lower().removesuffix(".gz")
    return next((form for form in formats() if name.endswith(form.endings)), None)


def format_in(content: bytes) -> Format:
    """Return the format that the first bytes tell."""
    return next(form for form in formats() if form.recognises(content))

"""Checks that several parts of a study file share."""

from __future__ import annotations

from typing import Any


def whole_numbers(name: str, values: Any, least: int) -> list[str]:
    """Return what is wrong with a list of different whole numbers ≥ ``least``; nothing if it is right."""
    proper = isinstance(values, list) and values and all(type(value) is int and value >= least for value in values)
    if not proper:
        return [f"{name}: expected a list of whole numbers ≥ {least}, got {values!r}"]
    if len(set(values)) != len(values):
        return [f"{name}: expected different values, got {values}"]
    return []

"""Arms of a study: settings beside n, k and seed that it compares."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jepa_scale.records import ArmValues
from jepa_scale.texts import clean

_RESERVED = ("data.n", "model.k", "seed")


def combinations(arms: Mapping[str, tuple[Any, ...]]) -> list[ArmValues]:
    """Every combination of the arms' values, the last one changing fastest; one without values where there are none."""
    return [dict(zip(arms, values, strict=True)) for values in itertools.product(*arms.values())]


def label(values: ArmValues) -> str:
    """Name of an arm: empty where the study has none, else as on the command line."""
    return clean(", ".join(f"{key}={_text(value)}" for key, value in values.items()))


def arm_folder(named: str) -> str:
    """Name of an arm's folder: letters, digits, dots and - only."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", named).strip("-")


def overrides(values: ArmValues) -> list[str]:
    """The overrides that make an arm."""
    return [f"{key}={_text(value, repr)}" for key, value in values.items()]


def wrong_arms(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Place of, and one sentence for, everything that is wrong with the arms of a study file."""
    arms = content.get("arms", {})
    if not isinstance(arms, dict):
        yield ("arms",), f"arms: expected a mapping such as {{world.noise_std: [0.0, 0.5]}}, got {arms!r}"
        return
    for key, values in arms.items():
        if key in _RESERVED:
            expected = f"expected a setting other than {', '.join(_RESERVED)}, which are dials of every study"
            yield ("arms", str(key)), f"arms.{key}: {expected}"
        elif not isinstance(values, list) or not values or not all(isinstance(one, _SIMPLE) for one in values):
            yield ("arms", str(key)), f"arms.{key}: expected a list of numbers, texts or truth values, got {values!r}"
        elif len(set(map(_text, values))) < len(values):
            yield ("arms", str(key)), f"arms.{key}: expected values that differ, got {values}"
    if arms and content.get("sampler", "grid") != "grid":
        yield ("arms",), "arms: expected sampler: grid, as a design forecasts one arm; make a study of it"
    rule = content.get("budget", {})
    if arms and (content.get("tuning") or (isinstance(rule, dict) and rule.get("rule") == "tuned")):
        yield ("arms",), "arms: expected no tuning and no tuned budget, which are about one arm; make a study of it"


_SIMPLE = (bool, int, float, str)


def _text(value: Any, number: Callable[[float], str] = "{:g}".format) -> str:
    """A value as on the command line; ``repr`` keeps a float a float, and all of its digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, float) else str(value)

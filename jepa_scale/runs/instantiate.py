"""Instantiation of leaves of ``conf/``; does not import torch, so that commands that only read runs start fast."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from jepa_scale.laws.forecasters.base import Forecaster
from jepa_scale.laws.law import LawFamily
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.leaves import options
from jepa_scale.runs.schema import RESERVED
from jepa_scale.runs.targets import target_of


def instantiate(path: str, leaf: Mapping[str, Any], **supplied: Any) -> Any:
    """Call a leaf's target with its keywords, nested leaves built first, and the ``supplied`` arguments that it takes.

    Raises
    ------
    UserError
        If the target is not trusted or refuses its arguments; the message names the leaf.
    """
    target = target_of(leaf["_target_"], path)
    parameters = inspect.signature(target).parameters
    keywords = {
        name: _built(f"{path}.{name}", value, parameters.get(name))
        for name, value in leaf.items()
        if name not in RESERVED
    }
    keywords |= {name: value for name, value in supplied.items() if name in parameters}
    if leaf.get("_partial_"):
        return functools.partial(target, *leaf.get("_args_", ()), **keywords)
    try:
        return target(*leaf.get("_args_", ()), **keywords)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: {str(error).replace('self.', '')}") from None


def _built(path: str, value: Any, parameter: inspect.Parameter | None) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return instantiate(path, value)
        return {key: _built(f"{path}.{key}", item, None) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_built(f"{path}.{number}", item, None) for number, item in enumerate(value)]
        # Files have lists only; a default that is a tuple stays one.
        return tuple(items) if parameter is not None and isinstance(parameter.default, tuple) else items
    return value


def build_law(name: str) -> LawFamily:
    """Build a law of ``conf/law``.

    Raises
    ------
    UserError
        If there is no law of that name, or it refuses its settings.
    """
    law = _leaf("law", name, ", or a formula such as 'loss = E + A N^-alpha'")
    assert isinstance(law, LawFamily)
    return law


def build_forecaster(name: str) -> Forecaster:
    """Build a forecaster of ``conf/forecaster``.

    Raises
    ------
    UserError
        If there is no forecaster of that name, or it refuses its settings.
    """
    forecaster = _leaf("forecaster", name)
    if not isinstance(forecaster, Forecaster):
        raise UserError(f"forecaster.{name}: expected a Forecaster, got {type(forecaster).__name__}")
    return forecaster


def _leaf(group: str, name: str, otherwise: str = "") -> Any:
    import yaml

    known = options(group)
    if name not in known:
        raise UserError(f"no {group} {name!r}: expected one of {', '.join(known)}{otherwise}")
    return instantiate(f"{group}.{name}", yaml.safe_load(known[name].read_text(encoding="utf-8")))

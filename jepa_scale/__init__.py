"""Scaling studies of JEPA world models, checked against worlds whose truth is computable.

>>> import jepa_scale
>>> "audit" in jepa_scale.__all__
True
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from jepa_scale import callbacks, metrics, testing
    from jepa_scale.api.arrays import audit
    from jepa_scale.api.models import load
    from jepa_scale.api.runs import evaluate, finetune, run, study
    from jepa_scale.api.sampler import ScalingDesignSampler
    from jepa_scale.api.tables import Runs
    from jepa_scale.api.worlds import world

__version__ = "0.2.0.dev0"

__all__ = [
    "Runs",
    "ScalingDesignSampler",
    "audit",
    "callbacks",
    "evaluate",
    "finetune",
    "load",
    "metrics",
    "run",
    "study",
    "testing",
    "world",
]
"""The public names, with those of ``callbacks``, ``metrics`` and ``testing``. Everything else is internal: it may
change without notice."""

_MODULES = ("callbacks", "metrics", "testing")
_PLACES = {
    "Runs": "api.tables",
    "ScalingDesignSampler": "api.sampler",
    "audit": "api.arrays",
    "evaluate": "api.runs",
    "finetune": "api.runs",
    "load": "api.models",
    "run": "api.runs",
    "study": "api.runs",
    "world": "api.worlds",
}


def __getattr__(name: str) -> typing.Any:
    """Import a public name when it is asked for: ``import jepa_scale`` itself takes milliseconds."""
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"jepa_scale.{name}")
    if name in _PLACES:
        return getattr(import_module(f"jepa_scale.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'jepa_scale' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

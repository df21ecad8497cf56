"""Callbacks of training: four for any LightningModule, by plain keywords, and those of this package's own runs."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from jepa_scale.callbacks.attached import EmbeddingRank, OperatorSpectrum
    from jepa_scale.callbacks.in_world import PlanningSuccess, RegretBounds

__all__ = ["EmbeddingRank", "OperatorSpectrum", "PlanningSuccess", "RegretBounds"]

_PLACES = {
    "EmbeddingRank": "attached",
    "OperatorSpectrum": "attached",
    "PlanningSuccess": "in_world",
    "RegretBounds": "in_world",
}


def __getattr__(name: str) -> typing.Any:
    """Import a callback when it is asked for."""
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

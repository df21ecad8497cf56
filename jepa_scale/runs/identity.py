"""The identity of a run: a hash of its resolved configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from jepa_scale.runs import code

NOT_IDENTITY = ("logger",)
"""Groups outside a run's identity: loggers do not change what it computes."""


def canonical(config: Mapping[str, Any]) -> str:
    """Return the canonical text of a resolved configuration."""
    kept = {key: _computed(value) if key == "trainer" else value for key, value in config.items()}
    kept = {key: value for key, value in kept.items() if key not in (*NOT_IDENTITY, code.KEY)}
    foreign = {name: _release(entry) for name, entry in config.get(code.KEY, {}).items() if name != "jepa_scale"}
    if foreign:
        kept[code.KEY] = foreign
    return json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _release(entry: Mapping[str, str]) -> list[str]:
    """Release of another package, which alone enters the identity; digests of its source are compared separately."""
    return [entry.get("distribution", ""), entry.get("version", "")]


def _computed(trainer: Any) -> Any:
    """Trainer settings that affect the numbers: not how often it saves, nor a compiler that is off."""
    if not isinstance(trainer, Mapping):
        return trainer
    off = {"checkpoint_every"} if trainer.get("compile") else {"checkpoint_every", "compile"}
    return {key: value for key, value in trainer.items() if key not in off}


def run_id(config: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits, the same for the same configuration on every machine."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:12]
